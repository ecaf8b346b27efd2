r"""Objectives: functions of a few lines that draw from programs and return a number.

An objective is called as ``objective(model, guide)`` within :func:`bayeskit.expectation`, and its expectation is
maximised: a lower bound on :math:`\log p(y)`, or minus a divergence between the posterior and the guide. Each is made
from its settings, as in ``bk.objectives.ELBO(num_particles=8)(model, guide)``.
"""

from bayeskit.inference.vi.objectives.annealed import AnnealedELBO as AnnealedELBO
from bayeskit.inference.vi.objectives.cauchy_schwarz import CauchySchwarz as CauchySchwarz
from bayeskit.inference.vi.objectives.custom import Custom as Custom
from bayeskit.inference.vi.objectives.elbo import ELBO as ELBO
from bayeskit.inference.vi.objectives.f_divergence import FDivergence as FDivergence
from bayeskit.inference.vi.objectives.forward_kl import ForwardKL as ForwardKL
from bayeskit.inference.vi.objectives.hierarchical import HierarchicalELBO as HierarchicalELBO
from bayeskit.inference.vi.objectives.importance_weighted import ImportanceWeightedELBO as ImportanceWeightedELBO
from bayeskit.inference.vi.objectives.log_variance import LogVariance as LogVariance
from bayeskit.inference.vi.objectives.objective import Objective as Objective
from bayeskit.inference.vi.objectives.objective import log_weight as log_weight
from bayeskit.inference.vi.objectives.renyi import Renyi as Renyi
from bayeskit.inference.vi.objectives.reweighted_wake_sleep import ReweightedWakeSleep as ReweightedWakeSleep
from bayeskit.inference.vi.objectives.sleep import Sleep as Sleep
from bayeskit.inference.vi.objectives.symmetric_kl import SymmetricKL as SymmetricKL
from bayeskit.inference.vi.objectives.tempered import TemperedELBO as TemperedELBO
from bayeskit.inference.vi.objectives.wake_guide import WakeGuide as WakeGuide
from bayeskit.inference.vi.objectives.wake_model import WakeModel as WakeModel
