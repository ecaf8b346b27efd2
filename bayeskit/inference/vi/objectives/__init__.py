r"""Objectives: functions of a few lines that draw from programs and return a number.

An objective is called as ``objective(model, guide)`` within :func:`bayeskit.expectation`, and its expectation is
maximised: a lower bound on :math:`\log p(y)`, or minus a divergence between the posterior and the guide. Each is made
from its settings, as in ``bk.elbo(num_particles=8)(model, guide)``.
"""

from bayeskit.inference.vi.objectives.annealed import AnnealedELBO, annealed_elbo
from bayeskit.inference.vi.objectives.bounds import (
    ELBO,
    HierarchicalELBO,
    ImportanceWeightedELBO,
    RenyiBound,
    TemperedELBO,
    elbo,
    hierarchical_elbo,
    importance_weighted_elbo,
    renyi_bound,
    tempered_elbo,
)
from bayeskit.inference.vi.objectives.divergences import (
    CauchySchwarz,
    ForwardKL,
    LogVariance,
    SymmetricKL,
    cauchy_schwarz,
    forward_kl,
    log_variance,
    symmetric_kl,
)
from bayeskit.inference.vi.objectives.f_divergence import NamedFDivergence, f_divergence
from bayeskit.inference.vi.objectives.objective import Objective, log_weight
from bayeskit.inference.vi.objectives.wake_sleep import (
    ReweightedWakeSleep,
    WakeGuide,
    reweighted_wake_sleep,
    sleep,
    wake_guide,
    wake_model,
)

__all__ = [
    "ELBO",
    "AnnealedELBO",
    "CauchySchwarz",
    "ForwardKL",
    "HierarchicalELBO",
    "ImportanceWeightedELBO",
    "LogVariance",
    "NamedFDivergence",
    "Objective",
    "RenyiBound",
    "ReweightedWakeSleep",
    "SymmetricKL",
    "TemperedELBO",
    "WakeGuide",
    "annealed_elbo",
    "cauchy_schwarz",
    "elbo",
    "f_divergence",
    "forward_kl",
    "hierarchical_elbo",
    "importance_weighted_elbo",
    "log_variance",
    "log_weight",
    "renyi_bound",
    "reweighted_wake_sleep",
    "sleep",
    "symmetric_kl",
    "tempered_elbo",
    "wake_guide",
    "wake_model",
]
