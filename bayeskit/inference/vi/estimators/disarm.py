"""Antithetic pairs of executions for vectors of Bernoulli choices."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpyro.distributions as dist
from numpyro.distributions import Distribution

from bayeskit._typing import Array
from bayeskit.errors import ModelError
from bayeskit.inference.vi.estimators.validity import base_of, name_of
from bayeskit.program.execution import Estimator, Record
from bayeskit.program.sites import elements

__all__ = ["DisARM"]


@dataclass(frozen=True)
class DisARM(Estimator):
    r"""Antithetic pairs for vectors of Bernoulli choices: two executions for the whole vector.

    For logits :math:`\alpha`, with :math:`b` and :math:`\tilde b` made from :math:`u` and :math:`1 - u`, the gradient
    is :math:`\tfrac12 (k(b) - k(\tilde b)) (-1)^{\tilde b_i} 1[b_i \neq \tilde b_i]\, \sigma(|\alpha_i|)`.

    Reference: Dong, Mnih and Tucker (2020), "DisARM: an antithetic gradient estimator for binary latent variables".
    """

    kind: ClassVar[str] = "disarm"

    def check(self, site: str, distribution: Distribution) -> None:
        if not isinstance(base_of(distribution), dist.BernoulliProbs | dist.BernoulliLogits):
            raise ModelError(
                f"site {site!r}: DisARM is for Bernoulli distributions, and this is {name_of(distribution)}; use "
                "bayeskit.estimators.Score()"
            )

    def sample(self, key: Array, distribution: Distribution) -> Array:
        return jax.lax.stop_gradient(distribution.sample(key))

    def record(self, key: Array, distribution: Distribution, value: Array) -> Record:
        single = elements(distribution)
        logits = single.log_prob(jnp.ones_like(value)) - single.log_prob(jnp.zeros_like(value))
        p = jax.nn.sigmoid(jax.lax.stop_gradient(logits))
        # u and 1 - u serve the two values; this is the law of the second one, given the first
        share = jnp.where(value == 1, jnp.maximum(2.0 - 1.0 / p, 0.0), jnp.minimum(p / (1.0 - p), 1.0))
        other = jax.random.bernoulli(key, share).astype(value.dtype)
        return {"value": value, "logits": logits, "antithetic": other}
