"""The generalized normal distribution."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpyro.distributions as dist
from jax.scipy.special import gammaln
from numpyro.distributions import constraints
from numpyro.distributions.util import promote_shapes, validate_sample

from bayeskit._keepable import keepable
from bayeskit._typing import Array, ArrayLike

__all__ = ["GeneralizedNormal"]


@keepable("distributions.GeneralizedNormal")
class GeneralizedNormal(dist.Distribution):
    r"""Errors whose tails fall as $e^{-|x|^p}$: Laplace for $p = 1$, normal for $p = 2$, nearly uniform for large $p$.

    $$\log p(x) = -\left|\frac{x - \mu}{s}\right|^p - \log(2 s\, \Gamma(1 + 1 / p))$$

    Args:
        loc: $\mu$.
        scale: $s > 0$, which is $\sqrt2$ times the standard deviation where $p = 2$.
        power: the shape $p > 0$. (A distribution of NumPyro has a method `shape`, hence the name.)
    """

    arg_constraints = {  # noqa: RUF012
        "loc": constraints.real,
        "scale": constraints.positive,
        "power": constraints.positive,
    }
    support = constraints.real
    reparametrized_params = ["loc", "scale", "power"]  # noqa: RUF012
    pytree_data_fields = ("loc", "scale", "power")

    def __init__(self, loc: ArrayLike, scale: ArrayLike, power: ArrayLike, *, validate_args: bool | None = None):
        self.loc, self.scale, self.power = promote_shapes(loc, scale, power)
        batch_shape = jnp.broadcast_shapes(jnp.shape(loc), jnp.shape(scale), jnp.shape(power))
        super().__init__(batch_shape=batch_shape, validate_args=validate_args)

    def sample(self, key: Array, sample_shape: tuple[int, ...] = ()) -> Array:
        """A random sign times a power of a gamma variable."""
        for_size, for_sign = jax.random.split(key)
        shape = (*sample_shape, *self.batch_shape)
        log_size = jax.random.loggamma(for_size, 1 / jnp.asarray(self.power, float), shape) / self.power
        sign = jax.random.rademacher(for_sign, shape, log_size.dtype)
        return self.loc + self.scale * sign * jnp.exp(log_size)

    @validate_sample  # type: ignore[untyped-decorator]
    def log_prob(self, value: ArrayLike) -> Array:
        """The log density."""
        distance = jnp.abs(jnp.asarray(value, float) - self.loc) / self.scale
        away = distance > 0
        energy = jnp.where(away, jnp.where(away, distance, 1.0) ** self.power, 0.0)
        return -energy - jnp.log(2.0) - jnp.log(self.scale) - gammaln(1 + 1 / jnp.asarray(self.power, float))

    @property
    def mean(self) -> Array:
        r"""$\mu$, which is the median and the mode too."""
        return jnp.broadcast_to(self.loc, self.batch_shape)

    @property
    def variance(self) -> Array:
        r"""$s^2\, \Gamma(3 / p) / \Gamma(1 / p)$."""
        inverse = 1 / jnp.asarray(self.power, float)
        return jnp.broadcast_to(self.scale**2 * jnp.exp(gammaln(3 * inverse) - gammaln(inverse)), self.batch_shape)
