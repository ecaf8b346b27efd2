"""Weights of all generations of a persistent run, and what their families move the evidence by."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import logsumexp

from bayeskit.inference.smc.ensemble import Ensemble, in_families
from bayeskit.inference.smc.weights import effective_size, log_mean_exp, normalised

SIZE = 60


def grown(rng, temperatures=(0.0, 0.3, 0.6)):
    """Generations made as a run makes them, but for the moves: likelihoods are drawn anew around their parents'."""
    likelihood = rng.normal(size=(1, SIZE))
    eve = np.arange(SIZE)[None]
    ensemble = Ensemble(likelihood, np.zeros(1), np.zeros(1), eve, eve)
    for temperature in temperatures[1:]:
        log_weights = ensemble.log_weights(temperature)
        parents = in_families(normalised(log_weights.ravel()), ensemble.eve.ravel(), SIZE, rng.uniform())
        new = Ensemble(
            0.8 * ensemble.log_likelihood.ravel()[parents] + 0.6 * rng.normal(size=SIZE),
            np.asarray(temperature),
            np.asarray(log_mean_exp(log_weights.ravel())),
            parents,
            ensemble.eve.ravel()[parents],
        )
        ensemble = Ensemble(*(np.concatenate([a, b[None]]) for a, b in zip(ensemble, new, strict=True)))
    return ensemble


def evidence_when_reweighted(ensemble, masses):
    """The log evidence where the draws of the prior have these masses: everything computed again, slowly."""
    count = len(ensemble.temperatures)
    mass, log_evidences = np.log(masses / masses.sum())[None], [0.0]
    for t in range(1, count + 1):
        likelihood = ensemble.log_likelihood[:t]
        shares = [b * likelihood - z for b, z in zip(ensemble.temperatures[:t], log_evidences, strict=True)]
        temperature = ensemble.temperatures[t] if t < count else 1.0
        raw = temperature * likelihood - logsumexp(shares, axis=0) + mass
        log_evidences.append(logsumexp(raw))
        if t < count:
            parents = ensemble.parents[t]
            was = normalised(ensemble.before(t).log_weights(float(temperature)).ravel())
            now = normalised(raw.ravel())
            child = np.log(now[parents] / was[parents])
            mass = np.concatenate([mass, (child - np.log(SIZE))[None]])
    return log_evidences[-1]


def test_one_generation_is_importance_sampling():
    rng = np.random.default_rng(0)
    one = grown(rng, temperatures=(0.0,))
    raw = np.exp(one.log_likelihood[0])
    np.testing.assert_allclose(one.log_weights(0.4)[0], 0.4 * one.log_likelihood[0])
    assert one.variance() == pytest.approx((raw / raw.mean()).var() / SIZE)


def test_weights_are_those_of_the_mixture():
    ensemble = grown(np.random.default_rng(1))
    value, z = ensemble.log_likelihood, ensemble.log_evidences
    mixture = (1.0 + np.exp(0.3 * value - z[1]) + np.exp(0.6 * value - z[2])) / 3
    np.testing.assert_allclose(np.exp(ensemble.log_weights(0.9)), np.exp(0.9 * value) / mixture)


def test_next_temperature_has_the_effective_size_of_all_generations():
    ensemble = grown(np.random.default_rng(2))._replace(temperatures=np.array([0.0, 0.01, 0.02]))
    wide = ensemble._replace(log_likelihood=40 * ensemble.log_likelihood)
    temperature = wide.next_temperature(1.2)
    assert 0.02 < temperature < 1
    assert effective_size(normalised(wide.log_weights(temperature).ravel())) == pytest.approx(1.2 * SIZE)
    assert ensemble._replace(log_likelihood=ensemble.log_likelihood / 1e6).next_temperature(1.2) == 1.0


def test_influence_is_the_derivative():
    """Central differences of the evidence in the mass of each draw of the prior."""
    ensemble = grown(np.random.default_rng(3))
    moved, rounded = ensemble.influence()
    step = 1e-5
    for i in range(0, SIZE, 7):
        sides = [
            evidence_when_reweighted(ensemble, np.where(np.arange(SIZE) == i, 1.0 + sign * step, 1.0))
            for sign in (1, -1)
        ]
        assert moved[i] == pytest.approx((sides[0] - sides[1]) / (2 * step), rel=1e-5, abs=1e-9)
    assert abs(moved.sum()) < 1e-10
    assert 0 < rounded < np.square(moved).sum()


def test_impossible_particles_have_no_weight():
    ensemble = grown(np.random.default_rng(4))
    dead = np.array(ensemble.log_likelihood)
    dead[0, :5], dead[0, 5] = -np.inf, np.nan
    weights = ensemble._replace(log_likelihood=dead).log_weights(0.9)
    assert np.isneginf(weights[0, :6]).all()
    assert np.isfinite(weights[0, 6:]).all()
    assert np.isfinite(ensemble._replace(log_likelihood=dead).variance())


def test_families_are_drawn_side_by_side_and_without_bias():
    rng = np.random.default_rng(5)
    eve, given = rng.integers(0, 6, size=30), rng.dirichlet(np.ones(30))
    chosen = np.stack([in_families(given, eve, 20, u) for u in (np.arange(2000) + 0.5) / 2000])
    assert (np.diff(eve[chosen], axis=1) >= 0).all()
    counts = np.stack([(chosen == one).sum(1) for one in range(30)], 1)
    np.testing.assert_allclose(counts.mean(0), 20 * given, atol=2e-3)
