"""The room `bayeskit.integrators`: how `marginal` and `normalize` find a density."""

from bayeskit.inference.vi.programs.exact import Exact as Exact
from bayeskit.inference.vi.programs.importance_sampling import ImportanceSampling as ImportanceSampling
from bayeskit.inference.vi.programs.laplace import LaplaceProposal as LaplaceProposal
from bayeskit.inference.vi.programs.resampling import SIR as SIR
