"""Float64 inside, whatever is outside."""

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest
import tinygp

import bayeskit as bk
from bayeskit.xla.precision import in_double, to_default

X = np.linspace(0.0, 1.0, 8)[:, None]


@in_double
def log_determinant(kernel, noise):
    root = jnp.linalg.cholesky(kernel(jnp.asarray(X), jnp.asarray(X)) + noise * jnp.eye(8))
    return 2 * jnp.sum(jnp.log(jnp.diagonal(root)))


@in_double
def of_determinant(value, weight):
    """Two large numbers of a product cancel."""
    return jnp.dot(jnp.stack([value * weight, 1e9 / 3, -1e9]), jnp.array([1.0, 1.0, 1.0 / 3]) * jnp.cos(0.0 * value))


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


@pytest.mark.filterwarnings("error:Explicitly requested dtype")
def test_a_model_in_single_precision_computes_part_of_its_density_in_double():
    """As inference meets it: a density that other programs contain, with its gradient."""

    def model(y):
        length = numpyro.sample("length", dist.LogNormal(0.0, 1.0))
        value = log_determinant(1.3 * tinygp.kernels.ExpSquared(length), 1e-10)
        numpyro.factor("determinant", to_default(of_determinant(value, y)))

    def both(target, values):
        return jax.value_and_grad(target.log_density)(values)

    truth = both(bk.Target(bk.bind(model, {"y": 1.0})), {"length": jnp.log(0.5)})
    with jax.enable_x64(False):
        target, values = bk.Target(bk.bind(model, {"y": 1.0})), {"length": jnp.log(jnp.float32(0.5))}
        several = {"length": values["length"][None]}
        found = [jax.jit(both)(target, values), jax.jit(jax.vmap(both, (None, 0)))(target, several)]
    for result in found:
        for mine, right in zip(jax.tree.leaves(result), jax.tree.leaves(truth), strict=True):
            assert mine.dtype == jnp.float32
            np.testing.assert_allclose(mine.squeeze(), right, rtol=1e-6)
