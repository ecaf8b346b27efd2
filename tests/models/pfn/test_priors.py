"""Priors: their moments, against closed forms; each draws what a network can learn from."""

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest

from bayeskit.errors import MethodError, ModelError
from bayeskit.models.pfn import priors
from bayeskit.models.pfn.prior import Prior


def drawn(prior, num=128):
    return map(np.asarray, Prior(prior).look(jax.random.key(0), num, missing=isinstance(prior, priors.Table)))


def z(of_sets, expected):
    """Data sets are independent of one another, rows of one are not."""
    return (of_sets.mean() - expected) / (of_sets.std(ddof=1) / np.sqrt(len(of_sets)))


@pytest.mark.parametrize(
    ("prior", "variance"),
    [
        (priors.GP(scale=2.0, noise=0.5, num_rows=9), 2.5),
        pytest.param(priors.GP(kernel="matern52", num_rows=9, num_features=2), 1.01, marks=pytest.mark.full),
        # the mean variance of the process, 2 / 0.15, and that of the noise, 1e-4
        (priors.HierarchicalGP(num_rows=9), 2 / 0.15 + 1e-4),
        pytest.param(priors.Curve(num_rows=9), 1.0, marks=pytest.mark.full),
        # three weights and inputs of variance 1, and noise
        (priors.Ridge(num_rows=9), 3 + 0.09),
    ],
    ids=["GP", "Matern", "HierarchicalGP", "Curve", "Ridge"],
)
def test_outputs_have_their_mean_and_variance(prior, variance):
    _, y = drawn(prior, 512)
    assert abs(z(y.mean(axis=1), 0.0)) < 4
    assert abs(z((y**2).mean(axis=1), variance)) < 4


def test_outputs_of_a_process_vary_together_as_the_kernel_says():
    prior = priors.GP(noise=0.04, num_rows=6)
    x, y = drawn(prior, 512)
    expected = np.exp(-0.5 * ((x[:, 0, 0] - x[:, 1, 0]) / 0.3) ** 2)
    assert abs(z(y[:, 0] * y[:, 1] - expected, 0.0)) < 4


@pytest.mark.parametrize("vary", [pytest.param(False, marks=pytest.mark.full), True])
def test_networks_are_no_lines(vary):
    x, y = drawn(priors.BayesianNetwork(num_rows=40, num_layers=2, vary=vary), 32)
    assert x.shape == (32, 40, 3)
    left = []
    for rows, outputs in zip(x, y, strict=True):
        design = np.column_stack([np.ones(40), rows])
        fit = np.linalg.lstsq(design, outputs, rcond=None)[0]
        left.append(np.mean((outputs - design @ fit) ** 2))
    assert np.median(left) > 2 * 0.01  # the noise has variance 0.01


def test_a_character_is_more_like_itself_than_like_others():
    x, y = drawn(priors.Strokes(num_rows=12, num_classes=2), 64)
    assert x.min() >= 0.0
    assert x.max() <= 1.0
    assert x.shape == (64, 12, 144)
    gaps = ((x[:, :, None] - x[:, None]) ** 2).sum(axis=-1)
    same = y[:, :, None] == y[:, None]
    apart = ~np.eye(12, dtype=bool)
    more = np.array(
        [
            gap[~alike].mean() - gap[alike & apart].mean()
            for gap, alike in zip(gaps, same, strict=True)
            if (~alike).any()
        ]
    )
    assert z(more, 0.0) > 4


def by_grid(shift=0.0):
    def prior():
        slope = numpyro.sample("slope", dist.Normal(0.0, 1.0))
        with numpyro.plate("rows", 6):
            x = numpyro.deterministic("x", jnp.linspace(0.0, 1.0, 6))
            numpyro.sample("y", dist.Normal(shift + slope * x, 0.1))

    return prior


def test_rows_come_in_an_order_drawn_anew():
    """Otherwise those that are shown would always be the leftmost ones."""
    x, y = drawn(by_grid(), 512)
    assert abs(z(x[:, 0, 0], 0.5)) < 4
    np.testing.assert_allclose(np.sort(x[:, :, 0], axis=1), np.linspace(0, 1, 6)[None].repeat(512, 0), atol=1e-6)
    left = y[np.arange(512), x[:, :, 0].argmin(axis=1)]  # outputs have gone with their inputs
    assert left.std() < 0.15


def test_what_a_prior_reads_from_around_it_is_part_of_it():
    assert Prior(by_grid(0.0)).fingerprint == Prior(by_grid(0.0)).fingerprint
    assert Prior(by_grid(0.0)).fingerprint != Prior(by_grid(2.0)).fingerprint


def test_outputs_too_fine_for_float32_are_refused():
    with pytest.raises(ModelError, match=r"y of the prior 'prior' varies by .* around .*, which float32 hardly tells"):
        drawn(by_grid(1e6))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: priors.GP(noise=0.0), "noise must be positive, got 0.0"),
        (lambda: priors.GP(kernel="cubic"), "kernel must be one of 'rbf', 'matern52', got 'cubic'"),
        (lambda: priors.HierarchicalGP(kernel="cubic"), "kernel must be one of 'rbf', 'matern52', got 'cubic'"),
    ],
)
def test_impossible_settings_are_refused(make, message):
    with pytest.raises(MethodError) as error:
        make()
    assert str(error.value) == message
