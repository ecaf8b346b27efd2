r"""Objectives: functions of a few lines that draw from programs and return a number.

An objective is called as ``objective(model, guide)`` within :func:`bayeskit.expectation`, and its expectation is
maximised: a lower bound on :math:`\log p(y)`, or minus a divergence between the posterior and the guide. Each is made
from its settings, as in ``bk.objectives.ELBO(num_particles=8)(model, guide)``.
"""

from bayeskit.inference.vi.objectives.annealed import AnnealedELBO
from bayeskit.inference.vi.objectives.cauchy_schwarz import CauchySchwarz
from bayeskit.inference.vi.objectives.custom import Custom
from bayeskit.inference.vi.objectives.elbo import ELBO
from bayeskit.inference.vi.objectives.f_divergence import FDivergence
from bayeskit.inference.vi.objectives.forward_kl import ForwardKL
from bayeskit.inference.vi.objectives.hierarchical import HierarchicalELBO
from bayeskit.inference.vi.objectives.importance_weighted import ImportanceWeightedELBO
from bayeskit.inference.vi.objectives.log_variance import LogVariance
from bayeskit.inference.vi.objectives.objective import Objective, log_weight
from bayeskit.inference.vi.objectives.renyi import Renyi
from bayeskit.inference.vi.objectives.reweighted_wake_sleep import ReweightedWakeSleep
from bayeskit.inference.vi.objectives.sleep import Sleep
from bayeskit.inference.vi.objectives.symmetric_kl import SymmetricKL
from bayeskit.inference.vi.objectives.tempered import TemperedELBO
from bayeskit.inference.vi.objectives.wake_guide import WakeGuide
from bayeskit.inference.vi.objectives.wake_model import WakeModel

__all__ = [
    "ELBO",
    "AnnealedELBO",
    "CauchySchwarz",
    "Custom",
    "FDivergence",
    "ForwardKL",
    "HierarchicalELBO",
    "ImportanceWeightedELBO",
    "LogVariance",
    "Objective",
    "Renyi",
    "ReweightedWakeSleep",
    "Sleep",
    "SymmetricKL",
    "TemperedELBO",
    "WakeGuide",
    "WakeModel",
    "log_weight",
]
