"""The score function."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import jax
import jax.numpy as jnp
from numpyro.distributions import Distribution

from bayeskit._typing import Array
from bayeskit.inference.vi.estimators.baselines import FittedBaseline, elementwise
from bayeskit.inference.vi.estimators.validity import check_fixed_support
from bayeskit.program.execution import Estimator, Record
from bayeskit.program.sites import elements

__all__ = ["Score"]


@dataclass(frozen=True)
class Score(Estimator):
    r"""The score-function estimator (REINFORCE), unbiased for every distribution with a fixed support.

    Args:
        baseline: a number that is subtracted from what the score multiplies, or a function without arguments that
            returns one (or one for each independent element of the choice); it may depend on what came before the
            choice, never on the choice itself. :class:`bayeskit.estimators.FittedBaseline` learns one. Within
            :func:`bayeskit.average` and :func:`bayeskit.log_average_exp`, ``None`` takes the other particles for it.

    Reference: Williams (1992), "Simple statistical gradient-following algorithms".
    """

    kind: ClassVar[str] = "score"
    takes_discrete: ClassVar[bool] = True

    baseline: float | Array | Callable[[], Array] | FittedBaseline | None = None

    def check(self, site: str, distribution: Distribution) -> None:
        check_fixed_support(site, distribution, "score-function")

    def sample(self, key: Array, distribution: Distribution) -> Array:
        return jax.lax.stop_gradient(distribution.sample(key))

    def record(self, key: Array, distribution: Distribution, value: Array) -> Record:
        del key
        log_q = elements(distribution).log_prob(jax.lax.stop_gradient(value))
        if self.baseline is None:
            return {"log_q": log_q, "leave_one_out": jnp.zeros_like(log_q)}
        if isinstance(self.baseline, FittedBaseline):
            fitted = elementwise(self.baseline.function(), log_q)
            return {"log_q": log_q, "baseline": jax.lax.stop_gradient(fitted), "fitted": self.baseline.sign * fitted}
        baseline = self.baseline() if callable(self.baseline) else self.baseline
        return {"log_q": log_q, "baseline": elementwise(baseline, log_q)}
