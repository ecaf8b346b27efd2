"""Gradients of indexing as loops: the numbers of the scatters that they stand for, alone and in a single kernel."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bayeskit.xla.cpu_kernel import has_single_kernel, kernel_options, single_kernel
from bayeskit.xla.scatters import SCATTERS, with_loops

pytestmark = pytest.mark.smoke
INDEX, OTHER, BEYOND = np.array([0, 3, 3, 1, 2, 0, 4]), np.array([1, 0, 1, 1, 0, 1, 0]), np.array([0, 11, 3])
FUNCTIONS = {
    "elements": lambda x: jnp.sin(x[INDEX]).sum(),
    "rows": lambda x: (jnp.sin(x.reshape(5, 2))[INDEX] ** 2).sum(),
    "columns": lambda x: (jnp.sin(x.reshape(2, 5))[:, INDEX] ** 2).sum(),
    "both": lambda x: (jnp.sin(x.reshape(5, 2))[INDEX, OTHER] ** 2).sum(),
    "three axes": lambda x: (jnp.sin(jnp.stack([x.reshape(5, 2)] * 3))[:, INDEX] ** 3).sum(),
    "matrix of indices": lambda x: (jnp.sin(x)[INDEX[:, None] + OTHER[:2]] ** 2).sum(),
    "beyond, dropped": lambda x: (jnp.sin(x).at[BEYOND].get(mode="fill", fill_value=0.0) ** 2).sum(),
    "beyond, clipped": lambda x: (jnp.sin(x).at[BEYOND].get(mode="clip") ** 2).sum(),
    "from the end": lambda x: (jnp.sin(x)[np.array([-1, -2, 3])] ** 2).sum(),
    "a call": jax.jit(lambda x: (jnp.sin(x)[INDEX] ** 2).sum()),
    "sums by group": lambda x: (jax.ops.segment_sum(jnp.sin(x), np.arange(10) % 3, 3) ** 2).sum(),
    "no index": lambda x: jnp.sin(x).sum(),
}
X = np.linspace(-1.0, 1.3, 10)


def has_scatter(function) -> bool:
    return any(f" {name}[" in str(jax.make_jaxpr(function)(X)) for name in SCATTERS)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_numbers_are_those_of_the_scatter(name):
    """Value and gradient; nothing is left that has no emitter, and a single kernel gives the same."""
    function = FUNCTIONS[name]
    expected = jax.jit(jax.value_and_grad(function))
    looped = jax.value_and_grad(with_loops(function, X))
    assert not has_scatter(looped)
    assert has_single_kernel(looped, X)
    alone = jax.jit(single_kernel(looped), compiler_options=kernel_options() or None)
    for found in (jax.jit(looped)(X), alone(X)):
        for ours, theirs in zip(found, expected(X), strict=True):
            np.testing.assert_allclose(ours, theirs, rtol=1e-12, atol=1e-13)


def test_what_has_no_scatter_is_left_alone():
    """The function itself; and one whose indices go together with an axis keeps its scatter."""
    plain = FUNCTIONS["no index"]
    assert with_loops(plain, X) is plain

    def along(x):
        return (jnp.take_along_axis(jnp.sin(x.reshape(5, 2)), OTHER[:5, None], 1) ** 2).sum()

    kept = jax.value_and_grad(with_loops(along, X))
    np.testing.assert_allclose(kept(X)[1], jax.grad(along)(X), rtol=1e-12)
    assert has_scatter(kept)


def test_data_may_come_from_outside():
    """Indices that are themselves arguments of the program around."""

    @jax.jit
    def gradient(index, x):
        return jax.grad(with_loops(lambda x: (x[index] ** 3).sum(), x))(x)

    np.testing.assert_allclose(
        gradient(INDEX, X), jax.grad(lambda x: (jnp.asarray(x)[INDEX] ** 3).sum())(X), rtol=1e-12
    )
