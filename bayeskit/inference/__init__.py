"""Inference methods and the verbs that run them.

`VI` and `Laplace` are loaded on first use: what they need takes a quarter of a second to import, and chains do without
it.
"""

from typing import TYPE_CHECKING

import lazy_loader  # type: ignore[import-untyped]

from bayeskit.inference.auto import auto as auto
from bayeskit.inference.calibration.sbc import sbc as sbc
from bayeskit.inference.continuing import extend as extend
from bayeskit.inference.continuing import resume as resume
from bayeskit.inference.likelihoods import log_likelihood as log_likelihood
from bayeskit.inference.mcmc.chees import ChEES as ChEES
from bayeskit.inference.mcmc.discrete_hmc_gibbs import DiscreteHMCGibbs as DiscreteHMCGibbs
from bayeskit.inference.mcmc.elliptical_slice import EllipticalSlice as EllipticalSlice
from bayeskit.inference.mcmc.hmc import HMC as HMC
from bayeskit.inference.mcmc.mclmc import MCLMC as MCLMC
from bayeskit.inference.mcmc.meads import MEADS as MEADS
from bayeskit.inference.mcmc.mixed_hmc import MixedHMC as MixedHMC
from bayeskit.inference.mcmc.nuts import NUTS as NUTS
from bayeskit.inference.mcmc.stochastic_gradient import SGHMC as SGHMC
from bayeskit.inference.mcmc.stochastic_gradient import SGLD as SGLD
from bayeskit.inference.method import Draws as Draws
from bayeskit.inference.method import Method as Method
from bayeskit.inference.pathfinder import Pathfinder as Pathfinder
from bayeskit.inference.predictive import predict as predict
from bayeskit.inference.priors import log_prior as log_prior
from bayeskit.inference.run import infer as infer
from bayeskit.inference.smc.nested_sampling import NestedSampling as NestedSampling
from bayeskit.inference.smc.parallel_tempering import ParallelTempering as ParallelTempering
from bayeskit.inference.smc.persistent_sampling import PersistentSampling as PersistentSampling
from bayeskit.inference.smc.smc import SMC as SMC

if TYPE_CHECKING:
    from bayeskit.inference.laplace import Laplace as Laplace
    from bayeskit.inference.vi.fit.method import VI as VI

__getattr__, _, _ = lazy_loader.attach(__name__, submod_attrs={"laplace": ["Laplace"], "vi.fit.method": ["VI"]})
