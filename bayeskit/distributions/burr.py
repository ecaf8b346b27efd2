"""The Burr XII distribution."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpyro.distributions as dist
from jax.scipy.special import gammaln
from numpyro.distributions import constraints
from numpyro.distributions.util import promote_shapes, validate_sample

from bayeskit._keepable import keepable
from bayeskit._typing import Array, ArrayLike

__all__ = ["BurrXII"]


@keepable("distributions.BurrXII")
class BurrXII(dist.Distribution):
    r"""Burr's twelfth distribution, with density $c d\, z^{c-1} (1 + z^c)^{-d-1} / s$ at $x = s z$, $x > 0$.

    Its tail is $P(x > t) \approx (t / s)^{-c d}$, so moments exist below order $c d$; near zero it is like $x^{c - 1}$.

    Args:
        c: first shape parameter, positive.
        d: second shape parameter, positive.
        scale: $s > 0$.

    Source: Burr (1942), "Cumulative Frequency Functions".

    Example:
        >>> BurrXII(2.0, 1.0).cdf(1.0)
        Array(0.5, dtype=...)
    """

    arg_constraints = {  # noqa: RUF012
        "c": constraints.positive,
        "d": constraints.positive,
        "scale": constraints.positive,
    }
    support = constraints.positive
    reparametrized_params = ["c", "d", "scale"]  # noqa: RUF012
    pytree_data_fields = ("c", "d", "scale")

    def __init__(self, c: ArrayLike, d: ArrayLike, scale: ArrayLike = 1.0, *, validate_args: bool | None = None):
        self.c, self.d, self.scale = promote_shapes(c, d, scale)
        batch_shape = jnp.broadcast_shapes(jnp.shape(c), jnp.shape(d), jnp.shape(scale))
        super().__init__(batch_shape=batch_shape, validate_args=validate_args)

    def sample(self, key: Array, sample_shape: tuple[int, ...] = ()) -> Array:
        """By inversion, in float's full range on both sides."""
        # log1p(z^c) is exponential with rate d
        power = jax.random.exponential(key, (*sample_shape, *self.batch_shape)) / self.d
        return self.scale * jnp.exp(_log_expm1(power) / self.c)

    @validate_sample  # type: ignore[untyped-decorator]
    def log_prob(self, value: ArrayLike) -> Array:
        """The log density at a positive number."""
        log_z = jnp.log(value) - jnp.log(self.scale)
        tail = (self.d + 1) * jax.nn.softplus(self.c * log_z)
        return jnp.log(self.c) + jnp.log(self.d) - jnp.log(self.scale) + (self.c - 1) * log_z - tail

    def cdf(self, value: ArrayLike) -> Array:
        """$1 - (1 + z^c)^{-d}$."""
        return -jnp.expm1(-self.d * jax.nn.softplus(self.c * (jnp.log(value) - jnp.log(self.scale))))

    def icdf(self, q: ArrayLike) -> Array:
        """The inverse of `cdf`."""
        return self.scale * jnp.exp(_log_expm1(-jnp.log1p(-jnp.asarray(q, float)) / self.d) / self.c)

    @property
    def mean(self) -> Array:
        """Infinite unless $cd > 1$."""
        return self._moment(1)

    @property
    def variance(self) -> Array:
        """Infinite unless $cd > 2$."""
        second = self._moment(2)
        return jnp.where(jnp.isinf(second), jnp.inf, second - jnp.where(jnp.isinf(second), 0.0, self._moment(1)) ** 2)

    def _moment(self, order: int) -> Array:
        r"""$s^r d\, B(d - r / c, 1 + r / c)$."""
        c, d, scale = jnp.broadcast_arrays(*(jnp.asarray(item, float) for item in (self.c, self.d, self.scale)))
        exists = c * d > order
        share = order / jnp.where(exists, c, 2.0 * order / d)
        log_beta = gammaln(d - share) + gammaln(1 + share) - gammaln(d + 1)
        return jnp.where(exists, d * scale**order * jnp.exp(log_beta), jnp.inf)


def _log_expm1(x: Array) -> Array:
    return x + jnp.log(-jnp.expm1(-x))
