"""A program seen as a log density over unconstrained values."""

from bayeskit.program.sites import Term
from bayeskit.target.density import Terms
from bayeskit.target.indices import index_check
from bayeskit.target.sites import Plate, SiteFacts, Structure
from bayeskit.target.start import find_start, find_start_by
from bayeskit.target.target import Target

__all__ = ["Plate", "SiteFacts", "Structure", "Target", "Term", "Terms", "find_start", "find_start_by", "index_check"]
