"""Programmable variational inference."""

from bayeskit.inference.vi.estimators import custom_estimator, enumeration, measure_valued, pathwise, score
from bayeskit.inference.vi.expectation import expectation
from bayeskit.inference.vi.guides import full_rank, low_rank, mean_field
from bayeskit.inference.vi.marginal import exact, importance, marginal, normalize, sir
from bayeskit.inference.vi.method import VI
from bayeskit.inference.vi.objectives import (
    elbo,
    importance_weighted_elbo,
    log_weight,
    renyi_bound,
    tempered_elbo,
    wake_guide,
)

__all__ = [
    "VI",
    "custom_estimator",
    "elbo",
    "enumeration",
    "exact",
    "expectation",
    "full_rank",
    "importance",
    "importance_weighted_elbo",
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
    "wake_guide",
]
