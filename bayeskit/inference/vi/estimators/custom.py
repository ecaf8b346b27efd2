"""Estimators of the user's own."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
from numpyro.distributions import Distribution

from bayeskit._typing import Array
from bayeskit.errors import ModelError
from bayeskit.inference.vi.estimator import GradientEstimator
from bayeskit.program.execution import Choice

__all__ = ["Custom", "Surrogate"]

Surrogate = Callable[[Array, Distribution, Callable[[Array], Any]], Any]


class CustomRecord(NamedTuple):
    """`key`: raw, for the function; `distribution` of the choice."""

    key: Array
    distribution: Distribution


@dataclass(frozen=True)
class Custom(GradientEstimator):
    r"""An estimator of your own.

    Args:
        function: ``function(key, distribution, continuation)`` returns a surrogate: a number whose expectation is
            :math:`\mathrm E\, k(x)`, and the expectation of whose derivative is that of :math:`\mathrm E\, k(x)`.
            ``continuation`` is :math:`k`: given a value of the choice it runs the rest of the program, and returns what
            the function given to :func:`bayeskit.expectation` returns (a number, or a pytree of numbers), with the
            estimators of the other choices at work. It is traced, may be called more than once and under ``jax.vmap``;
            gradients pass the value. Where other choices are enumerated, it runs once in each lane.

    Example:
        >>> import jax, numpyro, numpyro.distributions as dist
        >>> import bayeskit as bk
        >>> def by_score(key, distribution, continuation):
        ...     x = jax.lax.stop_gradient(distribution.sample(key))
        ...     number, log_q = continuation(x), distribution.log_prob(x)
        ...     return number + jax.lax.stop_gradient(number) * (log_q - jax.lax.stop_gradient(log_q))
        >>> estimator = bk.estimators.Custom(by_score)
        >>> def f(p):
        ...     program = lambda: numpyro.sample("b", dist.Bernoulli(p), infer={"estimator": estimator})
        ...     return (2 * bk.draw(program)[0]["b"] + 1) ** 2.0
        >>> gradients = jax.vmap(jax.grad(bk.expectation(f), argnums=1), (0, None))
        >>> bool(abs(gradients(jax.random.split(jax.random.key(0), 10_000), 0.3).mean() - 8.0) < 0.5)
        True
    """

    kind: ClassVar[str] = "custom"
    continues: ClassVar[bool] = True

    function: Surrogate

    def check(self, site: str, distribution: Distribution) -> None:
        del site, distribution

    def sample(self, key: Array, distribution: Distribution) -> Array:
        return jax.lax.stop_gradient(distribution.sample(key))

    def record(self, key: Array, distribution: Distribution, value: Array) -> CustomRecord:
        del value
        raw = jax.random.key_data(key) if jnp.issubdtype(key.dtype, jax.dtypes.prng_key) else key
        return CustomRecord(raw, distribution)

    def law(self, record: CustomRecord, *, is_own: bool) -> Distribution:
        del is_own
        return record.distribution

    def rest(self, choice: Choice, record: CustomRecord, continuation: Callable[[Array], Any]) -> Any:
        def checked(value: Array) -> Any:
            if jnp.shape(value) != choice.shape:
                raise ModelError(
                    f"site {choice.site!r}: its custom estimator gives the rest of the program a value of shape "
                    f"{jnp.shape(value)}, and the choice has shape {choice.shape}"
                )
            return continuation(jnp.asarray(value))

        return self.function(record.key, record.distribution, checked)
