"""Elliptical slice sampling."""

from __future__ import annotations

import dataclasses
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp

from bayeskit._settings import check_choice, is_whole, require
from bayeskit._typing import Array
from bayeskit.errors import ModelError
from bayeskit.inference.chains.independent import CHAIN_METHODS, ChainMethod
from bayeskit.inference.mcmc.gaussian_prior import Gaussian, check_gaussian_prior, gaussian_prior
from bayeskit.inference.method import check_counts
from bayeskit.target import Target

__all__ = ["EllipticalSlice"]

MAX_SIZE = 5000
MOST_SHRINKS = 100
"""The bracket is then shorter than rounding: the chain stays."""


class EllipticalSliceState(NamedTuple):
    """Raw key, steps taken, the prior, the position in units of it (a standard normal vector under the prior), and the
    log density there.
    """

    key: Array
    step: Array
    prior: Gaussian
    white: Array
    lp: Array


@dataclasses.dataclass(frozen=True, kw_only=True)
class EllipticalSlice(ChainMethod):
    r"""Elliptical slice sampling (Murray, Adams and MacKay 2010), for models whose latent prior is jointly normal.

    With the prior :math:`N(m, C)` and :math:`\nu \sim N(0, C)`, the points
    :math:`z(\theta) = m + (z - m) \cos\theta + \nu \sin\theta` are an ellipse through the present one, :math:`z(0)`. A
    new one is taken from where the likelihood exceeds :math:`u L(z)`, :math:`u` uniform, by shrinking a bracket of
    angles around zero. Every step moves, there is nothing to tune, and no gradient is computed: for Gaussian processes
    with fixed hyperparameters and other models with strongly correlated priors and likelihoods that are not too
    informative.

    The prior is jointly normal where its log density is quadratic in the unconstrained values, which is checked before
    the
    run: scales and covariances depend on no other latent site, means at most linearly.

    Args:
        num_chains: number of chains.
        num_warmup: draws a chain that are not kept, for the chain to arrive.
        num_draws: draws a chain.
        steps_per_draw: steps between draws; single steps are correlated.
        chain_method: as for :class:`bayeskit.NUTS`.

    Raises:
        MethodError: an impossible setting.
        ModelError: when it runs: the prior is not jointly normal, with the site; more than 5,000 coordinates.

    Example:
        >>> import numpy as np, jax.numpy as jnp, numpyro, numpyro.distributions as dist
        >>> import bayeskit as bk
        >>> def model(x, counts):
        ...     cov = jnp.exp(-0.5 * (x[:, None] - x) ** 2) + 1e-6 * jnp.eye(len(x))
        ...     f = numpyro.sample("f", dist.MultivariateNormal(jnp.zeros(len(x)), cov))
        ...     numpyro.sample("counts", dist.Poisson(jnp.exp(f)).to_event(1), obs=counts)
        >>> data = {"x": np.linspace(0.0, 3.0, 6), "counts": np.array([1, 0, 2, 3, 6, 5])}
        >>> method = bk.EllipticalSlice(num_chains=2, num_warmup=100, num_draws=200)
        >>> bk.infer(model, data, method, key=0, progress=False)["posterior/f"].shape
        (2, 200, 6)
    """

    kind: ClassVar[str] = "elliptical_slice"

    num_chains: int = 4
    num_warmup: int = 500
    num_draws: int = 1000
    steps_per_draw: int = 10
    chain_method: str = "auto"

    def __post_init__(self) -> None:
        check_counts(self)
        steps = self.steps_per_draw
        require(is_whole(steps) and steps >= 1, "steps_per_draw", steps, "an integer of at least 1")
        check_choice("chain_method", self.chain_method, CHAIN_METHODS)

    def check_target(self, target: Target) -> None:
        super().check_target(target)
        if target.size > MAX_SIZE:
            raise ModelError(
                f"bayeskit.EllipticalSlice() factorises the covariance of the prior, of up to {MAX_SIZE} coordinates; "
                f"model {target.program.name!r} has {target.size}; use bayeskit.NUTS()"
            )
        check_gaussian_prior(target, "bayeskit.EllipticalSlice()")

    def init_chain(self, key: Array, target: Target, position: Array) -> EllipticalSliceState:
        prior = gaussian_prior(target)
        white = jax.scipy.linalg.solve_triangular(prior.root, position - prior.mean, lower=True)
        state = EllipticalSliceState(key, jnp.zeros((), jnp.int32), prior, white, jnp.zeros((), position.dtype))
        return state._replace(lp=_log_density(state, target, white))

    def step_chain(
        self, state: EllipticalSliceState, target: Target
    ) -> tuple[EllipticalSliceState, Array, dict[str, Array]]:
        def log_likelihood(white: Array) -> Array:
            """The log density without the prior that ellipses are drawn by, so that errors of that do not count."""
            value = _log_density(state, target, white) + 0.5 * white @ white
            return jnp.where(jnp.isnan(value), -jnp.inf, value)

        def step(carry: tuple[Array, Array], key: Array) -> tuple[tuple[Array, Array], tuple[Array, Array]]:
            white, value, shrinks, stays = _step(key, *carry, log_likelihood)
            return (white, value), (shrinks, stays)

        keys = jax.random.split(jax.random.fold_in(state.key, state.step), self.steps_per_draw)
        begin = state.white, log_likelihood(state.white)
        (white, value), (shrinks, stays) = jax.lax.scan(step, begin, keys)
        lp = value - 0.5 * white @ white
        stats = {"lp": lp, "n_steps": jnp.sum(shrinks), "diverging": jnp.any(stays) | ~jnp.isfinite(lp)}
        position = state.prior.mean + state.prior.root @ white
        return state._replace(step=state.step + 1, white=white, lp=lp), position, stats


def _log_density(state: EllipticalSliceState, target: Target, white: Array) -> Array:
    return jnp.asarray(target.log_density(target.unravel(state.prior.mean + state.prior.root @ white)))


def _step(key: Array, white: Array, value: Array, log_likelihood: Any) -> tuple[Array, Array, Array, Array]:
    """The next point, its log likelihood, how many were looked at, and whether there was none to go to.

    BlackJAX's kernel would take a point whose likelihood is NaN, and look for ever where rounding hides all others.
    """
    noise_key, slice_key, angle_key, shrink_key = jax.random.split(key, 4)
    noise = jax.random.normal(noise_key, white.shape, white.dtype)
    level = value - jax.random.exponential(slice_key, (), value.dtype)
    angle = jax.random.uniform(angle_key, (), white.dtype, maxval=2.0 * jnp.pi)

    def at(angle: Array) -> tuple[Array, Array]:
        there = white * jnp.cos(angle) + noise * jnp.sin(angle)
        return there, log_likelihood(there)

    def shrink(carry: Any) -> Any:
        _, _, angle, low, high, number = carry
        low, high = jnp.where(angle < 0, angle, low), jnp.where(angle < 0, high, angle)
        fresh = jax.random.uniform(jax.random.fold_in(shrink_key, number), (), white.dtype, low, high)
        return *at(fresh), fresh, low, high, number + 1

    def goes_on(carry: Any) -> Array:
        return (carry[1] <= level) & (carry[-1] < MOST_SHRINKS)

    first = (*at(angle), angle, angle - 2.0 * jnp.pi, angle, jnp.ones((), jnp.int32))
    there, found, *_, number = jax.lax.while_loop(goes_on, shrink, first)
    stays = ~(found > level)
    return jnp.where(stays, white, there), jnp.where(stays, value, found), number, stays
