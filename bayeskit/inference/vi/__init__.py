"""Programmable variational inference."""

from bayeskit.inference.vi.baselines import fitted_baseline
from bayeskit.inference.vi.custom import custom_estimator
from bayeskit.inference.vi.disarm import disarm
from bayeskit.inference.vi.estimators import enumeration, measure_valued, pathwise, score
from bayeskit.inference.vi.expectation import expectation
from bayeskit.inference.vi.guides import block, flow, full_rank, laplace_guide, low_rank, mean_field, mixture
from bayeskit.inference.vi.marginal import exact, importance, laplace, marginal, normalize, sir
from bayeskit.inference.vi.method import VI
from bayeskit.inference.vi.objectives import (
    annealed_elbo,
    cauchy_schwarz,
    elbo,
    f_divergence,
    forward_kl,
    hierarchical_elbo,
    importance_weighted_elbo,
    log_variance,
    log_weight,
    renyi_bound,
    reweighted_wake_sleep,
    sleep,
    symmetric_kl,
    tempered_elbo,
    wake_guide,
    wake_model,
)
from bayeskit.inference.vi.unbiased import Unbiased, unbiased

__all__ = [
    "VI",
    "Unbiased",
    "annealed_elbo",
    "block",
    "cauchy_schwarz",
    "custom_estimator",
    "disarm",
    "elbo",
    "enumeration",
    "exact",
    "expectation",
    "f_divergence",
    "fitted_baseline",
    "flow",
    "forward_kl",
    "full_rank",
    "hierarchical_elbo",
    "importance",
    "importance_weighted_elbo",
    "laplace",
    "laplace_guide",
    "log_variance",
    "log_weight",
    "low_rank",
    "marginal",
    "mean_field",
    "measure_valued",
    "mixture",
    "normalize",
    "pathwise",
    "renyi_bound",
    "reweighted_wake_sleep",
    "score",
    "sir",
    "sleep",
    "symmetric_kl",
    "tempered_elbo",
    "unbiased",
    "wake_guide",
    "wake_model",
]
