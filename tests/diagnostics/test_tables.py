from __future__ import annotations

import warnings

import numpy as np
import pytest

from bayeskit.diagnostics import compare, loo, summary
from bayeskit.errors import DataError, StorageError
from bayeskit.storage import make_tree


def draws(seed=0, shape=(4, 500)):
    return np.random.default_rng(seed).normal(size=shape)


def test_summary_is_that_of_arviz_with_the_tails_of_the_paper():
    import arviz_stats

    x = draws(shape=(4, 500, 2)) * [1, 10]
    post = make_tree({"posterior": {"x": x, "k": (x[..., 0] > 0)}}, dims={"x": ("i",)}, coords={"i": ["a", "b"]})
    table = summary(post)
    assert list(table.index) == ["x[a]", "x[b]", "k"]
    assert list(table.columns) == [
        "mean", "sd", "q5", "q95", "mcse_mean", "mcse_sd", "ess_bulk", "ess_tail", "r_hat",
    ]  # fmt: skip
    for label, values in (("x[a]", x[..., 0]), ("x[b]", x[..., 1]), ("k", (x[..., 0] > 0).astype(float))):
        row = table.loc[label]
        np.testing.assert_allclose(row["mean"], values.mean(), rtol=1e-12, atol=1e-15)
        np.testing.assert_allclose(row["sd"], values.std(), rtol=2e-3)
        np.testing.assert_allclose([row["q5"], row["q95"]], np.quantile(values, [0.05, 0.95]), rtol=1e-12)
        assert row["r_hat"] == float(arviz_stats.rhat(values))
        assert row["ess_bulk"] == float(arviz_stats.ess(values, method="bulk"))
        assert row["ess_tail"] == float(arviz_stats.ess(values, method="tail", prob=(0.05, 0.95)))
        assert row["mcse_mean"] == float(arviz_stats.mcse(values, method="mean"))


@pytest.mark.parametrize("correlation", [-0.6, 0.0, 0.6])
def test_standard_errors_are_calibrated(correlation):
    """Over 100 autoregressions, alternating as the draws of NUTS do or sticky, the z-scores have unit spread."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(4, 500, 100))
    for t in range(1, 500):
        x[:, t] = correlation * x[:, t - 1] + np.sqrt(1 - correlation**2) * x[:, t]
    table = summary(make_tree({"posterior": {"x": x}}))
    for scores in (table["mean"] / table["mcse_mean"], (table["sd"] - 1) / table["mcse_sd"]):
        assert abs(np.std(scores) - 1) < 4 / np.sqrt(2 * 100)


def test_standard_errors_are_in_the_order_of_the_rows():
    """The spread of the sd of normal draws is its size over the root of twice the number of draws."""
    scale = np.array([[1.0, 10.0], [100.0, 1000.0]])
    post = make_tree({"posterior": {"y": 7 * draws(2), "x": draws(shape=(4, 500, 2, 2)) * scale, "z": 0.1 * draws(1)}})
    table = summary(post, ["z", "x", "y"])
    expected = np.array([0.1, 1, 10, 100, 1000, 7]) / np.sqrt(2 * 2000)
    np.testing.assert_allclose(table["mcse_sd"], expected, rtol=0.15)


def test_summary_of_chosen_variables_and_of_constants_is_silent():
    post = make_tree({"posterior": {"a": draws(), "b": draws(1), "one": np.ones((4, 500)), "e": np.ones((4, 500, 0))}})
    assert list(summary(post, "b").index) == ["b"]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        table = summary(post, ["one", "a", "e"])
    assert list(table.index) == ["one", "a"]
    assert table.loc["one", "sd"] == 0
    assert summary(post, ["e"]).empty
    with pytest.raises(StorageError, match="no variable c; it has a, b, one"):
        summary(post, ["a", "c"])


def conjugate(seed=0, scale=1.0, n=30, outlier=0.0):
    """Draws of the mean of normal data with a flat prior, whose leave-one-out density is known exactly."""
    rng = np.random.default_rng(seed)
    y = np.random.default_rng(99).normal(size=n)
    y[0] += outlier
    mu = y.mean() + scale * rng.normal(size=(4, 1000)) / np.sqrt(n)
    log_lik = -0.5 * ((y - mu[..., None]) / scale) ** 2 - np.log(scale) - 0.5 * np.log(2 * np.pi)
    return y, make_tree({"posterior": {"mu": mu}, "log_likelihood": {"y": log_lik}, "observed_data": {"y": y}})


def exact_loo(y, scale=1.0):
    n = len(y)
    others = (y.sum() - y) / (n - 1)
    variance = scale**2 * (1 + 1 / (n - 1))
    return -0.5 * (y - others) ** 2 / variance - 0.5 * np.log(2 * np.pi * variance)


def test_loo_of_a_conjugate_model_is_exact():
    y, post = conjugate()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fit = loo(post)
    # the weights of 4000 independent draws leave an error of about sd(log weight) / sqrt(4000) in each term
    np.testing.assert_allclose(fit.elpd_i, exact_loo(y), atol=4 * np.abs(y).max() / np.sqrt(30 * 4000))
    assert fit.n_data_points == 30
    single = make_tree(
        {group: {k: v[:1] for k, v in _values(post, group).items()} for group in ("posterior", "log_likelihood")}
    )
    np.testing.assert_allclose(loo(single).elpd, exact_loo(y).sum(), atol=0.1)


def _values(post, group):
    return {str(name): variable.values for name, variable in post[group].data_vars.items()}


def test_large_k_is_said_and_the_observation_named():
    _, post = conjugate(outlier=25.0)
    with pytest.warns(UserWarning, match=r"cannot be trusted at 1 of 30 observations.*y\[0\]"):
        loo(post)


def test_compare_ranks_and_names():
    _, right = conjugate()
    _, wide = conjugate(scale=3.0)
    table = compare({"wide": wide, "right": right})
    assert list(table.index) == ["right", "wide"]
    np.testing.assert_allclose(table.loc["right", "elpd"], exact_loo(conjugate()[0]).sum(), atol=0.1)
    assert table.loc["right", "elpd_diff"] == 0
    assert table.loc["wide", "elpd_diff"] == table.loc["wide", "elpd"] - table.loc["right", "elpd"] < 0
    assert table["weight"].sum() == pytest.approx(1)
    _, outlier = conjugate(outlier=25.0)
    with pytest.warns(UserWarning, match="of 'b' cannot be trusted"), pytest.raises(DataError, match="different obs"):
        compare({"a": right, "b": outlier})


def test_loo_needs_log_likelihoods():
    plain = make_tree({"posterior": {"mu": draws()}})
    _, fit = conjugate()
    with pytest.raises(StorageError, match=r"add them with bk\.log_likelihood\(model, data, post\)"):
        loo(plain)
    with pytest.raises(StorageError, match="of 'b' has no log likelihoods"):
        compare({"a": fit, "b": plain})
    with pytest.raises(StorageError, match="two results"):
        compare({"a": fit})
    two = make_tree({"posterior": {"mu": draws()}, "log_likelihood": {"y": draws(), "z": draws(1)}})
    with pytest.raises(StorageError, match="var_name=y or z"):
        loo(two)
    with pytest.raises(StorageError, match="no log likelihoods of 'w'; it has y, z"):
        loo(two, "w")
    bad = draws(shape=(4, 500, 3))
    bad[0, 0, 1] = np.nan
    with pytest.raises(DataError, match="log likelihoods of 'y' are NaN"):
        loo(make_tree({"posterior": {"mu": draws()}, "log_likelihood": {"y": bad}}))
    _, other = conjugate(n=20)
    with pytest.raises(DataError, match=r"different numbers of observations: \{'a': 30, 'b': 20\}"):
        compare({"a": fit, "b": other})
