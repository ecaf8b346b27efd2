"""Exact sums over finite supports."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import jax
from numpyro.distributions import Distribution

from bayeskit._typing import Array
from bayeskit.inference.vi.estimators.validity import check_enumerable
from bayeskit.program.execution import Estimator, Record
from bayeskit.program.sites import elements

__all__ = ["Enumeration"]


@dataclass(frozen=True)
class Enumeration(Estimator):
    r"""Exact summation over a finite support: no variance from this choice.

    The program runs once for every combination of the values of the enumerated choices.
    """

    kind: ClassVar[str] = "enumeration"
    takes_discrete: ClassVar[bool] = True

    needs_support: ClassVar[bool] = True

    def check(self, site: str, distribution: Distribution) -> None:
        check_enumerable(site, distribution, "enumeration")

    def sample(self, key: Array, distribution: Distribution) -> Array:
        return jax.lax.stop_gradient(distribution.sample(key))

    def record(self, key: Array, distribution: Distribution, value: Array) -> Record:
        del key
        return {"log_q": elements(distribution).log_prob(value)}
