"""A program seen as a log density over unconstrained values."""

from bayeskit.target.density import Term, Terms
from bayeskit.target.sites import Plate, SiteInfo, Structure
from bayeskit.target.start import find_start
from bayeskit.target.target import Target

__all__ = ["Plate", "SiteInfo", "Structure", "Target", "Term", "Terms", "find_start"]
