r"""`TableNetwork`: a transformer whose tokens are the cells of a table; queries see the context and never one another.

A row is a cell for each input and one for the output, which is a learned vector where the output is not known, and is
added to the others from the start. A layer is

1. attention among the cells of a row,
2. attention among the rows of a column: every row looks at the rows of the context, and no others,
3. a perceptron of each cell.

Each attention has one more key that is learned, which stands for "nothing known" and is all there is where the context
is empty; its share also says how many there are to look at. All columns go through the same weights and nothing tells
their order, nor that of the rows. The numbers of the head are read from the output's cell of a query.

Source: Hollmann, Müller, Purucker, Krishnakumar, Körfer, Hoo, Schirrmeister and Hutter (2025), "Accurate predictions on
small data with a tabular foundation model".
"""

from __future__ import annotations

import math
from typing import ClassVar, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from bayeskit._keepable import keepable
from bayeskit._keys import raw_key
from bayeskit._typing import Array
from bayeskit.models.pfn.attention import attend, root_mean_square, times
from bayeskit.models.pfn.network import Sizes

__all__ = ["Attention", "Columns", "EncodedTable", "TableLayer", "TableNetwork", "table_network"]

_WAVES = 8
_LINEAR = 3.0
"""Standard deviations up to which a cell enters about as it is; beyond, by its logarithm."""
_FARTHEST = 1e30
"""In standard deviations; what is beyond would overflow."""


class Columns(NamedTuple):
    r"""Units of the columns of a context: a cell is $((x - \text{lowest}) / \text{reach} - \text{mean}) / \text{sd}$.

    Attributes:
        lowest: number in the context, shape `(..., features)`.
        reach: from the lowest to the highest, likewise.
        mean: in these units, likewise.
        sd: likewise.
        varies: whether there are two different numbers; a column without them says nothing, and is not looked at.
    """

    lowest: Array
    reach: Array
    mean: Array
    sd: Array
    varies: Array

    @classmethod
    def of(cls, x: Array, exists: Array) -> Columns:
        """Of the known cells of the rows that exist."""
        known = exists[..., None] & ~jnp.isnan(x)
        highest = jnp.max(jnp.where(known, x, -jnp.inf), axis=-2)
        lowest = jnp.min(jnp.where(known, x, jnp.inf), axis=-2)
        varies = highest > lowest
        lowest, reach = jnp.where(varies, lowest, 0.0), jnp.where(varies, highest - lowest, 1.0)
        inside = jnp.where(known, (x - lowest[..., None, :]) / reach[..., None, :], 0.0)
        count = jnp.maximum(known.sum(axis=-2), 1)
        mean = inside.sum(axis=-2) / count
        square = jnp.where(known, (inside - mean[..., None, :]) ** 2, 0.0).sum(axis=-2) / count
        return cls(lowest, reach, mean, jnp.sqrt(jnp.where(varies, square, 1.0)), varies)

    def standardise(self, x: Array) -> Array:
        """Cells in units of the context, far ones drawn in; NaN stays NaN."""
        inside = (x - self.lowest[..., None, :]) / self.reach[..., None, :]
        z = (inside - self.mean[..., None, :]) / self.sd[..., None, :]
        return _LINEAR * jnp.arcsinh(jnp.clip(z, -_FARTHEST, _FARTHEST) / _LINEAR)


class EncodedTable(NamedTuple):
    """A context as queries see it.

    Attributes:
        keys: of each layer, shape `(..., cells, rows, width)`.
        values: likewise.
        exists: which rows there are, shape `(..., rows)`.
        columns: the units of its columns.
    """

    keys: tuple[Array, ...]
    values: tuple[Array, ...]
    exists: Array
    columns: Columns


@keepable("pfn.Attention")
class Attention(eqx.Module):
    """Attention to tokens and to one learned key, added to what comes in."""

    gain: Array
    to_query: Array
    to_context: Array
    nothing_key: Array
    nothing_value: Array
    out: Array
    num_heads: int

    def keys_and_values(self, tokens: Array) -> tuple[Array, Array]:
        """Of what is looked at."""
        keys, values = jnp.split(times(root_mean_square(tokens), self.gain[:, None] * self.to_context), 2, axis=-1)
        return keys, values

    def __call__(self, tokens: Array, keys: Array, values: Array, exists: Array) -> Array:
        """Tokens `(..., t, width)` that look at others `(..., s, width)`, of which `(..., s)` exist."""
        query = times(root_mean_square(tokens), self.gain[:, None] * self.to_query)
        seen = attend(query, keys, values, (self.nothing_key, self.nothing_value), exists, self.num_heads)
        return tokens + times(seen, self.out)


def _turn(cells: Array) -> Array:
    """Rows of cells as columns of cells, and back."""
    return jnp.swapaxes(cells, -3, -2)


@keepable("pfn.TableLayer")
class TableLayer(eqx.Module):
    """Attention within rows, attention within columns, and a perceptron."""

    in_rows: Attention
    in_columns: Attention
    gain: Array
    up: Array
    down: Array

    def within_rows(self, cells: Array, counts: Array, output_only: bool) -> Array:
        """Cells `(..., rows, cells, width)`, of which `(..., cells)` are looked at; or those of the output alone."""
        looking = cells[..., :1, :] if output_only else cells
        return self.in_rows(looking, *self.in_rows.keys_and_values(cells), counts[..., None, :])

    def keys_and_values(self, cells: Array) -> tuple[Array, Array]:
        """What other rows see of cells."""
        return self.in_columns.keys_and_values(_turn(cells))

    def within_columns(self, cells: Array, keys: Array, values: Array, exists: Array) -> Array:
        """Cells after they have looked at the rows that exist, and the perceptron."""
        cells = _turn(self.in_columns(_turn(cells), keys, values, exists[..., None, :]))
        hidden = jax.nn.relu(times(root_mean_square(cells), self.gain[:, None] * self.up))
        return cells + times(hidden, self.down)


@keepable("pfn.TableNetwork")
class TableNetwork(eqx.Module):
    """The network.

    Attributes:
        columns_alike: columns have their own units and share all weights, so that there may be fewer of them.
        frequencies: of the sines and cosines of a cell, shape `(num_waves,)`.
        of_inputs: from these and the number itself to hidden units.
        into: from these to a cell.
        of_output: from an observed output to its cell.
        unknown: what stands for an output that is not observed.
        layers: the layers.
        gain: of the last normalisation.
        readout: from a query's output cell to the numbers of the head.
        offset: likewise, added.
    """

    columns_alike: ClassVar[bool] = True

    frequencies: Array
    of_inputs: Array
    into: Array
    of_output: Array
    unknown: Array
    layers: tuple[TableLayer, ...]
    gain: Array
    readout: Array
    offset: Array

    def embed(self, x: Array, columns: Columns) -> Array:
        """Inputs `(..., rows, features)`, of which NaN are missing, as cells."""
        z = columns.standardise(x)
        missing = jnp.isnan(z)[..., None]
        z = jnp.where(missing, 0.0, z[..., None])
        angle = z * self.frequencies
        numbers = jnp.concatenate([z, jnp.sin(angle), jnp.cos(angle), jnp.ones_like(z)], axis=-1)
        numbers = jnp.concatenate([jnp.where(missing, 0.0, numbers), missing.astype(z.dtype)], axis=-1)
        return times(jax.nn.relu(times(numbers.astype(self.of_inputs.dtype), self.of_inputs)), self.into)

    def of_outputs(self, y: Array) -> Array:
        """Of observed outputs, shape `(..., rows, width)`."""
        # a one keeps an output of 0 apart from an unknown one
        ones = jnp.ones((*y.shape[:-1], 1), y.dtype)
        return times(jnp.concatenate([y, ones], axis=-1).astype(self.of_output.dtype), self.of_output)

    def encode(self, x: Array, y: Array, exists: Array) -> EncodedTable:
        """A context, of which only rows that exist count."""
        columns = Columns.of(x, exists)
        cells, counts, keys, values = _cells(self.of_outputs(y), self.embed(x, columns)), _counts(columns), [], []
        for layer, last in self._each():
            cells = layer.within_rows(cells, counts, last)
            key, value = layer.keys_and_values(cells)
            keys.append(key)
            values.append(value)
            if not last:
                cells = layer.within_columns(cells, key, value, exists)
        return EncodedTable(tuple(keys), tuple(values), exists, columns)

    def query(self, encoded: EncodedTable, x: Array) -> Array:
        """The numbers of the head, for queries `(..., t, features)`."""
        unknown = jnp.broadcast_to(self.unknown, (*x.shape[:-1], self.unknown.size))
        cells, counts = _cells(unknown, self.embed(x, encoded.columns)), _counts(encoded.columns)
        for (layer, last), key, value in zip(self._each(), encoded.keys, encoded.values, strict=True):
            cells = layer.within_columns(layer.within_rows(cells, counts, last), key, value, encoded.exists)
        return self.read(cells)

    def both(self, x: Array, y: Array, known: Array) -> Array:
        """The numbers of the head for every row, of which the known ones are context: what training looks at."""
        columns = Columns.of(x, known)
        outputs = jnp.where(known[..., None], self.of_outputs(y), self.unknown)
        cells, counts = _cells(outputs, self.embed(x, columns)), _counts(columns)
        for layer, last in self._each():
            cells = layer.within_rows(cells, counts, last)
            cells = layer.within_columns(cells, *layer.keys_and_values(cells), known)
        return self.read(cells)

    def read(self, cells: Array) -> Array:
        """The numbers of the head, from the output's cells; always float32."""
        numbers = times(root_mean_square(cells[..., 0, :]), self.gain[:, None] * self.readout)
        return numbers.astype(jnp.float32) + self.offset.astype(jnp.float32)

    def _each(self) -> list[tuple[TableLayer, bool]]:
        """Layers, and whether one is the last, in which the cells of the output alone are needed."""
        return [(layer, at == len(self.layers) - 1) for at, layer in enumerate(self.layers)]


def _cells(output: Array, inputs: Array) -> Array:
    """The output's cell comes first; every cell of a row knows its output from the start."""
    output = output[..., None, :]
    return jnp.concatenate([output, inputs + output], axis=-2)


def _counts(columns: Columns) -> Array:
    """Which cells of a row are looked at: that of the output, and those of columns that vary."""
    return jnp.concatenate([jnp.ones_like(columns.varies[..., :1]), columns.varies], axis=-1)


def _weights(generator: np.random.Generator, shape: tuple[int, ...], scale: float = 1.0) -> Array:
    """Normal, with variance `scale**2` over the number of inputs."""
    return jnp.asarray(generator.normal(size=shape) * (scale / math.sqrt(shape[0])), jnp.float32)


def _attention(generator: np.random.Generator, sizes: Sizes, scale: float) -> Attention:
    width = sizes.width
    return Attention(
        gain=jnp.ones(width, jnp.float32),
        to_query=_weights(generator, (width, width)),
        to_context=_weights(generator, (width, 2 * width)),
        nothing_key=_weights(generator, (1, width))[0],
        nothing_value=jnp.zeros(width, jnp.float32),
        out=_weights(generator, (width, width), scale),
        num_heads=sizes.num_heads,
    )


def table_network(key: Array, num_features: int, num_inputs: int, num_outputs: int, sizes: Sizes) -> TableNetwork:
    """A network before training.

    Args:
        key: a JAX key.
        num_features: inputs of a row; any number goes through the same weights.
        num_inputs: numbers by which an output enters.
        num_outputs: numbers of the head.
        sizes: how large it is.
    """
    del num_features
    generator = np.random.default_rng(np.asarray(raw_key(key)))
    width, hidden = sizes.width, sizes.width * sizes.expansion
    small = 1 / math.sqrt(3 * sizes.num_layers)
    layers = tuple(
        TableLayer(
            in_rows=_attention(generator, sizes, small),
            in_columns=_attention(generator, sizes, small),
            gain=jnp.ones(width, jnp.float32),
            up=_weights(generator, (width, hidden), math.sqrt(2.0)),
            down=_weights(generator, (hidden, width), small),
        )
        for _ in range(sizes.num_layers)
    )
    return TableNetwork(
        frequencies=0.5 * 2.0 ** (jnp.arange(_WAVES, dtype=jnp.float32) / 2),
        of_inputs=_weights(generator, (2 * _WAVES + 3, width), math.sqrt(2.0)),
        into=_weights(generator, (width, width)),
        of_output=_weights(generator, (num_inputs + 1, width)),
        unknown=_weights(generator, (1, width))[0],
        layers=layers,
        gain=jnp.ones(width, jnp.float32),
        readout=jnp.zeros((width, num_outputs), jnp.float32),
        offset=jnp.zeros(num_outputs, jnp.float32),
    )
