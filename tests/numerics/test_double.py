"""Float64 inside, whatever is outside."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tinygp

from bayeskit.xla.precision import in_double, to_default

X = np.linspace(0.0, 1.0, 8)[:, None]


@in_double
def log_determinant(kernel, noise):
    root = jnp.linalg.cholesky(kernel(jnp.asarray(X), jnp.asarray(X)) + noise * jnp.eye(8))
    return 2 * jnp.sum(jnp.log(jnp.diagonal(root)))


def of_length(length, noise):
    return to_default(log_determinant(1.3 * tinygp.kernels.ExpSquared(length), noise))


@pytest.fixture(scope="module")
def truth():
    values = {"value": of_length, "slope": jax.grad(of_length, argnums=(0, 1)), "bend": jax.hessian(of_length)}
    return {name: np.asarray(rule(0.5, 1e-10)) for name, rule in values.items()}


@pytest.mark.covering
@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize("what", ["value", "slope", "bend"])
def test_single_precision_outside_changes_only_the_last_rounding(truth, what, compiled):
    with jax.enable_x64(False):
        rule = {"value": of_length, "slope": jax.grad(of_length, argnums=(0, 1)), "bend": jax.hessian(of_length)}[what]
        result = (jax.jit(rule) if compiled else rule)(jnp.float32(0.5), jnp.float32(1e-10))
        dtypes = {leaf.dtype for leaf in jax.tree.leaves(result)}
    assert dtypes == {jnp.dtype("float32")}
    # the noise itself is rounded to float32, and the matrix is singular but for it
    np.testing.assert_allclose(np.asarray(result), truth[what], rtol=1e-6)


def test_vmap_and_scan_in_single_precision():
    with jax.enable_x64(False):
        slope = jax.grad(of_length)
        lengths = jnp.array([0.4, 0.5, 0.6])
        each = jnp.stack([slope(length, 1e-6) for length in lengths])
        np.testing.assert_allclose(jax.jit(jax.vmap(lambda t: slope(t, 1e-6)))(lengths), each, rtol=1e-6)
        _, scanned = jax.lax.scan(lambda carry, t: (carry, slope(t, 1e-6)), 0.0, lengths)
        np.testing.assert_allclose(scanned, each, rtol=1e-6)


def test_nothing_global_changes():
    with jax.enable_x64(False):
        of_length(0.5, 1e-6)
        assert jnp.zeros(()).dtype == jnp.float32
