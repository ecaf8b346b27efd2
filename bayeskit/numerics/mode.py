r"""The mode of a log density, by optimistix: L-BFGS to come near, then Newton's method, which leaves saddle points."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optimistix as optx

from bayeskit._typing import Array
from bayeskit.errors import ModelError

__all__ = ["Mode", "find_mode", "reason"]

AT_MODE = 0.05
"""Distance from the mode, in posterior standard deviations, that counts as being there."""
HALVINGS = 30
BLOCK = 512
"""Rows of a Hessian that are computed at once: each holds what the density holds."""


class Mode(NamedTuple):
    """Where a search for the maximum of a log density has ended.

    Attributes:
        position: shape `(d,)`; differentiable in what the log density depends on.
        slope: the gradient of the log density there.
        precision: minus its Hessian there.
        is_mode: whether the density has a peak there: the precision is positive definite, and another Newton step would
            be shorter than `AT_MODE`.
        status: why the search ended; see `reason`.
    """

    position: Array
    slope: Array
    precision: Array
    is_mode: Array
    status: optx.RESULTS


@contextmanager
def _second_derivatives() -> Iterator[None]:
    try:
        yield
    except TypeError as error:
        if "custom_vjp" not in str(error):
            raise
        raise ModelError(
            "the log density has a function whose second derivatives JAX cannot take (a jax.custom_vjp, as in "
            "jax.experimental.ode.odeint), and a Laplace approximation needs the Hessian; use bayeskit.Pathfinder() or "
            "bayeskit.NUTS(), or a function that can be differentiated twice"
        ) from error


@_second_derivatives()
def find_mode(
    log_density: Callable[[Array], Array], start: Array, *, lbfgs_steps: int = 0, newton_steps: int = 50
) -> Mode:
    r"""Search for the maximum of a function of a vector.

    Each Newton step takes the eigenvalues of the Hessian, which costs $O(d^3)$; L-BFGS before it makes them few. The
    position may be differentiated in whatever `log_density` closes over, by the implicit function theorem:
    $\partial \hat z = -H^{-1} \partial \nabla \log p$. Where there is none, `is_mode` is false; nothing is
    raised, as within a compiled program nothing can be.

    Args:
        log_density: a function of a vector.
        start: shape `(d,)`.
        lbfgs_steps: at most this many of L-BFGS.
        newton_steps: at most this many of Newton's method.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from bayeskit.numerics.mode import find_mode
        >>> def log_density(x, a):  # of the logarithm of a Gamma(a, 1) variable
        ...     return jnp.sum(a * x - jnp.exp(x))
        >>> mode = find_mode(lambda x: log_density(x, 3.0), jnp.zeros(1))
        >>> bool(mode.is_mode), bool(jnp.allclose(jnp.exp(mode.position), 3.0)), mode.precision.shape
        (True, True, (1, 1))
        >>> by_a = jax.grad(lambda a: find_mode(lambda x: log_density(x, a), jnp.zeros(1)).position[0])
        >>> jax.jit(by_a)(4.0).round(4)
        Array(0.25, dtype=...)
    """

    def loss_at(x: Array, _: Any) -> Array:
        return -log_density(x)

    # arrays that it closes over become arguments of optimistix's compiled search, which is not differentiated
    arrays, rest = eqx.partition(eqx.filter_closure_convert(loss_at, start, None), eqx.is_array)
    loss, near = eqx.combine(jax.lax.stop_gradient(arrays), rest), jax.lax.stop_gradient(start)
    if lbfgs_steps:
        # near enough for Newton's method, which doubles the number of right digits at each step
        tolerance = max(1e-5, float(jnp.finfo(start.dtype).eps) ** 0.5)
        near = optx.minimise(loss, optx.LBFGS(tolerance, tolerance), near, max_steps=lbfgs_steps, throw=False).value
    found = optx.minimise(loss, AbsoluteNewton(), near, max_steps=newton_steps, throw=False)

    def solve(linear: Callable[[Array], Array], right: Array) -> Array:
        return jnp.linalg.solve(jax.jacobian(linear)(right), right)

    # not optimistix's ImplicitAdjoint: its linear solve raises at run time where the Hessian is singular, as without a
    # mode, and would end a fit that meets such a place at one step in a thousand
    position = jax.lax.custom_root(jax.grad(log_density), found.value, lambda _, found: found, solve)
    _, slope, curvature = expansion(loss_at, position)
    step = jnp.linalg.solve(curvature, slope)
    unit = jnp.sqrt(jnp.abs(jnp.diag(curvature)))
    least = jnp.linalg.eigvalsh(curvature / unit[:, None] / unit)[0]
    peak = least > len(start) * jnp.finfo(start.dtype).eps
    is_mode = peak & (jnp.sqrt(jnp.abs(slope @ step)) < AT_MODE)
    return Mode(position, -slope, curvature, jax.lax.stop_gradient(is_mode), found.result)


def reason(status: optx.RESULTS) -> str:
    """Why a search ended, as a part of a sentence; nothing where it went as far as it could."""
    # taken out of an array of several searches, it is a number of NumPy's, which optimistix calls "unknown"
    message: str = optx.RESULTS[jax.tree.map(np.asarray, status)].split(". ")[0].rstrip(".")
    return message[:1].lower() + message[1:]


def expansion(loss: Callable[[Array, Any], Array], position: Array, args: Any = None) -> tuple[Array, Array, Array]:
    """Value, gradient and Hessian, from one trace."""
    (value, slope), tangent = jax.linearize(jax.value_and_grad(lambda x: loss(x, args)), position)
    rows = jnp.eye(len(position), dtype=position.dtype)
    if len(position) <= BLOCK:
        return value, slope, jax.vmap(tangent)(rows)[1]
    return value, slope, jax.lax.map(lambda row: tangent(row)[1], rows, batch_size=BLOCK)


class NewtonState(eqx.Module):
    """`arrived`: the last step was too short to matter, and no eigenvalue of the Hessian negative; `stuck`: no step
    lowers the loss.
    """

    arrived: Array
    stuck: Array


class AbsoluteNewton(optx.AbstractMinimiser):
    r"""Newton's method with $|H|^{-1}$ in the place of $H^{-1}$, and steps halved until the loss does not rise.

    The minimisers of optimistix know the Hessian by its action on past gradients, and as positive definite whatever the
    truth: they can end at a saddle point, where the gradient is zero. With the absolute values of its eigenvalues a
    step leads downhill in every direction, and away along those of negative curvature (Dauphin, Pascanu, Gulcehre, Cho,
    Ganguli and Bengio 2014, "Identifying and attacking the saddle point problem", section 6). Near a minimum it is
    Newton's method, for which units and correlations do not matter. The root finders of optimistix are Newton's method
    too, but on the gradient: saddle points and maxima attract them alike.
    """

    rtol: float = 0.0
    atol: float = 0.0
    norm: Callable[[Any], Array] = optx.max_norm

    def init(
        self, fn: Any, y: Array, args: Any, options: dict[str, Any], f_struct: Any, aux_struct: Any, tags: Any
    ) -> NewtonState:
        """Before the first step."""
        del fn, y, args, options, f_struct, aux_struct, tags
        return NewtonState(jnp.asarray(False), jnp.asarray(False))

    def step(
        self, fn: Any, y: Array, args: Any, options: dict[str, Any], state: NewtonState, tags: Any
    ) -> tuple[Array, NewtonState, Any]:
        """One step; `fn` returns the loss and what else it computes."""
        del options, state, tags

        def loss(y: Array, args: Any) -> Array:
            return fn(y, args)[0]

        value, slope, curvature = expansion(loss, y, args)
        values, vectors = jnp.linalg.eigh(curvature)
        size, eps = jnp.abs(values), jnp.finfo(y.dtype).eps
        least = eps * jnp.max(size)
        direction = -vectors @ ((vectors.T @ slope) / jnp.maximum(size, least))

        def too_far(carry: tuple[Array, Array]) -> Array:
            share, halvings = carry
            return ~(loss(y + share * direction, args) <= value) & (halvings < HALVINGS)

        share, halvings = jax.lax.while_loop(
            too_far, lambda c: (c[0] / 2, c[1] + 1), (jnp.ones_like(value), jnp.asarray(0))
        )
        stuck = (halvings == HALVINGS) | ~jnp.isfinite(direction).all()
        reached = jnp.where(stuck, y, y + share * direction)
        length = jnp.sqrt(jnp.abs(slope @ direction))  # in standard deviations, but at a saddle point it says nothing
        rounding = (length < AT_MODE) & ~(loss(reached, args) < value)  # the loss has no more digits to tell by
        arrived = ((length <= eps**0.5) | rounding) & (values[0] >= -least)
        return reached, NewtonState(arrived, stuck), fn(y, args)[1]

    def terminate(
        self, fn: Any, y: Array, args: Any, options: dict[str, Any], state: NewtonState, tags: Any
    ) -> tuple[Array, optx.RESULTS]:
        """Stop where the step is below rounding, and where no shorter step goes up; `NewtonState` tells which."""
        del fn, y, args, options, tags
        return state.arrived | state.stuck, optx.RESULTS.successful

    def postprocess(
        self,
        fn: Any,
        y: Array,
        aux: Any,
        args: Any,
        options: dict[str, Any],
        state: NewtonState,
        tags: Any,
        result: Any,
    ) -> tuple[Array, Any, dict[str, Any]]:
        """The last position is the result as it is."""
        del fn, args, options, state, tags, result
        return y, aux, {}
