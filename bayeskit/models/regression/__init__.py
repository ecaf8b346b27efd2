"""Regressions written as formulas, with NumPyro source to go on from."""

from bayeskit.models.regression.model import Formula, formula

__all__ = ["Formula", "formula"]
