"""The room `bayeskit.integrators`: how `marginal` and `normalize` find a density."""

from bayeskit.inference.vi.programs.exact import Exact
from bayeskit.inference.vi.programs.importance_sampling import ImportanceSampling
from bayeskit.inference.vi.programs.laplace import LaplaceProposal
from bayeskit.inference.vi.programs.resampling import SIR

__all__ = ["SIR", "Exact", "ImportanceSampling", "LaplaceProposal"]
