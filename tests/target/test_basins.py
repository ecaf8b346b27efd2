"""Starts in basins with mass: what is moved, and what is left alone."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest

import bayeskit as bk
from bayeskit.inference import Method
from bayeskit.target import find_start
from bayeskit.target.basins import heavy_basins
from bayeskit.target.start import Search

CHAINS = 12


def two_modes(depth, scale):
    """Normal densities at -1 and at 1; the second one is larger by exp(depth), and `scale` times as wide."""
    x = numpyro.sample("x", dist.ImproperUniform(dist.constraints.real, (), event_shape=(2,)))
    low = dist.Normal(-1.0, 0.2).log_prob(x).sum()
    high = dist.Normal(1.0, 0.2 * scale).log_prob(x).sum() + 2 * jnp.log(scale) + depth
    numpyro.factor("density", jnp.logaddexp(low, high))


def search_of(depth, scale):
    target = bk.Target(bk.bind(two_modes, {"depth": depth, "scale": scale}))
    return Search(target, jax.random.PRNGKey(0), CHAINS, "ascent", {}, 100)


def beside_both(search):
    """Points of which each second one is in the basin at -1."""
    side = np.where(np.arange(CHAINS) % 2, 1.0, -1.0)
    return search.at(np.stack([side, side], axis=1) * 1.05)


def sides(points):
    return set(np.sign(points.positions[:, 0]))


def test_a_mode_without_mass_is_left():
    search = search_of(30.0, 1.0)
    moved, _ = heavy_basins(search, beside_both(search))
    np.testing.assert_allclose(moved.positions, 1.0, atol=0.5)
    assert len(np.unique(moved.positions[::2], axis=0)) == CHAINS // 2  # each has a start of its own


@pytest.mark.parametrize(
    ("depth", "scale"), [(0.0, 1.0), (8.0, 1.0), (20.0, 1e-6)], ids=["equal mass", "some mass", "a spike"]
)
def test_modes_that_may_have_mass_are_kept(depth, scale):
    """A spike is higher by 20 and holds less by a factor of exp(20 - 27.6): density and mass disagree."""
    search = search_of(depth, scale)
    start = beside_both(search) if scale == 1.0 else search.at(beside_both(search).positions / 1.05)
    assert sides(heavy_basins(search, start)[0]) == {-1.0, 1.0}


def funnel():
    scale = numpyro.sample("scale", dist.LogNormal(0.0, 3.0))
    numpyro.sample("x", dist.Normal(0.0, scale).expand([9]).to_event(1))
    numpyro.factor("centre", 0.0)


def test_in_a_funnel_nothing_is_changed():
    """Its density has no bound: the ascents do not arrive."""
    target = bk.Target(bk.bind(funnel))
    key = jax.random.PRNGKey(1)
    for name, value in find_start(target, key, 4, strategy="ascent").items():
        np.testing.assert_array_equal(value, find_start(target, key, 4)[name])


def test_the_start_is_about_where_a_draw_lies():
    search = search_of(30.0, 1.0)
    moved, _ = heavy_basins(search, search.next())
    top = float(search.at(np.ones((CHAINS, 2))).density[0])
    assert (moved.density >= top - 1.0 - 0.1).all()
    assert len(np.unique(moved.positions, axis=0)) == CHAINS


def test_which_methods_climb():
    chosen = {kind: method.starts_from for kind, method in Method.kinds().items()}
    assert chosen["nuts"] == chosen["hmc"] == "ascent"
    assert chosen["vi"] == "likeliest"
