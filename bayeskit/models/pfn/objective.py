"""What training minimises, by which steps, and how far it is from the best that there is."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
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

    def draw(key: Array) -> tuple[Array, Array, Array]:
        draw_key, size_key = jax.random.split(key)
        known = jnp.arange(prior.num_rows) < jax.random.randint(size_key, (), 0, prior.num_rows)
        return *prior.draw_one(draw_key), known

    def of_keys(network: Network, keys: Array) -> Array:
        network = jax.tree.map(lambda leaf: leaf.astype(dtype) if eqx.is_inexact_array(leaf) else leaf, network)
        # Cholesky factorisations of a batch share the threads that devices of a processor run on: each waits for
        # threads that wait for it, for ever
        x, y, known = jax.vmap(draw)(keys) if num_devices == 1 else jax.lax.map(draw, keys)
        output = network.both((x - start.centre) / start.spread, start.head.standardise(y), known)
        log_prob = start.head.log_prob(output, y)
        return -jnp.mean(jnp.sum(jnp.where(known, 0.0, log_prob), axis=-1) / jnp.sum(~known, axis=-1))

    def loss(network: Network, key: Array) -> Array:
        keys = jax.random.split(key, batch_size)
        if num_devices == 1:
            return of_keys(network, keys)
        arrays, rest = eqx.partition(network, eqx.is_inexact_array)
        # one vector, so that devices meet once a step and not once for each array
        flat, unravel = ravel_pytree(arrays)
        mesh = Mesh(np.array(jax.local_devices()[:num_devices]), ("data",))
        # not checked for what varies between devices: NumPyro evaluates constraints of distributions outside of it
        each = jax.shard_map(
            lambda flat, keys: of_keys(eqx.combine(unravel(flat), rest), keys)[None],
            mesh=mesh,
            in_specs=(PartitionSpec(), PartitionSpec("data")),
            out_specs=PartitionSpec("data"),
            check_vma=False,
        )(flat, keys)
        return jnp.mean(each)

    return loss


def gap_of(prior: Prior, start: Start, key: Array) -> Callable[[Network], Array] | None:
    """How far a network is from the exact posterior predictive, on data sets kept aside; `None` if that is unknown."""
    exact = getattr(prior.model, "exact", None)
    if exact is None:
        return None
    draw_key, size_key = jax.random.split(key)
    x, y = prior.draw(draw_key, _GAP_SETS)
    known = jnp.arange(prior.num_rows) < jax.random.randint(size_key, (_GAP_SETS, 1), 0, prior.num_rows)

    @safe_jit
    def gap(arrays: Network) -> Array:
        network = eqx.combine(arrays, rest)

        output = network.both((x - start.centre) / start.spread, start.head.standardise(y), known)
        law = jax.vmap(lambda x, y, known: exact(x, y, known, x).log_prob(y))(x, y, known)
        over = law - start.head.log_prob(output, y)
        return jnp.mean(jnp.sum(jnp.where(known, 0.0, over), axis=-1) / jnp.sum(~known, axis=-1))

    rest = eqx.filter(start.network, eqx.is_array, inverse=True)
    return lambda network: gap(eqx.filter(network, eqx.is_array))
