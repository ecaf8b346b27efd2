"""What the chapters of this folder are written with."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest

import bayeskit as bk

DISCRETE = {
    "score": bk.estimators.Score(),
    "baseline": bk.estimators.Score(3.0),
    "enumeration": bk.estimators.Enumeration(),
    "measure_valued": bk.estimators.MeasureValued(),
}
EACH = {name: DISCRETE[name] for name in ("score", "enumeration", "measure_valued")}
by_estimator = pytest.mark.parametrize("estimator", EACH.values(), ids=EACH)


def by_default(*names: str, among: dict[str, Any] = EACH) -> pytest.MarkDecorator:
    """With these estimators by default; with the others in the full tier.

    Each of them meets branches, loops and particles in some test by default, and the random programs mix them all.
    """
    rows = [
        pytest.param(estimator, marks=() if name in names else pytest.mark.full, id=name)
        for name, estimator in among.items()
    ]
    return pytest.mark.parametrize("estimator", rows)


def sample(name, distribution, estimator=None):
    return numpyro.sample(name, distribution, infer={} if estimator is None else {"estimator": estimator})


def one(distribution, estimator=None):
    """The value of a program of one choice."""
    return bk.draw(lambda: sample("x", distribution, estimator))[0]["x"]


def is_exact(estimator):
    return estimator == bk.estimators.Enumeration()


def keys_for(estimator):
    """Where every value is summed over, all keys have one number."""
    return 2 if is_exact(estimator) else 4000


def squared(p, estimator):
    return (2 * one(dist.Bernoulli(p), estimator) + 1) ** 2.0


def sigmoid(x):
    """In NumPy, for complex numbers too."""
    return 1 / (1 + np.exp(-x))


def weighed(cases):
    """Sum over cases (probability, number)."""
    return sum(probability * number for probability, number in cases)


def coin_model():
    z = sample("z", dist.Bernoulli(0.3))
    numpyro.sample("x", dist.Normal(2.0 * z, 1), obs=0.8)


def normal_model():
    z = sample("z", dist.Normal(0, 1))
    numpyro.sample("x", dist.Normal(z, 1), obs=1.2)


def iwelbo(loc, num, scale=1.0, estimator=None):
    guide = lambda: sample("z", dist.Normal(loc, scale), estimator)  # noqa: E731
    return bk.objectives.ImportanceWeightedELBO(num)(normal_model, guide)
