"""Interquartile means over seeds, with intervals that hold what they say."""

from __future__ import annotations

import json

import matplotlib.pyplot as plt
import numpy as np
import pytest
import scipy.stats
import xarray as xr

from bayeskit.errors import DataError, MethodError
from bayeskit.models import td_error


def curves(returns, environment="CartPole-v1"):
    """As `td_error.train` makes them; returns `(seeds, steps)`."""
    values = np.asarray(returns, float)[..., None] + np.array([-1.0, 1.0])  # two episodes around them
    steps = 100 * np.arange(values.shape[1])
    training = xr.Dataset({"episode_return": (("seed", "step", "episode"), values)}, {"step": steps})
    tree = xr.DataTree.from_dict({"training": training})
    tree.attrs["method_settings"] = json.dumps({"environment": environment})
    return tree


RNG = np.random.default_rng(0)
NORMAL = RNG.normal(3.0, 2.0, size=(10, 400))
"""Ten seeds; each of 400 steps is an experiment of its own."""


def test_the_mean_of_the_middle_half():
    found = td_error.interquartile_mean(curves(NORMAL))
    middle = np.sort(NORMAL, axis=0)[2:8].mean(axis=0)  # a quarter of ten, rounded down, at either end
    np.testing.assert_allclose(found["estimate"], middle)
    assert found["step"].values[:2].tolist() == [0, 100]


def test_intervals_hold_the_truth_about_as_often_as_they_say():
    """Percentiles of a bootstrap of ten are somewhat short; the bound is of the binomial law."""
    found = td_error.interquartile_mean(curves(NORMAL), num_resamples=400)
    held = ((found["lower"] < 3.0) & (found["upper"] > 3.0)).mean()
    assert 0.86 < held < 0.98


def test_a_difference_has_the_interval_of_both():
    one, other = curves(NORMAL + 1.0), curves(RNG.normal(3.0, 2.0, size=(10, 400)))
    found = td_error.interquartile_difference(one, other, num_resamples=400)
    held = ((found["lower"] < 1.0) & (found["upper"] > 1.0)).mean()
    assert 0.86 < held < 0.98
    z = (float(found["estimate"].mean()) - 1.0) / (float(found["estimate"].std()) / 20)
    assert abs(z) < 4


def test_several_environments_are_put_on_one_scale():
    one, other = curves(NORMAL[:, :2]), curves(100 * NORMAL[:, 2:4] + 50)
    found = td_error.interquartile_mean([one, other], ranges=[(0.0, 1.0), (50.0, 150.0)])
    wanted = scipy.stats.trim_mean(np.concatenate([NORMAL[:, :2], NORMAL[:, 2:4]]), 0.25)
    np.testing.assert_allclose(found["estimate"], wanted)


def test_a_profile_falls_from_one_to_nothing():
    found = td_error.performance_profile(curves(NORMAL[:, :1]), [-1e3, 3.0, 1e3])
    assert found["estimate"].values.tolist() == [1.0, float((NORMAL[:, 0] > 3).mean()), 0.0]
    assert found["lower"].values[1] < found["estimate"].values[1] < found["upper"].values[1]


def test_one_seed_has_no_interval():
    found = td_error.interquartile_mean(curves(NORMAL[:1, :3]))
    np.testing.assert_allclose(found["estimate"], NORMAL[0, :3])
    assert found["lower"].isnull().all()


def test_a_picture():
    figures = plt.get_fignums()
    axes = td_error.plot_learning_curves({"one": curves(NORMAL[:, :3]), "other": curves(NORMAL[:, 3:6])})
    assert [line.get_label() for line in axes.get_lines()] == ["one", "other"]
    np.testing.assert_allclose(axes.get_lines()[0].get_xdata(), [0, 100, 200])
    plt.close(axes.figure)
    assert plt.get_fignums() == figures


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (
            lambda: td_error.interquartile_mean(3),
            DataError,
            "curves must be what td_error.train returns, got int without",
        ),
        (
            lambda: td_error.interquartile_mean(xr.DataTree()),
            DataError,
            "curves must be what td_error.train returns, got DataTree without episodes",
        ),
        (lambda: td_error.interquartile_mean([]), DataError, "curves is empty"),
        (
            lambda: td_error.interquartile_mean([curves(NORMAL), curves(NORMAL)]),
            DataError,
            "several environments need ranges, (a return that counts as 0, one that counts as 1) for each",
        ),
        (
            lambda: td_error.interquartile_mean(curves(NORMAL), ranges=[(1.0, 1.0)]),
            DataError,
            "ranges must be a lower and a higher return for each of 1 curves, got [(1.0, 1.0)]",
        ),
        (
            lambda: td_error.interquartile_mean(curves(NORMAL), level=2),
            MethodError,
            "level must be a number between 0 and 1, got 2",
        ),
        (
            lambda: td_error.interquartile_difference(curves(NORMAL), curves(NORMAL, "Pendulum-v1")),
            DataError,
            "curves are of CartPole-v1, and baseline of Pendulum-v1",
        ),
        (
            lambda: td_error.interquartile_difference(curves(NORMAL), curves(NORMAL[:, :3])),
            DataError,
            "curves and baseline have evaluations at other steps",
        ),
        (
            lambda: td_error.interquartile_difference(None, curves(NORMAL)),
            DataError,
            "curves must be what td_error.train returns, got NoneType without episodes",
        ),
        (
            lambda: td_error.interquartile_difference(curves(NORMAL), [curves(NORMAL)]),
            DataError,
            "curves and baseline must be one result each; call it for each environment",
        ),
        (
            lambda: td_error.performance_profile(curves(np.where(NORMAL.max() == NORMAL, np.nan, NORMAL))),
            DataError,
            "curves has returns that are not finite",
        ),
        (
            lambda: td_error.performance_profile(curves(NORMAL), [1.0, 0.0]),
            DataError,
            "thresholds must be numbers that increase, got [1.0, 0.0]",
        ),
        (
            lambda: td_error.performance_profile(curves(NORMAL), [0.0, np.nan]),
            DataError,
            "thresholds must be finite, got nan at 1",
        ),
        (
            lambda: td_error.interquartile_mean(curves(NORMAL), ranges=[(0.0, np.inf)]),
            DataError,
            "ranges must be a lower and a higher return for each of 1 curves, got [(0.0, inf)]",
        ),
        (
            lambda: td_error.interquartile_mean(curves(NORMAL), seed=-1),
            MethodError,
            "seed must be an integer from 0 on, got -1",
        ),
        (
            lambda: td_error.plot_learning_curves(curves(NORMAL)),
            DataError,
            "curves must be {name: result}, got DataTree",
        ),
        (lambda: td_error.plot_learning_curves({}), DataError, "curves is empty; give {name: result}"),
    ],
)
def test_refused(call, error, message):
    with pytest.raises(error) as refused:
        call()
    assert message in str(refused.value)
