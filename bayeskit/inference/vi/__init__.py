"""Programmable variational inference."""

from bayeskit.inference.vi.baselines import fitted_baseline
from bayeskit.inference.vi.custom import custom_estimator
from bayeskit.inference.vi.disarm import disarm
from bayeskit.inference.vi.estimators import enumeration, measure_valued, pathwise, score
from bayeskit.inference.vi.expectation import expectation
from bayeskit.inference.vi.guides import full_rank, low_rank, mean_field
from bayeskit.inference.vi.marginal import exact, importance, laplace, marginal, normalize, sir
from bayeskit.inference.vi.method import VI
from bayeskit.inference.vi.objectives import (
    elbo,
    importance_weighted_elbo,
    log_weight,
    renyi_bound,
    tempered_elbo,
    wake_guide,
)
from bayeskit.inference.vi.unbiased import Unbiased, unbiased

__all__ = [
    "VI",
    "Unbiased",
    "custom_estimator",
    "disarm",
    "elbo",
    "enumeration",
    "exact",
    "expectation",
    "fitted_baseline",
    "full_rank",
    "importance",
    "importance_weighted_elbo",
    "laplace",
    "log_weight",
    "low_rank",
    "marginal",
    "mean_field",
    "measure_valued",
    "normalize",
    "pathwise",
    "renyi_bound",
    "score",
    "sir",
    "tempered_elbo",
    "unbiased",
    "wake_guide",
]
