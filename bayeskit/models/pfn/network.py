r"""`SetNetwork`: a transformer whose rows form a set, and whose queries see the context and never one another.

A row of the context enters as the sum of an embedding of its inputs and one of its output, a query as its inputs and a
learned vector. In each layer every row and every query attends to the rows of the context and to one learned key, which
stands for "nothing known" and is all there is where the context is empty. Nothing tells the order of rows.
"""

from __future__ import annotations

import math
from typing import Any, ClassVar, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from bayeskit._keepable import keepable
from bayeskit._keys import raw_key
from bayeskit._typing import Array
from bayeskit.models.pfn.attention import attend, root_mean_square, times

__all__ = ["Encoded", "Layer", "SetNetwork", "Sizes", "set_network"]


@keepable("pfn.Sizes")
class Sizes(NamedTuple):
    """How large a network is.

    Attributes:
        width: numbers a row is represented by.
        num_layers: layers.
        num_heads: attention heads a layer; they divide `width`.
        expansion: hidden units of a layer's perceptron, as a multiple of `width`.
    """

    width: int = 64
    num_layers: int = 4
    num_heads: int = 2
    expansion: int = 2


class Encoded(NamedTuple):
    """A context as queries see it: keys and values of each layer, shape `(..., rows, width)`, and which rows exist."""

    keys: tuple[Array, ...]
    values: tuple[Array, ...]
    exists: Array


def normal(generator: np.random.Generator, shape: tuple[int, ...], scale: float = 1.0) -> Array:
    """Weights with variance `scale**2` over the number of inputs.

    By NumPy, since JAX would compile a program for each shape.
    """
    return jnp.asarray(generator.normal(size=shape) * (scale / math.sqrt(shape[0])), jnp.float32)


@keepable("pfn.Layer")
class Layer(eqx.Module):
    """Attention to the context, and a perceptron; both are added to what comes in."""

    gain_attention: Array
    to_query: Array
    to_key: Array
    to_value: Array
    nothing_key: Array
    nothing_value: Array
    out: Array
    gain_perceptron: Array
    up: Array
    down: Array
    num_heads: int

    def keys_and_values(self, rows: Array) -> tuple[Array, Array]:
        """Of rows of the context."""
        weights = self.gain_attention[:, None] * jnp.concatenate([self.to_key, self.to_value], axis=1)
        keys, values = jnp.split(times(root_mean_square(rows), weights), 2, axis=-1)
        return keys, values

    def __call__(self, rows: Array, keys: Array, values: Array, exists: Array) -> Array:
        """Rows or queries `(..., t, width)` that look at a context `(..., s, width)`, of which `(..., s)` exist."""
        query = times(root_mean_square(rows), self.gain_attention[:, None] * self.to_query)
        return self._after(rows, query, keys, values, exists)

    def among(self, rows: Array, known: Array) -> Array:
        """Rows `(..., t, width)` that look at those of them that are known."""
        all_three = jnp.concatenate([self.to_query, self.to_key, self.to_value], axis=1)
        weights = self.gain_attention[:, None] * all_three
        query, keys, values = jnp.split(times(root_mean_square(rows), weights), 3, axis=-1)
        return self._after(rows, query, keys, values, known)

    def _after(self, rows: Array, query: Array, keys: Array, values: Array, exists: Array) -> Array:
        seen = attend(query, keys, values, (self.nothing_key, self.nothing_value), exists, self.num_heads)
        rows = rows + times(seen, self.out)
        hidden = jax.nn.relu(times(root_mean_square(rows), self.gain_perceptron[:, None] * self.up))
        return rows + times(hidden, self.down)


@keepable("pfn.SetNetwork")
class SetNetwork(eqx.Module):
    """The network.

    Attributes:
        frequencies: of the sines and cosines of the inputs, shape `(features, num_waves)`.
        of_inputs: from these and the inputs themselves to a row.
        of_output: from an observed output to a row.
        unknown: what stands for an output that is not observed.
        layers: the layers.
        gain: of the last normalisation.
        readout: from a query to the numbers of the head.
        offset: likewise, added.
        columns_alike: false: a column has weights of its own, and is in units of the prior.
    """

    columns_alike: ClassVar[bool] = False

    frequencies: Array
    of_inputs: Array
    into: Array
    of_output: Array
    unknown: Array
    layers: tuple[Layer, ...]
    gain: Array
    readout: Array
    offset: Array

    def embed(self, x: Array) -> Array:
        """Inputs `(..., features)`, of which NaN are missing, as rows."""
        missing = jnp.isnan(x)
        x = jnp.where(missing, 0.0, x)
        angle = x @ self.frequencies
        inputs = [x, missing.astype(x.dtype), jnp.sin(angle), jnp.cos(angle)]
        hidden = jax.nn.relu(times(jnp.concatenate(inputs, axis=-1).astype(self.of_inputs.dtype), self.of_inputs))
        return times(hidden, self.into)

    def of_outputs(self, y: Array) -> Array:
        """What observed outputs add to their rows."""
        # a one keeps an output of 0 apart from an unknown one
        ones = jnp.ones((*y.shape[:-1], 1), y.dtype)
        return times(jnp.concatenate([y, ones], axis=-1).astype(self.of_output.dtype), self.of_output)

    def encode(self, x: Array, y: Array, exists: Array) -> Encoded:
        """A context, of which only rows that exist count."""
        rows, keys, values = self.embed(x) + self.of_outputs(y), [], []
        for layer in self.layers:
            key, value = layer.keys_and_values(rows)
            keys.append(key)
            values.append(value)
            rows = layer(rows, key, value, exists)
        return Encoded(tuple(keys), tuple(values), exists)

    def query(self, encoded: Encoded, x: Array) -> Array:
        """The numbers of the head, for queries `(..., t, features)`."""
        rows = self.embed(x) + self.unknown
        for layer, key, value in zip(self.layers, encoded.keys, encoded.values, strict=True):
            rows = layer(rows, key, value, encoded.exists)
        return self.read(rows)

    def both(self, x: Array, y: Array, known: Array) -> Array:
        """The numbers of the head for every row, of which the known ones are context: what training looks at."""
        rows = self.embed(x) + jnp.where(known[..., None], self.of_outputs(y), self.unknown)
        for layer in self.layers:
            rows = layer.among(rows, known)
        return self.read(rows)

    def read(self, rows: Array) -> Array:
        """The numbers of the head, always float32."""
        numbers = times(root_mean_square(rows), self.gain[:, None] * self.readout)
        return numbers.astype(jnp.float32) + self.offset.astype(jnp.float32)


def set_network(key: Array, num_features: int, num_inputs: int, num_outputs: int, sizes: Sizes) -> SetNetwork:
    """A network before training.

    Args:
        key: a JAX key.
        num_features: inputs of a row.
        num_inputs: numbers by which an output enters.
        num_outputs: numbers of the head.
        sizes: how large it is.
    """
    width, hidden = sizes.width, sizes.width * sizes.expansion
    generator = np.random.default_rng(np.asarray(raw_key(key)))
    waves = width // 2
    small = 1 / math.sqrt(2 * sizes.num_layers)
    ones: Any = jnp.ones(width, jnp.float32)
    frequencies = normal(generator, (num_features, waves), 2.0)
    layers = tuple(
        Layer(
            gain_attention=ones,
            to_query=normal(generator, (width, width)),
            to_key=normal(generator, (width, width)),
            to_value=normal(generator, (width, width)),
            nothing_key=normal(generator, (1, width))[0],
            nothing_value=jnp.zeros(width, jnp.float32),
            out=normal(generator, (width, width), small),
            gain_perceptron=ones,
            up=normal(generator, (width, hidden), math.sqrt(2.0)),
            down=normal(generator, (hidden, width), small),
            num_heads=sizes.num_heads,
        )
        for _ in range(sizes.num_layers)
    )
    return SetNetwork(
        frequencies=frequencies,
        of_inputs=normal(generator, (2 * num_features + 2 * waves, hidden), math.sqrt(2.0)),
        into=normal(generator, (hidden, width)),
        of_output=normal(generator, (num_inputs + 1, width)),
        unknown=normal(generator, (1, width))[0],
        layers=layers,
        gain=ones,
        readout=jnp.zeros((width, num_outputs), jnp.float32),
        offset=jnp.zeros(num_outputs, jnp.float32),
    )
