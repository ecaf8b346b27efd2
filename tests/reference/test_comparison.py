"""The comparison passes good draws, and fails when it should."""

from __future__ import annotations

import numpy as np
import pytest

from .comparison import Row, compare, mcse_mean, mcse_sd, select

REFERENCE = {"theta[2]": {"mean": 1.0, "sd": 2.0, "mcse_mean": 0.0, "mcse_sd": 0.0}}
NUM_CHAINS, NUM_DRAWS = 4, 1000


def good_draws(seed: int = 0) -> np.ndarray:
    return 1.0 + 2.0 * np.random.default_rng(seed).standard_normal((NUM_CHAINS, NUM_DRAWS, 2))


def row_of(draws: np.ndarray, **reference: float) -> Row:
    (row,) = compare({"theta": draws}, {"theta[2]": {**REFERENCE["theta[2]"], **reference}})
    return row


def test_good_draws_pass() -> None:
    assert row_of(good_draws()).failures == []


def test_a_stuck_chain_fails() -> None:
    draws = good_draws()
    draws[3] = 1.0 + 1e-9 * draws[3]
    failures = row_of(draws).failures
    assert any("R-hat" in failure for failure in failures)


def test_a_chain_in_another_mode_fails() -> None:
    draws = good_draws()
    draws[3] += 10.0
    failures = " ".join(row_of(draws).failures)
    assert "R-hat" in failures
    assert "bulk ESS" in failures
    assert "sd apart" in failures


def test_a_shifted_mean_fails_by_its_z_score() -> None:
    (failure,) = row_of(good_draws() + 0.2).failures  # a tenth of an sd, six standard errors
    assert failure.startswith("theta[2]: mean 1.")
    assert "reference 1: z = " in failure


def test_a_shift_that_no_z_score_sees_fails() -> None:
    failures = row_of(good_draws() + 0.6, mcse_mean=1.0).failures
    assert any("sd apart" in failure for failure in failures)
    assert not any("z =" in failure for failure in failures)


@pytest.mark.parametrize("factor", [0.9, 1.1])
def test_a_wrong_sd_fails(factor: float) -> None:
    (failure,) = row_of(1.0 + factor * (good_draws() - 1.0)).failures
    assert "theta[2]: sd " in failure
    assert "reference 2: z = " in failure


def test_slow_mixing_fails() -> None:
    steps = np.random.default_rng(1).standard_normal((NUM_CHAINS, NUM_DRAWS, 2))
    draws = np.zeros_like(steps)
    for t in range(1, NUM_DRAWS):
        draws[:, t] = 0.99 * draws[:, t - 1] + steps[:, t]
    assert any("bulk ESS" in failure for failure in row_of(draws).failures)


def test_nan_fails_every_bound() -> None:
    draws = good_draws()
    draws[0, 0, 1] = np.nan
    assert len(row_of(draws).failures) == 5


def test_the_error_of_the_reference_counts() -> None:
    certain, uncertain = row_of(good_draws()), row_of(good_draws(), mcse_mean=1.0, mcse_sd=1.0)
    assert abs(uncertain.z_mean) < abs(certain.z_mean) / 10
    assert abs(uncertain.z_sd) < abs(certain.z_sd) / 10


def test_a_missing_error_of_the_sd_is_that_of_a_normal() -> None:
    reference = {"theta[2]": {"mean": 1.0, "sd": 2.0, "mcse_mean": 0.4}}
    (row,) = compare({"theta": good_draws()}, reference)
    assert row.z_sd == pytest.approx(row_of(good_draws(), mcse_mean=0.4, mcse_sd=0.4 / np.sqrt(2)).z_sd)


def antithetic(rng: np.random.Generator, correlation: float = -0.6) -> np.ndarray:
    """A stationary first-order autoregression whose draws alternate, as those of NUTS do."""
    draws = rng.standard_normal((NUM_CHAINS, NUM_DRAWS))
    for t in range(1, NUM_DRAWS):
        draws[:, t] = correlation * draws[:, t - 1] + np.sqrt(1 - correlation**2) * draws[:, t]
    return draws


def test_z_scores_have_unit_spread_for_antithetic_draws() -> None:
    """The standard errors are calibrated: over 200 repetitions the z-scores vary as they should."""
    rng = np.random.default_rng(2)
    draws = [antithetic(rng) for _ in range(200)]
    of_mean = [d.mean() / mcse_mean(d) for d in draws]
    of_sd = [(d.std(ddof=1) - 1.0) / mcse_sd(d) for d in draws]
    standard_error = 1 / np.sqrt(2 * len(draws))
    for scores in (of_mean, of_sd):
        assert abs(np.std(scores) - 1.0) < 4 * standard_error


def test_parameters_are_named_from_one() -> None:
    draws = np.arange(2 * 3 * 4 * 5.0).reshape(2, 3, 4, 5)
    np.testing.assert_array_equal(select({"x": draws}, "x[4,1]"), draws[..., 3, 0])
    np.testing.assert_array_equal(select({"mu": draws[..., 0, 0]}, "mu"), draws[..., 0, 0])
    with pytest.raises(ValueError, match="has 1 indices"):
        select({"x": draws}, "x[4]")
