"""Rows of data over several devices, for a likelihood that one device cannot hold."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import NamedSharding, PartitionSpec

from bayeskit._spelling import did_you_mean
from bayeskit.errors import DataError
from bayeskit.program.arguments import as_host_array
from bayeskit.xla.devices import mesh_of_all

__all__ = ["sharded"]


def sharded(data: Mapping[str, object], axis: str = "row", *, names: Sequence[str] | None = None) -> dict[str, Any]:
    r"""Data whose rows are spread over all devices, to be given to :func:`bayeskit.infer` in place of the data.

    With the rows of :math:`y` in :math:`D` parts, one on each device, the log likelihood is the sum of :math:`D` sums,

    .. math:: \log p(y \mid z) = \sum_{d=1}^{D} \sum_{i \in \text{rows of } d} \log p(y_i \mid z),

    which XLA makes of the same model, with one collective in each evaluation: every device holds its own rows only,
    and :math:`z` and its gradient are the same on all. The model is not changed. Chains advance in lockstep
    (``chain_method="vectorized"``), as the devices must all be at the same evaluation.

    Under ``jax.distributed`` each process gives the rows that *it* has, as many as each other one; all together are
    the data, in the order of the processes.

    Args:
        data: values by argument name, as for :func:`bayeskit.infer`.
        axis: the name of the axis of devices, for those who look at the sharding.
        names: the arguments whose leading axis is the rows. By default all arrays as long as the longest; the others
            are on all devices.

    Returns:
        The data, with JAX arrays in the place of those that have rows.

    Raises:
        DataError: there is no array, an unknown name, arrays of several lengths, or rows that the devices do not
            divide.

    Example:
        >>> import numpy as np, bayeskit as bk
        >>> data = bk.sharded({"x": np.zeros((1000, 3)), "y": np.ones(1000), "scale": 2.0})
        >>> data["x"].shape, data["x"].sharding.mesh.axis_names, data["scale"]
        ((1000, 3), ('row',), 2.0)
    """
    if not isinstance(data, Mapping):
        raise DataError(f"data must map argument names to values, got {type(data).__name__}")
    with_rows = _with_rows(data, names)
    arrays = {name: as_host_array(repr(name), data[name]) for name in with_rows}
    lengths = {name: len(array) if array.ndim else 0 for name, array in arrays.items()}
    if len(set(lengths.values())) > 1:
        raise DataError(f"the arrays have different numbers of rows: {lengths}")
    rows = next(iter(lengths.values()))
    _check_rows(rows)
    sharding = NamedSharding(mesh_of_all(axis), PartitionSpec(axis))
    placed = {name: jax.make_array_from_process_local_data(sharding, array) for name, array in arrays.items()}
    return {**data, **placed}


def _with_rows(data: Mapping[str, object], names: Sequence[str] | None) -> list[str]:
    if isinstance(names, str):
        raise DataError(f"names must be a list of argument names, got {names!r}")
    if names is not None:
        for name in names:
            if name not in data:
                raise DataError(f"names: {name!r} is not in the data{did_you_mean(name, list(data), 'which have')}")
        found = list(names)
    else:
        lengths = {name: len(value) for name, value in data.items() if np.ndim(value) > 0}  # type: ignore[arg-type]
        found = [name for name, length in lengths.items() if length == max(lengths.values())]
    if not found:
        raise DataError("there is no array in the data whose rows could be spread")
    return found


def _check_rows(rows: int) -> None:
    """Devices hold equal parts, and processes bring equal ones."""
    devices = jax.local_device_count()
    if rows % devices:
        raise DataError(
            f"{rows} rows are not a multiple of the {devices} devices of this process; leave out {rows % devices}, or "
            f"add {devices - rows % devices} that the model masks (handlers.mask)"
        )
    if jax.process_count() > 1:
        everywhere = multihost_utils.process_allgather(np.asarray(rows))
        if len(set(everywhere.tolist())) > 1:
            raise DataError(f"the processes bring different numbers of rows: {everywhere.tolist()}")
