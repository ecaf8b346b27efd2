"""What training minimises, by which steps, and how far it is from the best that there is."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, PartitionSpec

from bayeskit._typing import Array
from bayeskit.models.pfn.heads import Head
from bayeskit.models.pfn.net import Network
from bayeskit.models.pfn.prior import Prior
from bayeskit.xla.miscompilation import safe_jit

__all__ = ["PRECISIONS", "Start", "gap_of", "loss_of", "schedule"]

PRECISIONS = {"float32": jnp.float32, "bfloat16": jnp.bfloat16}
_GAP_SETS = 64


class Start(NamedTuple):
    """A network before training, in units of the prior."""

    network: Network
    head: Head
    centre: Array
    spread: Array


def schedule(share: Array) -> Array:
    """Of the learning rate: up over the first fiftieth, level to the half, and down to 0 as a quarter of a cosine."""
    up = jnp.clip(share / 0.02, 0.02, 1.0)
    down = jnp.cos(0.5 * jnp.pi * jnp.clip((share - 0.5) / 0.5, 0.0, 1.0))
    return up * down


def loss_of(
    prior: Prior, start: Start, batch_size: int, precision: str, num_devices: int
) -> Callable[[Network, Array], Array]:
    """The loss of a network at a key."""
    dtype = PRECISIONS[precision]

    def of_one(network: Network, key: Array) -> Array:
        draw_key, size_key = jax.random.split(key)
        x, y = prior.draw_one(draw_key)
        known = jnp.arange(prior.num_rows) < jax.random.randint(size_key, (), 0, prior.num_rows)
        output = network.both((x - start.centre) / start.spread, start.head.standardise(y), known)
        log_prob = start.head.log_prob(output, y)
        return -jnp.sum(jnp.where(known, 0.0, log_prob)) / jnp.sum(~known)

    def of_keys(network: Network, keys: Array) -> Array:
        network = jax.tree.map(lambda leaf: leaf.astype(dtype) if eqx.is_inexact_array(leaf) else leaf, network)
        return jnp.mean(jax.vmap(lambda key: of_one(network, key))(keys))

    def loss(network: Network, key: Array) -> Array:
        keys = jax.random.split(key, batch_size)
        if num_devices == 1:
            return of_keys(network, keys)
        arrays, rest = eqx.partition(network, eqx.is_array)
        mesh = Mesh(np.array(jax.local_devices()[:num_devices]), ("data",))
        # not checked for what varies between devices: NumPyro evaluates constraints of distributions outside of it
        each = jax.shard_map(
            lambda arrays, keys: of_keys(eqx.combine(arrays, rest), keys)[None],
            mesh=mesh,
            in_specs=(PartitionSpec(), PartitionSpec("data")),
            out_specs=PartitionSpec("data"),
            check_vma=False,
        )(arrays, keys)
        return jnp.mean(each)

    return loss


def gap_of(prior: Prior, start: Start, key: Array) -> Callable[[Network], Array] | None:
    """How far a network is from the exact posterior predictive, on data sets kept aside; `None` if that is unknown."""
    exact = getattr(prior.model, "exact", None)
    if exact is None:
        return None
    draw_key, size_key = jax.random.split(key)
    x, y = prior.draw(draw_key, _GAP_SETS)
    sizes = jax.random.randint(size_key, (_GAP_SETS,), 0, prior.num_rows)

    @safe_jit
    def gap(arrays: Network) -> Array:
        network = eqx.combine(arrays, rest)

        def of_one(x: Array, y: Array, size: Array) -> Array:
            known = jnp.arange(prior.num_rows) < size
            output = network.both((x - start.centre) / start.spread, start.head.standardise(y), known)
            over = exact(x, y, known, x).log_prob(y) - start.head.log_prob(output, y)
            return jnp.sum(jnp.where(known, 0.0, over)) / jnp.sum(~known)

        return jnp.mean(jax.vmap(of_one)(x, y, sizes))

    rest = eqx.filter(start.network, eqx.is_array, inverse=True)
    return lambda network: gap(eqx.filter(network, eqx.is_array))
