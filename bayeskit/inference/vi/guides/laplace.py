r"""A normal distribution around the posterior mode, with the inverse of the Hessian as covariance."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import optax
from numpyro.distributions import Distribution

from bayeskit._settings import is_whole, require
from bayeskit._typing import Array
from bayeskit.errors import ModelError
from bayeskit.inference.vi.guides.full_rank import FullRank, natural_step
from bayeskit.inference.vi.guides.guide import NormalGuide, Parameters
from bayeskit.target import Target
from bayeskit.xla.miscompilation import safe_jit

__all__ = ["Laplace"]

Density = Callable[[Array], Array]
NEWTON_STEPS = 50
HALVINGS = 30
AT_MODE = 0.01
"""Distance from the mode, in posterior standard deviations, that counts as being there."""


@dataclass(frozen=True)
class Laplace(NormalGuide):
    r"""The Laplace approximation, :math:`z \sim N(m, H^{-1})`, as a guide.

    :math:`m` is the mode of the log density over the unconstrained vector (the Jacobians of the transformations
    included), :math:`H` the negative Hessian there. Each fit looks for the mode from its own starting point, by
    L-BFGS and then Newton's method. Several modes are found by several fits (``num_chains``).

    With ``VI(num_steps=0)`` the approximation is drawn from as it is. Otherwise the optimisation starts there and
    goes on in the coordinates in which the approximation is a standard normal distribution:
    :math:`z = m + H^{-1/2} u` with :math:`u` full rank. It is then a :class:`bayeskit.guides.FullRank` guide for which
    neither the units nor the correlations of the parameters matter.

    Args:
        max_iterations: of L-BFGS.

    Raises:
        ModelError: when the fit starts: the search did not reach a mode, or the Hessian is not positive definite there
            (a flat or an unbounded direction); the message names the site.

    Example:
        >>> import numpyro, numpyro.distributions as dist
        >>> import bayeskit as bk
        >>> def model(y):
        ...     mu = numpyro.sample("mu", dist.Normal(0.0, 10.0))
        ...     numpyro.sample("y", dist.Normal(mu, 1.0).expand([3]).to_event(1), obs=y)
        >>> method = bk.VI(guide=bk.guides.Laplace(), num_steps=0)
        >>> post = bk.infer(model, {"y": [1.2, 0.7, 1.9]}, method, key=0, progress=False)
        >>> bool(abs(post["posterior/mu"].mean() - 3.8 / 3.01) < 0.1)
        True

    Reference: Tierney and Kadane (1986), "Accurate approximations for posterior moments and marginal densities".
    """

    kind: ClassVar[str] = "laplace"
    has_natural_gradient: ClassVar[bool] = True
    prepares: ClassVar[bool] = True

    max_iterations: int = 1000

    def __post_init__(self) -> None:
        ok = is_whole(self.max_iterations) and self.max_iterations >= 1
        require(ok, "max_iterations", self.max_iterations, "a positive integer")

    def init(self, key: Array, target: Target, position: Array) -> Parameters:
        whitened = FullRank(init_scale=1.0).init(key, target, jnp.zeros_like(position))
        return {"centre": position, "root": jnp.eye(position.shape[0], dtype=position.dtype), **whitened}

    def prepare(self, parameters: Parameters, target: Target) -> Parameters:
        """Parameters at the mode; `check_prepared` says whether it is one."""

        def loss(position: Array) -> Array:
            return -target.log_density(target.unravel(position))

        near = _descend(loss, parameters["centre"], self.max_iterations)
        mode = _newton(loss, near)
        return {**parameters, "centre": mode, "root": _inverse_root(jax.hessian(loss)(mode))}

    def check_prepared(self, parameters: Parameters, target: Target) -> None:
        """Refuse what is no mode; the parameters have a leading axis of fits.

        Raises:
            ModelError: the search stopped before the mode, or the density has no peak there.
        """
        for fit, centre in enumerate(np.asarray(parameters["centre"])):
            slope, curvature = (np.asarray(array, float) for array in _shape_at(target, jnp.asarray(centre)))
            _check_mode(target, fit, centre, slope, curvature)

    def natural_step(self, parameters: Parameters, gradient: Parameters, rate: Array | float) -> Parameters:
        return natural_step(parameters, gradient, rate)

    def distribution(self, parameters: Parameters) -> Distribution:
        centre, root = jax.lax.stop_gradient((parameters["centre"], parameters["root"]))
        inner = FullRank().distribution(parameters)
        return dist.MultivariateNormal(centre + root @ inner.loc, scale_tril=root @ inner.scale_tril)


def _descend(loss: Density, position: Array, max_iterations: int) -> Array:
    """L-BFGS until the loss no longer falls."""
    solver = optax.lbfgs()
    value_and_grad = optax.value_and_grad_from_state(loss)
    least = jnp.finfo(position.dtype).eps ** (2 / 3)

    def going(carry: tuple) -> Array:
        _, _, value, fall, iteration = carry
        return (fall > least * (1.0 + jnp.abs(value))) & (iteration < max_iterations)

    def step(carry: tuple) -> tuple:
        position, state, before, _, iteration = carry
        value, gradient = value_and_grad(position, state=state)
        updates, state = solver.update(gradient, state, position, value=value, grad=gradient, value_fn=loss)
        moved = position + updates
        after = optax.tree.get(state, "value")
        fine = jnp.isfinite(moved).all() & (after <= value)
        position = jnp.where(fine, moved, position)
        return position, state, jnp.where(fine, after, before), jnp.where(fine, value - after, 0.0), iteration + 1

    first = loss(position)
    start = (position, solver.init(position), first, jnp.full_like(first, jnp.inf), 0)
    return jax.lax.while_loop(going, step, start)[0]


def _newton(loss: Density, position: Array) -> Array:
    """Newton's method with the absolute values of the eigenvalues, which leads away from saddle points, and with steps
    that are halved until the loss does not rise.
    """
    slope, curvature = jax.grad(loss), jax.hessian(loss)
    done = jnp.finfo(position.dtype).eps ** 0.5

    def step(carry: tuple) -> tuple:
        position, _, iteration = carry
        gradient = slope(position)
        values, vectors = jnp.linalg.eigh(curvature(position))
        size = jnp.maximum(jnp.abs(values), jnp.finfo(position.dtype).eps * jnp.max(jnp.abs(values)))
        direction = -vectors @ ((vectors.T @ gradient) / size)
        value = loss(position)

        def too_far(carry: tuple) -> Array:
            share, halvings = carry
            return ~(loss(position + share * direction) <= value) & (halvings < HALVINGS)

        share, halvings = jax.lax.while_loop(too_far, lambda c: (c[0] / 2, c[1] + 1), (jnp.ones_like(value), 0))
        moves = (halvings < HALVINGS) & jnp.isfinite(direction).all()
        decrement = jnp.sqrt(jnp.abs(gradient @ direction))
        return jnp.where(moves, position + share * direction, position), moves & (decrement > done), iteration + 1

    start = (position, jnp.asarray(True), 0)
    return jax.lax.while_loop(lambda carry: carry[1] & (carry[2] < NEWTON_STEPS), step, start)[0]


def _inverse_root(hessian: Array) -> Array:
    r"""Lower triangular :math:`C` with :math:`C C^\top = H^{-1}`, by a factorisation of :math:`H` read backwards."""
    backwards = jnp.linalg.cholesky(hessian[::-1, ::-1])[::-1, ::-1]  # upper U with U Uᵀ = H
    identity = jnp.eye(hessian.shape[0], dtype=hessian.dtype)
    return jax.scipy.linalg.solve_triangular(backwards, identity, lower=False).T


@safe_jit
def _shape_at(target: Target, position: Array) -> tuple[Array, Array]:
    """Gradient and Hessian of the negative log density."""

    def loss(position: Array) -> Array:
        return -target.log_density(target.unravel(position))

    return jax.grad(loss)(position), jax.hessian(loss)(position)


def _check_mode(target: Target, fit: int, centre: np.ndarray, slope: np.ndarray, curvature: np.ndarray) -> None:
    where = f"the Laplace guide: fit {fit}"
    again = "start elsewhere (init=), reparameterise, or use bayeskit.guides.FullRank()"
    if not (np.isfinite(slope).all() and np.isfinite(curvature).all()):
        bad = int(np.argmax(~np.isfinite(slope) | ~np.isfinite(curvature).all(axis=1)))
        site = _site_of(target, bad)
        raise ModelError(
            f"{where}: the gradient or the Hessian is not finite at the end of the search ({site}); {again}"
        )
    unit = np.sqrt(np.abs(np.diag(curvature)))
    scale = np.where(unit > 0, unit, 1.0)
    values, vectors = np.linalg.eigh(curvature / scale[:, None] / scale)
    least = len(scale) * np.finfo(centre.dtype).eps
    if values[0] <= least:
        site = _site_of(target, int(np.argmax(np.abs(vectors[:, 0]))))
        raise ModelError(
            f"{where}: the Hessian is not positive definite where the search ended (its smallest eigenvalue, in units "
            f"of its diagonal, is {values[0]:.2g}, mostly along {site}): the density is flat or has no peak there; "
            f"{again}"
        )
    newton = np.linalg.solve(curvature, slope)
    distance = float(np.sqrt(slope @ newton))
    if distance > AT_MODE:
        site = _site_of(target, int(np.argmax(np.abs(newton) * scale)))
        raise ModelError(
            f"{where}: the search ended {distance:.2g} posterior standard deviations from the mode (mostly along "
            f"{site}); more max_iterations or float64 may help, or {again}"
        )


def _site_of(target: Target, index: int) -> str:
    """The site that a coordinate of the unconstrained vector belongs to."""
    stop = 0
    for site in target.structure.of_kind("latent"):
        stop += int(np.prod(site.unconstrained_shape))
        if index < stop:
            return f"site {site.name!r}"
    raise IndexError(index)
