"""`NormalMixture`: a mixture of normal densities with quantiles."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpyro.distributions as dist
from numpyro.distributions import constraints

from bayeskit._typing import Array, ArrayLike

__all__ = ["NormalMixture"]

_HALVINGS = 60


class NormalMixture(dist.MixtureSameFamily):
    r"""$\sum_j w_j N(m_j, s_j^2)$; NumPyro's mixture, with an inverse of its distribution function.

    Args:
        log_weights: shape `(..., J)`; only differences matter.
        loc: means, likewise.
        scale: standard deviations, likewise.

    Example:
        >>> import jax.numpy as jnp
        >>> law = NormalMixture(jnp.zeros(2), jnp.array([-1.0, 1.0]), jnp.ones(2))
        >>> abs(round(float(law.icdf(0.5)), 5))
        0.0
    """

    support = constraints.real

    def __init__(self, log_weights: ArrayLike, loc: ArrayLike, scale: ArrayLike):
        super().__init__(dist.Categorical(logits=log_weights), dist.Normal(loc, scale))

    def icdf(self, q: ArrayLike) -> Array:
        """By halving between the lowest and the highest quantile of a component."""
        q = jnp.asarray(q, float)
        of_components = self.component_distribution.icdf(jnp.broadcast_to(q[..., None], (*q.shape, 1)))
        shape = jnp.broadcast_shapes(q.shape, self.batch_shape)
        low = jnp.broadcast_to(of_components.min(axis=-1), shape)
        high = jnp.broadcast_to(of_components.max(axis=-1), shape)

        def halve(_: int, ends: tuple[Array, Array]) -> tuple[Array, Array]:
            low, high = ends
            middle = (low + high) / 2
            above = self.cdf(middle) < q
            return jnp.where(above, middle, low), jnp.where(above, high, middle)

        low, high = jax.lax.fori_loop(0, _HALVINGS, halve, (low, high))
        return (low + high) / 2
