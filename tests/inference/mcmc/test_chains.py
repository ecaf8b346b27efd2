"""Chains in threads: a model that factorises batches of matrices leaves one of XLA's workers free."""

from __future__ import annotations

import jax.numpy as jnp
import numpyro
import numpyro.distributions as dist
import pytest

import bayeskit as bk
from bayeskit.inference.chains import independent as chains


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
