"""Programmable variational inference: the rooms that its parts are chosen from."""

from bayeskit.inference.vi import estimators, guides, objectives
from bayeskit.inference.vi.programs import integrators

__all__ = ["estimators", "guides", "integrators", "objectives"]
