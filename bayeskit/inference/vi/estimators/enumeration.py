"""Exact sums over finite supports."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import jax
from numpyro.distributions import Distribution

from bayeskit._typing import Array
from bayeskit.inference.vi.estimator import GradientEstimator
from bayeskit.inference.vi.estimators.validity import check_enumerable
from bayeskit.inference.vi.tracing.decomposition import Decomposition
from bayeskit.program.sites import elements

__all__ = ["Enumeration"]


class EnumeratedRecord(NamedTuple):
    """`log_q`: the log probability of each element."""

    log_q: Array


@dataclass(frozen=True)
class Enumeration(GradientEstimator):
    r"""Exact summation over a finite support: no variance from this choice.

    The program runs once for every combination of the values of the enumerated choices.
    """

    kind: ClassVar[str] = "enumeration"
    takes_discrete: ClassVar[bool] = True

    needs_support: ClassVar[bool] = True
    is_enumerated: ClassVar[bool] = True

    def check(self, site: str, distribution: Distribution) -> None:
        check_enumerable(site, distribution, "enumeration")

    def sample(self, key: Array, distribution: Distribution) -> Array:
        return jax.lax.stop_gradient(distribution.sample(key))

    def record(self, key: Array, distribution: Distribution, value: Array) -> EnumeratedRecord:
        del key
        return EnumeratedRecord(elements(distribution).log_prob(value))

    def executions(self, decomposition: Decomposition, address: str) -> int:
        return decomposition.lanes(address)
