"""Gaussian processes with learned spectra that solve differential equations."""

from bayeskit.models.spectral_pde import pictures as pictures  # for reports
from bayeskit.models.spectral_pde import state_space
from bayeskit.models.spectral_pde.conditions import Dirichlet, Neumann, Periodic, Readings
from bayeskit.models.spectral_pde.gp_hm import GPHM, GPHMFit
from bayeskit.models.spectral_pde.kernels import Product, SpectralMixture, StudentT
from bayeskit.models.spectral_pde.model import model
from bayeskit.models.spectral_pde.plots import plot
from bayeskit.models.spectral_pde.problem import Problem
from bayeskit.models.spectral_pde.solution import Solution
from bayeskit.models.spectral_pde.solve import solve
from bayeskit.models.spectral_pde.spectrum import Spectrum

__all__ = [
    "GPHM",
    "Dirichlet",
    "GPHMFit",
    "Neumann",
    "Periodic",
    "Problem",
    "Product",
    "Readings",
    "Solution",
    "SpectralMixture",
    "Spectrum",
    "StudentT",
    "model",
    "plot",
    "solve",
    "state_space",
]
