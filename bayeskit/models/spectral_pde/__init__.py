"""Gaussian processes with learned spectra that solve differential equations."""

from bayeskit.models.spectral_pde.conditions import Dirichlet, Neumann, Periodic, Readings
from bayeskit.models.spectral_pde.problem import Problem
from bayeskit.models.spectral_pde.solution import Solution
from bayeskit.models.spectral_pde.solve import solve
from bayeskit.models.spectral_pde.spectrum import Spectrum

__all__ = ["Dirichlet", "Neumann", "Periodic", "Problem", "Readings", "Solution", "Spectrum", "solve"]
