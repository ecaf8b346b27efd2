"""Programmable variational inference."""

from bayeskit.inference.vi.estimators import enumeration, measure_valued, pathwise, score
from bayeskit.inference.vi.expectation import expectation
from bayeskit.inference.vi.objectives import elbo, importance_weighted_elbo, log_weight

__all__ = [
    "elbo",
    "enumeration",
    "expectation",
    "importance_weighted_elbo",
    "log_weight",
    "measure_valued",
    "pathwise",
    "score",
]
