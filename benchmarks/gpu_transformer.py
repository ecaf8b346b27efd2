"""The training of a prior-data fitted network as one would write it in plain JAX: the peer of a row of `gpu.py`.

A transformer of the sizes of `pfn.train`'s (width 64, 4 layers, 2 heads, 128 hidden units, 256 bars), on the same 33
rows of a Gaussian process, drawn by a Cholesky factorisation; each row attends to those that are shown. Loss: the log
probability of the bars. Compiled steps of Adam, as many a call as there.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax

WIDTH, LAYERS, HEADS, HIDDEN, BARS = 64, 4, 2, 128, 256
ROWS, LENGTHSCALE, NOISE, RATE = 33, 0.3, 0.01, 2e-3
Parameters = dict[str, jax.Array]


def parameters(key: jax.Array) -> Parameters:
    shapes = {"input": (1, WIDTH), "output": (1, WIDTH), "unknown": (1, WIDTH), "read": (WIDTH, BARS)}
    for i in range(LAYERS):
        shapes |= {f"qkv{i}": (WIDTH, 3 * WIDTH), f"out{i}": (WIDTH, WIDTH)}
        shapes |= {f"up{i}": (WIDTH, HIDDEN), f"down{i}": (HIDDEN, WIDTH)}
    keys = jax.random.split(key, len(shapes))
    return {n: jax.random.normal(k, s) / s[0] ** 0.5 for k, (n, s) in zip(keys, shapes.items(), strict=True)}


def draw(key: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
    """A data set, and which of its rows are shown."""
    of_x, of_y, of_size = jax.random.split(key, 3)
    x = jax.random.uniform(of_x, (ROWS,))
    covariance = jnp.exp(-0.5 * ((x[:, None] - x) / LENGTHSCALE) ** 2) + NOISE * jnp.eye(ROWS)
    y = jnp.linalg.cholesky(covariance) @ jax.random.normal(of_y, (ROWS,))
    return x[:, None], y[:, None], jnp.arange(ROWS) < jax.random.randint(of_size, (), 0, ROWS)


def normalised(rows: jax.Array) -> jax.Array:
    return rows / jnp.sqrt(jnp.mean(rows**2, axis=-1, keepdims=True) + 1e-6)


def network(p: Parameters, x: jax.Array, y: jax.Array, known: jax.Array) -> jax.Array:
    """Logits of the bars, shape `(sets, rows, BARS)`."""
    rows = x @ p["input"] + jnp.where(known[..., None], y @ p["output"], p["unknown"])
    for i in range(LAYERS):
        parts = jnp.split(normalised(rows) @ p[f"qkv{i}"], 3, axis=-1)
        query, key, value = (part.reshape(*part.shape[:-1], HEADS, -1) for part in parts)
        # a set of which nothing is shown attends to itself alone, with no row to be masked
        mask = known[:, None, None, :] | jnp.eye(ROWS, dtype=bool)
        seen = jax.nn.dot_product_attention(query, key, value, mask=mask)
        rows = rows + seen.reshape(rows.shape) @ p[f"out{i}"]
        rows = rows + jax.nn.relu(normalised(rows) @ p[f"up{i}"]) @ p[f"down{i}"]
    return normalised(rows) @ p["read"]


def loss(p: Parameters, key: jax.Array, batch: int) -> jax.Array:
    x, y, known = jax.vmap(draw)(jax.random.split(key, batch))
    edges = jax.scipy.special.ndtri(jnp.arange(1, BARS) / BARS)
    bar = jnp.searchsorted(edges, y[..., 0])
    log_prob = jnp.take_along_axis(jax.nn.log_softmax(network(p, x, y, known)), bar[..., None], axis=-1)[..., 0]
    return -jnp.mean(jnp.sum(jnp.where(known, 0.0, log_prob), axis=1) / jnp.sum(~known, axis=1))


def trainer(batch: int, num_steps: int, block: int) -> Callable[[], Any]:
    """Steps of training from the start, `block` of them in a compiled call."""
    optimizer = optax.chain(optax.clip_by_global_norm(1.0), optax.adam(RATE, b2=0.98))

    def step(state: tuple, key: jax.Array) -> tuple[tuple, jax.Array]:
        p, moments = state
        value, slope = jax.value_and_grad(loss)(p, key, batch)
        updates, moments = optimizer.update(slope, moments)
        return (optax.apply_updates(p, updates), moments), value

    compiled = jax.jit(lambda state, key: jax.lax.scan(step, state, jax.random.split(key, block)))

    def run() -> jax.Array:
        p = parameters(jax.random.key(0))
        state = p, optimizer.init(p)
        for i in range(num_steps // block):
            state, losses = compiled(state, jax.random.key(i))
        return losses.mean()

    return run
