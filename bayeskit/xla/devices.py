"""Arrays over several devices, of one process or of many (``jax.distributed``)."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import Mesh, NamedSharding, PartitionSpec

__all__ = ["gathered", "is_spread", "mesh_of_all", "own_part", "replicated", "spread"]


def mesh_of_all(axis: str) -> Mesh:
    """All devices of all processes along one axis."""
    return Mesh(np.array(jax.devices()), (axis,))


def is_spread(leaf: object) -> bool:
    """Whether something is an array that lies on several devices."""
    return isinstance(leaf, jax.Array) and not isinstance(leaf, jax.core.Tracer) and len(leaf.sharding.device_set) > 1


def spread(tree: Any, axis: str) -> Any:
    """The arrays of a tree with their leading axis over all devices; every process gives the same arrays."""
    return jax.device_put(tree, NamedSharding(mesh_of_all(axis), PartitionSpec(axis)))


def replicated(tree: Any, axis: str) -> Any:
    """The arrays of a tree on each of all devices; those that lie on several devices stay as they are."""
    whole = NamedSharding(mesh_of_all(axis), PartitionSpec())
    return jax.tree.map(lambda leaf: leaf if is_spread(leaf) else jax.device_put(leaf, whole), tree)


def gathered(tree: Any) -> Any:
    """The arrays of a tree as NumPy arrays, whole, in every process."""
    return jax.tree.map(_gathered, tree)


def _gathered(leaf: Any) -> np.ndarray:
    if isinstance(leaf, jax.Array) and not (leaf.is_fully_addressable or leaf.is_fully_replicated):
        return np.asarray(multihost_utils.process_allgather(leaf, tiled=True))
    return np.asarray(leaf)


def own_part(array: Any) -> np.ndarray:
    """What this process holds of an array, as one vector."""
    if isinstance(array, jax.Array) and not array.is_fully_addressable:
        return np.concatenate([np.asarray(shard.data).ravel() for shard in array.addressable_shards])
    return np.asarray(array).ravel()
