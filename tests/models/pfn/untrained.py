"""A network that is not trained, but has a readout as large as after a long training: no test waits for one."""

from __future__ import annotations

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from bayeskit.models.pfn import Net
from bayeskit.models.pfn.heads import ClassHead
from bayeskit.models.pfn.net import Facts
from bayeskit.models.pfn.network import Sizes
from bayeskit.models.pfn.reference import Reference
from bayeskit.models.pfn.table_network import table_network
from bayeskit.train.training import no_training


def with_readout(network):
    """With random numbers in the place of small ones."""
    readout = jnp.asarray(np.random.default_rng(1).normal(size=network.readout.shape), jnp.float32)
    return eqx.tree_at(lambda network: network.readout, network, readout)


def spread_out(network, rows, features, classes):
    """With an offset and a readout by which what it says of random tables differs from row to row."""
    generator = np.random.default_rng(2)
    x = jnp.asarray(generator.normal(size=(16, rows, features)), jnp.float32)
    y = jax.nn.one_hot(generator.integers(0, classes, size=(16, rows)), classes)
    known = jnp.broadcast_to(jnp.arange(rows) < rows // 2, (16, rows))
    found = network.both(x, y, known)[:, rows // 2 :].reshape(-1, classes)
    size = 2.0 / found.std(axis=0)
    return eqx.tree_at(
        lambda network: (network.readout, network.offset),
        network,
        (network.readout * size, (network.offset - found.mean(axis=0)) * size),
    )


def untrained(rows, features, classes, num_layers):
    """A network of cells of width 16."""
    head = ClassHead(classes)
    network = table_network(jax.random.key(0), features, head.num_inputs, head.size, Sizes(16, num_layers, 2))
    network = eqx.filter_jit(spread_out)(with_readout(network), rows, features, classes)
    zeros = jnp.zeros(features, jnp.float32)
    facts = Facts("Table", "", rows, features, classes, True, "{}")
    reference = Reference(np.array([rows]), np.zeros((1, 2)), np.zeros((1, 2)))
    return Net(network, head, zeros, zeros + 1, facts, reference, no_training())
