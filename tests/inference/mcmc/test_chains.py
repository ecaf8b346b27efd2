"""Chains in threads: a model that factorises batches of matrices leaves one of XLA's workers free."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest

import bayeskit as bk
from bayeskit.inference.chains import independent as chains
from bayeskit.inference.chains.agreement import check_agreement
from bayeskit.target.start import evaluate


def one_matrix(y):
    """One factorisation: XLA does it in place."""
    scale = numpyro.sample("scale", dist.HalfNormal(1.0))
    numpyro.sample("y", dist.MultivariateNormal(jnp.zeros(3), scale * jnp.eye(3)), obs=y)


def many_matrices(y):
    """A batch of factorisations."""
    with numpyro.plate("group", 4):
        scale = numpyro.sample("scale", dist.HalfNormal(1.0))
        numpyro.sample("y", dist.MultivariateNormal(jnp.zeros(3), scale[:, None, None] * jnp.eye(3)), obs=y)


def test_batches_of_factorisations_are_found():
    """One matrix is no batch."""
    assert not chains.factorises_batches(bk.Target(bk.bind(one_matrix, {"y": jnp.ones(3)})))
    assert chains.factorises_batches(bk.Target(bk.bind(many_matrices, {"y": jnp.ones((4, 3))})))


def test_fewer_chains_at_once_are_announced(monkeypatch):
    """With as many workers as cores, one is kept free, and the user is told."""
    monkeypatch.setenv("PJRT_NPROC", "2")
    monkeypatch.setattr(chains.os, "cpu_count", lambda: 2)
    target = bk.Target(bk.bind(many_matrices, {"y": jnp.ones((4, 3))}))
    with pytest.warns(UserWarning, match="PJRT_NPROC"):
        assert chains._most_at_once(target) == 1
    monkeypatch.setenv("PJRT_NPROC", "16")
    assert chains._most_at_once(target) == 2


def two_normals(y):
    """A mean and a scale."""
    mean = numpyro.sample("mean", dist.Normal(0.0, 10.0))
    scale = numpyro.sample("scale", dist.HalfNormal(5.0))
    with numpyro.plate("row", len(y)):
        numpyro.sample("y", dist.Normal(mean, scale), obs=y)


@pytest.mark.parametrize(("value", "slope"), [(3.0, 0.0), (0.0, 0.1)])
def test_a_program_of_the_chains_that_is_wrong_is_refused(monkeypatch, value, slope):
    """The value off by a few, the gradient by some per cent: the plain program says otherwise, and the run stops."""
    data, method = {"y": jnp.arange(5.0)}, bk.NUTS(num_chains=2, num_warmup=20, num_draws=20)
    bk.infer(two_normals, data, method, key=0, progress=False)
    right = bk.NUTS.evaluated

    def wrong(self, state):
        positions, density, gradient = right(self, state)
        return chains.Evaluated(positions, density + value, gradient * (1 + slope) + slope)

    monkeypatch.setattr(bk.NUTS, "evaluated", wrong)
    with pytest.raises(bk.errors.SamplingError, match=r"disagree.*BAYESKIT_SINGLE_KERNELS"):
        bk.infer(two_normals, data, method, key=0, progress=False)


def curve(x, y):
    """A Gaussian process with next to no noise, which single precision cannot do well."""
    length = numpyro.sample("length", dist.LogNormal(0.0, 1.0))
    covariance = 9.0 * jnp.exp(-0.5 * ((x[:, None] - x) / length) ** 2) + 1e-5 * jnp.eye(len(x))
    numpyro.sample("y", dist.MultivariateNormal(jnp.zeros(len(x)), covariance), obs=y)


def test_rounding_of_the_model_itself_is_allowed():
    """The gradient a few numbers away, off by far more than 5%, is as good as the one here; three times it is not."""
    with jax.enable_x64(False):
        x = jnp.linspace(0.0, 1.0, 20)
        target = bk.Target(bk.bind(curve, {"x": x, "y": jnp.sin(6 * x)}))
        here = np.linspace(-1.0, 1.0, 16, dtype=np.float32)[:, None]
        density, gradient = evaluate(target, here)
        nearby = evaluate(target, np.nextafter(np.nextafter(here, 0), 0))[1]
        assert (np.abs(nearby - gradient) / (np.abs(gradient) + 1)).max() > 0.05
        check_agreement(target, chains.Evaluated(here, density, nearby))
        with pytest.raises(bk.errors.SamplingError, match="disagree"):
            check_agreement(target, chains.Evaluated(here, density, 3 * gradient))


def test_only_the_latest_programs_are_remembered():
    """What is remembered holds the data of models; a case that is asked for again stays."""
    known, asked = chains._Latest(2), []
    for case in "abacab":
        assert known.of(case, lambda case=case: not asked.append(case))
    assert asked == ["a", "b", "c", "b"]
