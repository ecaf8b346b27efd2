"""Value heads: an ensemble of means, with a scale and a shape of the TD error."""

from __future__ import annotations

import math

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Float

from bayeskit._keys import as_key
from bayeskit._settings import is_number, is_whole, require
from bayeskit._typing import Array, Key
from bayeskit.errors import DataError
from bayeskit.models.td_error.checks import finite
from bayeskit.models.td_error.value_losses import ValuePrediction

__all__ = ["ValueHeads"]

SHAPES = (0.5, 8.0)
"""Ends of the shapes that are predicted; their geometric mean is 2, a normal law, where training starts."""
DECADES = 3.0
"""Scales are predicted up to so many decades on either side of the unit."""


class ValueHeads(eqx.Module):
    r"""Means of every head, and one log-scale and log-shape, from features.

    The heads differ by how they start. Scale and shape stay within bounds, softly: with outputs $o$ of a network and
    half widths $h$,

    $$\log a = \log \text{unit} + h_a \tanh(o_a / h_a), \qquad \log b = \log 2 + h_b \tanh(o_b / h_b),$$

    the identity near zero, with $h_a$ three decades and $\frac12 \le b \le 8$. At the start $o_a$ and $o_b$ are zero.

    Args:
        size: the number of features.
        num_heads: of the ensemble.
        hidden: width of one hidden layer (with tanh) of every head; 0 for linear ones.
        unit: the size of TD errors.
        key: an integer seed or a JAX key.

    Raises:
        MethodError: an impossible setting.

    Example:
        >>> import jax.numpy as jnp
        >>> from bayeskit.models import td_error
        >>> heads = td_error.ValueHeads(3, num_heads=5, unit=10.0, key=0)
        >>> prediction = heads.batch(jnp.ones((7, 3)))
        >>> prediction.mean.shape, prediction.scale.shape, float(prediction.shape[0])
        ((5, 7), (7,), 2.0)
    """

    means: eqx.nn.MLP
    noise: eqx.nn.MLP
    unit: float = eqx.field(static=True)

    def __init__(self, size: int, num_heads: int = 5, *, hidden: int = 0, unit: float = 1.0, key: Key):
        for name, value, least in (("size", size, 1), ("num_heads", num_heads, 1), ("hidden", hidden, 0)):
            require(is_whole(value) and value >= least, name, value, f"an integer of at least {least}")
        require(is_number(unit) and unit > 0, "unit", unit, "a positive number")
        depth = 1 if hidden else 0
        of_means, of_noise = jax.random.split(as_key(key))

        def network(key: Array) -> eqx.nn.MLP:
            return eqx.nn.MLP(size, "scalar", hidden, depth, jnp.tanh, key=key)

        self.means = eqx.filter_vmap(network)(jax.random.split(of_means, num_heads))
        noise = eqx.nn.MLP(size, 2, hidden, depth, jnp.tanh, key=of_noise)
        self.noise = eqx.tree_at(
            lambda net: (net.layers[-1].weight, net.layers[-1].bias), noise, replace_fn=jnp.zeros_like
        )
        self.unit = float(unit)

    def __call__(
        self, features: Float[Array, " size"]
    ) -> tuple[Float[Array, " heads"], Float[Array, ""], Float[Array, ""]]:
        """Means, scale and shape, of one state."""
        means = eqx.filter_vmap(lambda net: net(features))(self.means)
        of_scale, of_shape = self.noise(features)
        half_scale = DECADES * math.log(10.0)
        half_shape = math.log(SHAPES[1] / SHAPES[0]) / 2
        scale = self.unit * jnp.exp(half_scale * jnp.tanh(of_scale / half_scale))
        shape = math.sqrt(SHAPES[0] * SHAPES[1]) * jnp.exp(half_shape * jnp.tanh(of_shape / half_shape))
        return means, scale, shape

    def batch(self, features: Float[Array, "batch size"]) -> ValuePrediction:
        """What a loss takes, of a batch of states.

        Raises:
            DataError: features of another shape, or that are not finite.
        """
        rows, size = finite(features, "features"), self.noise.layers[0].weight.shape[1]
        if rows.ndim != 2 or rows.shape[1] != size:
            raise DataError(f"features must have shape (batch, {size}), got {rows.shape}")
        means, scale, shape = jax.vmap(self)(rows)
        return ValuePrediction(means.T, scale, shape)
