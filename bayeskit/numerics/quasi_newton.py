r"""L-BFGS up a log density, with an estimate of the inverse Hessian at every point of its path.

After the accepted steps $s_i$ and changes $z_i$ of the gradient of $-\log p$ (newest last, the columns of $S$ and $Z$)
the estimate is $H = \mathrm{diag}(a) + B \Gamma B^\top$ with $B = (\mathrm{diag}(a) Z, S)$,

$$\Gamma = \begin{pmatrix} 0 & -R^{-1} \\ -R^{-\top} & R^{-\top} (E + Z^\top \mathrm{diag}(a) Z) R^{-1} \end{pmatrix},$$

$R$ the upper triangle of $S^\top Z$ and $E$ its diagonal (Byrd, Nocedal and Schnabel 1994, "Representations of
quasi-Newton matrices"). The diagonal $a$ follows Gilbert and Lemaréchal (1989), "Some numerical experiments with
variable-storage quasi-Newton algorithms". Steps go along $H \nabla \log p$, as long as the weak Wolfe conditions ask
for, by bisection, where a density that is not finite counts as a step too far (Lewis and Overton 2013, "Nonsmooth
optimization via quasi-Newton methods").
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from bayeskit._typing import Array

__all__ = ["Curvature", "Point", "Walk", "climb", "factors", "start"]

SUFFICIENT, STEEP = 1e-4, 0.9
"""The constants of the Wolfe conditions."""
MOST_TRIALS = 40
QUIET = 2
"""Steps in a row that gain nothing end the path; after one, it may only have gone along a curved ridge."""

ValueAndGradient = Callable[[Array], tuple[Array, Array]]


class Curvature(NamedTuple):
    """What is known of the inverse Hessian: `diagonal`, shape `(d,)`; `steps` and `changes`, shape `(d, history)`, with
    columns of zeros where there have been fewer.
    """

    diagonal: Array
    steps: Array
    changes: Array


class Point(NamedTuple):
    """A place, its log density and the gradient of that."""

    position: Array
    value: Array
    slope: Array

    @property
    def is_finite(self) -> Array:
        """Whether one can go on from here."""
        return jnp.isfinite(self.value) & jnp.isfinite(self.slope).all()


class Walk(NamedTuple):
    """Where a path is: the point, the curvature, steps taken, gradients computed, steps in a row without gain, and
    whether it goes on.
    """

    point: Point
    curvature: Curvature
    step: Array
    gradients: Array
    quiet: Array
    goes_on: Array


def start(value_and_gradient: ValueAndGradient, position: Array, history: int) -> Walk:
    """The beginning of a path."""
    point = Point(position, *value_and_gradient(position))
    none = jnp.zeros((position.shape[0], history), position.dtype)
    curvature = Curvature(jnp.ones_like(position), none, none)
    zero = jnp.zeros((), jnp.int32)
    return Walk(point, curvature, zero, zero + 1, zero, point.is_finite)


def climb(value_and_gradient: ValueAndGradient, walk: Walk, tolerance: float) -> Walk:
    """The next point of the path.

    Args:
        value_and_gradient: of the log density.
        walk: so far.
        tolerance: a gain that counts as none.
    """
    here, curvature = walk.point, walk.curvature
    left, middle = factors(curvature)
    newton = curvature.diagonal * here.slope + left @ (middle @ (left.T @ here.slope))
    rises = jnp.isfinite(newton).all() & (newton @ here.slope > 0)
    direction = jnp.where(rises, newton, curvature.diagonal * here.slope)
    length = jnp.linalg.norm(direction)
    first = jnp.where(walk.step == 0, jnp.minimum(1.0, 1.0 / length), 1.0)
    there, trials = _search(value_and_gradient, here, direction, first.astype(length.dtype))
    gain = there.value - here.value
    noise = 10.0 * jnp.finfo(gain.dtype).eps * jnp.abs(here.value)
    quiet = jnp.where(gain <= jnp.maximum(tolerance, noise), walk.quiet + 1, 0)
    moved = jnp.any(there.position != here.position)
    curvature = _updated(curvature, there.position - here.position, here.slope - there.slope)
    return Walk(there, curvature, walk.step + 1, walk.gradients + trials, quiet, moved & (quiet < QUIET))


def factors(curvature: Curvature) -> tuple[Array, Array]:
    r"""$B$ and $\Gamma$ of the estimate; shapes `(d, 2 history)` and `(2 history, 2 history)`."""
    diagonal, steps, changes = curvature
    inner = steps.T @ changes
    lengths = jnp.diag(inner)
    triangle = jnp.triu(inner) + jnp.diag(jnp.where(lengths > 0, 0.0, 1.0).astype(inner.dtype))
    identity = jnp.eye(inner.shape[0], dtype=inner.dtype)
    inverse = jax.scipy.linalg.solve_triangular(triangle, identity, lower=False)
    scaled = diagonal[:, None] * changes
    corner = inverse.T @ (jnp.diag(lengths) + changes.T @ scaled) @ inverse
    middle = jnp.block([[jnp.zeros_like(inner), -inverse], [-inverse.T, corner]])
    return jnp.hstack([scaled, steps]), middle


def _updated(curvature: Curvature, step: Array, change: Array) -> Curvature:
    """With one more step; as it was where the curvature along the step was not positive."""
    diagonal, steps, changes = curvature
    along = step @ change
    across, inverse = jnp.sum(diagonal * change**2), jnp.sum(step**2 / diagonal)
    precision = (across / along) * (1.0 / diagonal - step**2 / (inverse * diagonal**2)) + change**2 / along
    new = Curvature(
        1.0 / precision,
        jnp.concatenate([steps[:, 1:], step[:, None]], axis=1),
        jnp.concatenate([changes[:, 1:], change[:, None]], axis=1),
    )
    usable = (along > 1e-12 * jnp.sum(change**2)) & (jnp.isfinite(new.diagonal) & (new.diagonal > 0)).all()
    return jax.tree.map(lambda fresh, old: jnp.where(usable, fresh, old), new, curvature)


class _Bracket(NamedTuple):
    low: Array
    high: Array
    trial: Array
    best: Point
    trials: Array
    done: Array


def _search(value_and_gradient: ValueAndGradient, here: Point, direction: Array, first: Array) -> tuple[Point, Array]:
    """A point uphill along the direction, and how many were looked at; the old one where none was found."""
    rise = here.slope @ direction

    def look(bracket: _Bracket) -> _Bracket:
        position = here.position + bracket.trial * direction
        there = Point(position, *value_and_gradient(position))
        enough = there.is_finite & (there.value >= here.value + SUFFICIENT * bracket.trial * rise)
        done = enough & (there.slope @ direction <= STEEP * rise)
        low, high = jnp.where(enough, bracket.trial, bracket.low), jnp.where(enough, bracket.high, bracket.trial)
        best = jax.tree.map(lambda new, old: jnp.where(enough, new, old), there, bracket.best)
        trial = jnp.where(jnp.isinf(high), 2.0 * bracket.trial, 0.5 * (low + high))
        return _Bracket(low, high, trial, best, bracket.trials + 1, done)

    infinite = jnp.full_like(first, jnp.inf)
    begin = _Bracket(jnp.zeros_like(first), infinite, first, here, jnp.zeros((), jnp.int32), jnp.asarray(False))
    end = jax.lax.while_loop(lambda bracket: ~bracket.done & (bracket.trials < MOST_TRIALS), look, begin)
    return end.best, end.trials
