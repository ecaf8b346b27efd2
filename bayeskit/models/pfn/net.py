"""`Net`: a trained network, which predicts; and `Context`, data that it has read."""

from __future__ import annotations

import dataclasses
import functools
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist

from bayeskit._keepable import keepable
from bayeskit._typing import Array, ArrayLike
from bayeskit.errors import DataError, StorageError
from bayeskit.models.pfn.heads import Head
from bayeskit.models.pfn.network import Encoded, SetNetwork
from bayeskit.models.pfn.reference import Reference, looks
from bayeskit.models.pfn.rows import check_inputs, check_outputs
from bayeskit.models.pfn.table_network import EncodedTable, TableNetwork
from bayeskit.storage import load as load_kept
from bayeskit.storage import save as save_kept
from bayeskit.train import Training
from bayeskit.xla.miscompilation import safe_jit

if TYPE_CHECKING:
    import xarray as xr

__all__ = ["Context", "Facts", "Net", "Network", "load"]

Network = SetNetwork | TableNetwork

QUERIES = 32
"""Queries that are answered at a time: always by the same program, so that others beside them change nothing."""


@keepable("pfn.Facts")
@dataclasses.dataclass(frozen=True)
class Facts:
    """What a network was trained for.

    Attributes:
        prior: the name of the model.
        fingerprint: of its source.
        num_rows: the most rows of a context.
        num_features: inputs of a row.
        num_classes: of the output; 0 where it is a real number.
        missing: whether inputs may be missing.
        settings: of the training, as JSON.
    """

    prior: str
    fingerprint: str
    num_rows: int
    num_features: int
    num_classes: int
    missing: bool
    settings: str


@keepable("pfn.Net")
@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class Net:
    r"""A network that predicts the outputs of new rows from data, in one pass: $q(y_* \mid x_*, x_{1:n}, y_{1:n})$.

    The order of the data does not matter, and what is predicted for one query does not depend on the others.

    Attributes:
        network: the transformer.
        head: turns its numbers into a distribution.
        centre: of inputs under the prior, shape `(features,)`.
        spread: their standard deviation.
        facts: what it was trained for.
        reference: how data sets of the prior look to it.
        training: how the training went.
    """

    network: Network
    head: Head
    centre: Array
    spread: Array
    facts: Facts
    reference: Reference
    training: Training

    def __repr__(self) -> str:
        facts = self.facts
        what = f"{facts.num_classes} classes" if facts.num_classes else "a number"
        return (
            f"Net(prior={facts.prior!r}, up to {facts.num_rows} rows of {facts.num_features} inputs, predicts {what}; "
            f"{self.num_parameters:,} parameters, {len(self.training.losses):,} steps)"
        )

    @property
    def num_parameters(self) -> int:
        """Numbers in the network."""
        return sum(leaf.size for leaf in jax.tree.leaves(eqx.filter(self.network, eqx.is_inexact_array)))

    @property
    def takes_fewer(self) -> bool:
        """Whether it takes fewer columns than the prior draws: one of cells that has learned what is missing."""
        return self.network.columns_alike and self.facts.missing

    def predict(self, x: ArrayLike, y: ArrayLike, x_new: ArrayLike) -> dist.Distribution:
        """The predictive distributions of new outputs.

        Args:
            x: inputs, shape `(n, features)`, or `(n,)` where there is one. No row at all is allowed: the prior is
                predicted then. A leading axis stands for several data sets of one size.
            y: outputs, shape `(n,)`; classes are 0, 1, ...
            x_new: inputs to predict at, shape `(queries, features)`.

        Returns:
            A NumPyro distribution of batch shape `(queries,)`.

        Raises:
            DataError: another number of inputs, more rows than the network was trained for, or numbers that are not
                finite.

        Example:
            >>> from bayeskit.models import pfn
            >>> net = pfn.pretrained("regression")
            >>> law = net.predict([0.1, 0.4, 0.9], [-1.0, 0.0, 1.5], [0.2, 0.6, 0.99])
            >>> law.mean.shape, bool(law.icdf(0.05)[0] < -0.5)
            ((3,), True)
        """
        return self.encode(x, y).predict(x_new)

    def p_value(self, x: ArrayLike, y: ArrayLike) -> float:
        """Whether data look like those that the network was trained on: a predictive check of the prior.

        Half of the rows are predicted from the other half, and the other way round. The p-value is twice the share of
        data sets of the prior of this size with a mean log density as low, or an input as far out. A small one, below
        0.01, says that what the network predicts is not to be relied on.

        Args:
            x: inputs of one data set, as in :meth:`predict`.
            y: outputs.

        Raises:
            DataError: as :meth:`predict`.
        """
        x, y = self.checked(x, y)
        if x.ndim != 2:
            raise DataError(f"p_value takes one data set, got x of shape {x.shape}")
        if not len(y):
            return 1.0
        inputs = np.asarray(self.standardise(x))
        score, extreme = looks(self.network, self.head, inputs[None], y[None], self.facts.num_rows)
        return self.reference.p_value(len(y), float(score[0]), float(extreme[0]))

    def checked(self, x: ArrayLike, y: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
        """Data as the network takes them.

        Raises:
            DataError: as :meth:`predict`.
        """
        inputs = check_inputs("x", x, self.facts.num_features, self.facts.missing, fewer=self.takes_fewer)
        outputs = check_outputs(y, inputs, self.facts.num_classes)
        rows = inputs.shape[-2]
        if rows > self.facts.num_rows:
            raise DataError(
                f"the network was trained for up to {self.facts.num_rows} rows, got {rows}; take a sample of them, or "
                "train on a prior that draws more"
            )
        return inputs, outputs

    def encode(self, x: ArrayLike, y: ArrayLike) -> Context:
        """Read data once, to predict from them again and again.

        Raises:
            DataError: as :meth:`predict`.
        """
        x, y = self.checked(x, y)
        rows, num_inputs = x.shape[-2:]
        # a few sizes only, so that few programs are compiled
        size = min(max(8, 1 << (rows - 1).bit_length() if rows else 0), max(self.facts.num_rows, 1))
        pad = [(0, 0)] * (x.ndim - 2)
        x = np.pad(x, [*pad, (0, size - rows), (0, 0)])
        y = np.pad(y, [*pad, (0, size - rows)])
        exists = np.broadcast_to(np.arange(size) < rows, y.shape)
        encoded = _encode(self.network, self.standardise(x), self.head.standardise(jnp.asarray(y)), jnp.asarray(exists))
        return Context(self, encoded, rows, num_inputs)

    def standardise(self, x: np.ndarray | Array) -> Array:
        """Inputs in units of the prior; columns that there are not are missing."""
        absent = [(0, 0)] * (x.ndim - 1) + [(0, self.facts.num_features - x.shape[-1])]
        return (jnp.asarray(np.pad(np.asarray(x), absent, constant_values=np.nan)) - self.centre) / self.spread

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write it to a file, ``.zarr`` or ``.nc``; :func:`bayeskit.models.pfn.load` reads it.

        Raises:
            StorageError: another ending, or a place that cannot be written to.
        """
        return save_kept(self, path)

    @property
    def tree(self) -> xr.DataTree:
        """The record of the training."""
        return self.training.tree("pfn.train", {"prior": self.facts.prior})


class Context:
    """Data that a network has read.

    Attributes:
        num_rows: how many rows.
        num_inputs: of a row.

    Args:
        net: the network.
        encoded: keys and values of its layers.
        num_rows: how many rows.
        num_inputs: of a row.
    """

    def __init__(self, net: Net, encoded: Encoded | EncodedTable, num_rows: int, num_inputs: int):
        self._net, self._encoded, self.num_rows, self.num_inputs = net, encoded, num_rows, num_inputs

    def predict(self, x_new: ArrayLike) -> dist.Distribution:
        """The predictive distributions of new outputs; see :meth:`Net.predict`.

        Raises:
            DataError: another number of inputs, or numbers that are not finite.
        """
        facts = self._net.facts
        x = check_inputs("x_new", x_new, facts.num_features, facts.missing, fewer=self._net.takes_fewer)
        if self.num_rows and x.shape[-1] != self.num_inputs:
            raise DataError(f"x_new must have the columns of x, {self.num_inputs} of them; got shape {x.shape}")
        batch = self._encoded.exists.shape[:-1]
        if x.shape[:-2] != batch:
            raise DataError(f"x_new must have the leading axes of the data, {batch}, got shape {x.shape}")
        queries = x.shape[-2]
        if not queries:
            raise DataError("x_new has no row")
        parts = []
        for begin in range(0, queries, QUERIES):
            some = x[..., begin : begin + QUERIES, :]
            short = [(0, 0)] * (x.ndim - 2) + [(0, QUERIES - some.shape[-2]), (0, 0)]
            inputs = self._net.standardise(np.pad(some, short))
            parts.append(_query(self._net.network, self._net.head, self._encoded, inputs))
        return self._net.head.law(jnp.concatenate(parts, axis=-2)[..., :queries, :])


@functools.partial(safe_jit, compile=eqx.filter_jit)
def _encode(network: Network, x: Array, y: Array, exists: Array) -> Encoded | EncodedTable:
    return network.encode(x, y, exists)


@functools.partial(safe_jit, compile=eqx.filter_jit)
def _query(network: Any, head: Head, encoded: Encoded | EncodedTable, x: Array) -> Array:
    return head.numbers(network.query(encoded, x))


def load(path: str | os.PathLike[str]) -> Net:
    """Read a network that :meth:`Net.save` has written.

    Raises:
        StorageError: there is none, it is damaged, or it is something else.
    """
    found: Any = load_kept(path)
    if not isinstance(found, Net):
        raise StorageError(f"{os.fspath(path)} holds {type(found).__name__}, and not a network of bayeskit.models.pfn")
    return found
