"""The estimator of a choice that names none."""

from __future__ import annotations

from numpyro.distributions import Distribution

from bayeskit.inference.vi.estimators.pathwise import Pathwise
from bayeskit.inference.vi.estimators.score import Score
from bayeskit.inference.vi.estimators.validity import is_reparameterised
from bayeskit.program.execution import Estimator

__all__ = ["default_estimator"]


def default_estimator(distribution: Distribution) -> Estimator:
    """Pathwise where that is valid, else the score function."""
    return Pathwise() if is_reparameterised(distribution) else Score()
