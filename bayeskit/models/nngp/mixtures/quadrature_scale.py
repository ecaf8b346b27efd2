"""`QuadratureScale`: the law of the scale given responses, where it has no name."""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpyro.distributions as dist
from numpyro.distributions import constraints
from numpyro.distributions.util import validate_sample

from bayeskit._typing import Array, ArrayLike
from bayeskit.models.nngp.mixtures.likelihood import Likelihood
from bayeskit.models.nngp.mixtures.scale_integral import ScaleGrid, log_integrand, moment_grid, onto_line
from bayeskit.numerics.piecewise_density import PiecewiseDensity
from bayeskit.xla.precision import in_double, to_default

__all__ = ["QuadratureScale"]


class QuadratureScale(dist.Distribution):
    r"""The law of $\sigma^2$ given responses, $p(\sigma^2 \mid y) = p(y \mid \sigma^2)\, h(\sigma^2) / p(y)$.

    The log density is exact (up to that of the integral $p(y)$), the moments are integrals of their own (infinite where
    the tail of the law makes them so), and distribution function, quantiles and draws come from polynomials on 256
    panels. Draws carry no derivative.
    """

    arg_constraints: dict[str, constraints.Constraint] = {}  # noqa: RUF012
    pytree_data_fields = ("scale_prior", "likelihood", "grid")

    def __init__(
        self,
        scale_prior: dist.Distribution,
        likelihood: Likelihood,
        grid: ScaleGrid,
        *,
        validate_args: bool | None = None,
    ):
        self.scale_prior, self.likelihood, self.grid = scale_prior, likelihood, grid
        super().__init__(batch_shape=(), event_shape=(), validate_args=validate_args)

    @constraints.dependent_property(is_discrete=False, event_dim=0)  # type: ignore[untyped-decorator]
    def support(self) -> constraints.Constraint:
        """That of the law before data."""
        return self.scale_prior.support

    @validate_sample  # type: ignore[untyped-decorator]
    def log_prob(self, value: ArrayLike) -> Array:
        r"""The log density of $\sigma^2$ at a value."""
        return self._elementwise(_log_density, value)

    def sample(self, key: Array, sample_shape: tuple[int, ...] = ()) -> Array:
        """Draw by inversion of the distribution function; no gradient passes through it."""
        mass = jax.random.uniform(key, sample_shape, minval=jnp.finfo(float).tiny)
        return jax.lax.stop_gradient(self.icdf(mass))

    def cdf(self, value: ArrayLike) -> Array:
        r"""$P(\sigma^2 \le$ value$)$."""
        return self._elementwise(_below, value)

    def icdf(self, q: ArrayLike) -> Array:
        r"""The scale with probability q below it."""
        return self._elementwise(_quantile, q)

    def _elementwise(self, function: Callable[..., Array], value: ArrayLike) -> Array:
        array = jnp.asarray(value)
        return to_default(function(self.scale_prior, self.likelihood, self.grid, array.reshape(-1))).reshape(
            array.shape
        )

    @property
    def mean(self) -> Array:
        """Infinite where the tail makes it so, NaN where the tail falls too slowly to tell."""
        return to_default(_moments(self.scale_prior, self.likelihood, self.grid)[0])

    @property
    def variance(self) -> Array:
        """Infinite where the tail makes it so, NaN where the tail falls too slowly to tell."""
        return to_default(_moments(self.scale_prior, self.likelihood, self.grid)[1])


@in_double
def _log_density(prior: dist.Distribution, likelihood: Likelihood, grid: ScaleGrid, scales: Array) -> Array:
    return likelihood.log_likelihood(scales) + prior.log_prob(scales) - grid.log_evidence


@in_double
def _moments(prior: dist.Distribution, likelihood: Likelihood, grid: ScaleGrid) -> tuple[Array, Array]:
    mean = jnp.exp(moment_grid(prior, likelihood, 1).log_evidence - grid.log_evidence)
    second = moment_grid(prior, likelihood, 2)
    exists = jnp.isfinite(second.log_evidence) & jnp.isfinite(mean)
    # around the mean, as a difference of two large moments would cancel
    around = jnp.exp(second.log_weights) * (1 - jnp.where(exists, mean, 0.0) / second.scales) ** 2
    variance = jnp.sum(around) * jnp.exp(second.log_evidence - grid.log_evidence)
    return mean, jnp.where(exists, variance, jnp.exp(second.log_evidence))


def _table(prior: dist.Distribution, likelihood: Likelihood, grid: ScaleGrid) -> PiecewiseDensity:
    nodes = grid.grid.nodes
    return PiecewiseDensity.of(lambda t: log_integrand(prior, likelihood, t) - grid.log_evidence, nodes[0], nodes[-1])


@in_double
def _below(prior: dist.Distribution, likelihood: Likelihood, grid: ScaleGrid, scales: Array) -> Array:
    return _table(prior, likelihood, grid).cdf(onto_line(prior).inv(scales))


@in_double
def _quantile(prior: dist.Distribution, likelihood: Likelihood, grid: ScaleGrid, mass: Array) -> Array:
    return onto_line(prior)(_table(prior, likelihood, grid).icdf(mass))
