"""Normal distributions in order: priors of the thresholds of an ordinal regression."""

from __future__ import annotations

from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from numpyro.distributions import Distribution, constraints
from scipy import integrate, stats

from bayeskit._typing import Array, ArrayLike

__all__ = ["OrderedNormal"]

GRID = 4001
RAREST = 1e-6


class OrderedNormal(Distribution):
    r"""Independent normal variables, given that they are in order:
    :math:`p(x) = \frac{1}{P} \prod_k N(x_k \mid m_k, s_k)` where :math:`x_1 < \ldots < x_K`, and zero elsewhere.

    :math:`P` is the probability of that order, :math:`F_K(\infty)` with
    :math:`F_k(t) = \int_{-\infty}^t N(u \mid m_k, s_k)\, F_{k-1}(u)\, du` and :math:`F_0 = 1`, computed once by
    quadrature. Draws are by rejection.

    Args:
        loc: :math:`m`, shape ``(K,)``, numbers that are known when the model is written.
        scale: :math:`s`, likewise, or one number.

    Raises:
        ValueError: the order has a probability below one in a million; parameters that are traced.

    Example:
        >>> import jax
        >>> from bayeskit.distributions import OrderedNormal
        >>> thresholds = OrderedNormal([-1.0, 1.0], 1.0).sample(jax.random.key(0), (3,))
        >>> bool((thresholds[:, 0] < thresholds[:, 1]).all())
        True
    """

    arg_constraints: ClassVar[dict[str, Any]] = {"loc": constraints.real_vector, "scale": constraints.real_vector}
    support = constraints.ordered_vector
    reparametrized_params: ClassVar[list[str]] = []
    pytree_data_fields = ("log_probability_of_order",)

    def __init__(
        self, loc: ArrayLike | list[float], scale: ArrayLike | list[float], *, validate_args: bool | None = None
    ):
        if any(isinstance(value, jax.core.Tracer) for value in (loc, scale)):
            raise ValueError("OrderedNormal takes numbers that are known when the model is written, not traced ones")
        self.loc, self.scale = (np.array(v, float) for v in np.broadcast_arrays(np.atleast_1d(loc), scale))
        probability = _probability_of_order(self.loc, self.scale)
        if probability < RAREST:
            raise ValueError(
                f"these normal variables are in order with probability {probability:.1g}, too rare to draw"
            )
        self.log_probability_of_order = np.log(probability)
        super().__init__((), self.loc.shape, validate_args=validate_args)

    def sample(self, key: Array, sample_shape: tuple[int, ...] = ()) -> Array:
        """Draws, by rejection."""
        loc, scale = jnp.asarray(self.loc, float), jnp.asarray(self.scale, float)
        shape = (*sample_shape, *self.event_shape)

        def propose(state: tuple[Array, Array]) -> tuple[Array, Array]:
            key, values = state
            key, now = jax.random.split(key)
            drawn = loc + scale * jax.random.normal(now, shape, loc.dtype)
            return key, jnp.where(_in_order(values), values, drawn)

        unordered = jnp.broadcast_to(jnp.zeros_like(loc) * jnp.nan, shape)
        return jax.lax.while_loop(lambda state: ~_in_order(state[1]).all(), propose, (key, unordered))[1]

    def log_prob(self, value: Array) -> Array:
        """The log density."""
        terms = jax.scipy.stats.norm.logpdf(value, self.loc, self.scale)
        return terms.sum(-1) - self.log_probability_of_order


def _in_order(values: Array) -> Array:
    return ((jnp.diff(values, axis=-1) > 0).all(-1, keepdims=True)) & jnp.isfinite(values).all(-1, keepdims=True)


def _probability_of_order(loc: np.ndarray, scale: np.ndarray) -> float:
    grid = np.linspace((loc - 9.0 * scale).min(), (loc + 9.0 * scale).max(), GRID)
    below = np.ones_like(grid)
    for mean, sd in zip(loc, scale, strict=True):
        below = integrate.cumulative_simpson(stats.norm.pdf(grid, mean, sd) * below, x=grid, initial=0.0)
    return float(below[-1])
