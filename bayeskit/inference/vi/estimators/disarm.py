"""Antithetic pairs of executions for vectors of Bernoulli choices."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import numpyro.distributions as dist
from numpyro.distributions import Distribution

from bayeskit._typing import Array
from bayeskit.errors import ModelError
from bayeskit.inference.vi.estimator import GradientEstimator
from bayeskit.inference.vi.estimators.forward_only import forward_only, law_of
from bayeskit.inference.vi.surrogate import Lane, spread_over
from bayeskit.inference.vi.tracing.decomposition import shape_of
from bayeskit.program.sites import describe, elements, innermost

__all__ = ["DisARM"]


class AntitheticRecord(NamedTuple):
    """`value` of each coin, its `logits`, and the value `antithetic` to it."""

    value: Array
    logits: Array
    antithetic: Array


@dataclass(frozen=True)
class DisARM(GradientEstimator):
    r"""Antithetic pairs for vectors of Bernoulli choices: two executions for the whole vector.

    For logits :math:`\alpha`, with :math:`b` and :math:`\tilde b` made from :math:`u` and :math:`1 - u`, the gradient
    is :math:`\tfrac12 (k(b) - k(\tilde b)) (-1)^{\tilde b_i} 1[b_i \neq \tilde b_i]\, \sigma(|\alpha_i|)`.

    Reference: Dong, Mnih and Tucker (2020), "DisARM: an antithetic gradient estimator for binary latent variables".
    """

    kind: ClassVar[str] = "disarm"

    def check(self, site: str, distribution: Distribution) -> None:
        if not isinstance(innermost(distribution), dist.BernoulliProbs | dist.BernoulliLogits):
            raise ModelError(
                f"site {site!r}: DisARM is for Bernoulli distributions, and this is {describe(distribution)}; use "
                "bayeskit.estimators.Score()"
            )

    def sample(self, key: Array, distribution: Distribution) -> Array:
        return jax.lax.stop_gradient(distribution.sample(key))

    def record(self, key: Array, distribution: Distribution, value: Array) -> AntitheticRecord:
        single = elements(distribution)
        logits = single.log_prob(jnp.ones_like(value)) - single.log_prob(jnp.zeros_like(value))
        p = jax.nn.sigmoid(jax.lax.stop_gradient(logits))
        # u and 1 - u serve the two values; this is the law of the second one, given the first
        share = jnp.where(value == 1, jnp.maximum(2.0 - 1.0 / p, 0.0), jnp.minimum(p / (1.0 - p), 1.0))
        other = jax.random.bernoulli(key, share).astype(value.dtype)
        return AntitheticRecord(value, logits, other)

    def law(self, record: AntitheticRecord, *, is_own: bool) -> Any:
        del is_own
        return (record.logits,)

    def term(self, lane: Lane, address: str) -> Any:
        choice, record = lane.decomposition.choices[address], lane.own(address)
        shape, parallel = shape_of(choice), lane.decomposition.parallel(address)
        if any(length > 1 and axis not in parallel for axis, length in enumerate(choice.stack)):
            raise ModelError(
                f"site {choice.site!r}: DisARM would be biased in a loop whose passes depend on each other; use "
                "bayeskit.estimators.Score() or MeasureValued() there"
            )
        value, logits, other = record
        second = lane.elsewhere(address, jnp.ones(shape, bool), other)
        share = 0.5 * jnp.where(value != other, 1.0 - 2.0 * other, 0.0) * jax.nn.sigmoid(jnp.abs(logits))
        if (taken := lane.execution.records[address].taken) is not None:
            share = jnp.where(spread_over(taken, len(shape)), share, 0.0)
        steps = jax.lax.stop_gradient(share) * (logits - jax.lax.stop_gradient(logits))
        depends = [*law_of(lane, address), logits]
        numbers: list[Array] = []
        pairs = zip(lane.execution.leaves, second.execution.leaves, lane.decomposition.shapes, strict=True)
        for first_parts, second_parts, leaf in pairs:
            if leaf:
                less = lane.depending(first_parts, address, leaf) - second.depending(second_parts, address, leaf)
                numbers.append(jnp.sum(steps) * forward_only(less, depends))
            else:
                axes = tuple(range(len(shape)))
                less = lane.cost(first_parts, address, axes) - second.cost(second_parts, address, axes)
                numbers.append(jnp.sum(steps * forward_only(less, depends)))
        return jax.tree.unflatten(lane.decomposition.tree, numbers)
