"""A *program* is a NumPyro function with its data bound."""

from bayeskit.program.bind import Program, bind
from bayeskit.program.factors import is_prior_factor, prior_factor

__all__ = ["Program", "bind", "is_prior_factor", "prior_factor"]
