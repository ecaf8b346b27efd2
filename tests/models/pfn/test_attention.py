"""What networks are made of: products whose gradients are their own, and attention."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bayeskit.models.pfn.attention import attend, times

pytestmark = pytest.mark.smoke

ROWS = jax.random.normal(jax.random.key(0), (2, 5, 4))
WEIGHTS = jax.random.normal(jax.random.key(1), (4, 3))


def test_times_has_the_gradient_of_a_product():
    loss = lambda product: lambda rows, weights: jnp.sum(jnp.sin(product(rows, weights)))  # noqa: E731
    ours = jax.jit(jax.grad(loss(times), (0, 1)))(ROWS, WEIGHTS)
    plain = jax.grad(loss(jnp.matmul), (0, 1))(ROWS, WEIGHTS)
    for one, other in zip(ours, plain, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)


def test_attention_is_the_average_by_hand():
    query, keys, values = (jax.random.normal(jax.random.key(seed), (2, 3, 4)) for seed in (2, 3, 4))
    nothing = jnp.arange(4.0), jnp.array([1.0, -1.0, 2.0, 0.5])
    exists = np.array([[True, False, True], [False, False, False]])
    found = attend(query, keys, values, nothing, jnp.asarray(exists), 2)
    for set_, t, head in np.ndindex(2, 3, 2):
        part = slice(2 * head, 2 * head + 2)
        seen = [(nothing[0][part], nothing[1][part])]
        seen += [(keys[set_, s, part], values[set_, s, part]) for s in range(3) if exists[set_, s]]
        weights = np.exp([float(query[set_, t, part] @ key) / np.sqrt(2) for key, _ in seen])
        average = sum(w * np.asarray(value) for w, (_, value) in zip(weights, seen, strict=True)) / weights.sum()
        np.testing.assert_allclose(found[set_, t, part], average, rtol=1e-5)
