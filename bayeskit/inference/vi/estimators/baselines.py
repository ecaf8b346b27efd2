"""Baselines of the score-function estimator."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import jax.numpy as jnp

from bayeskit._typing import Array
from bayeskit.errors import ModelError

__all__ = ["FittedBaseline", "elementwise"]


@dataclass(frozen=True)
class FittedBaseline:
    r"""A baseline whose parameters are learned along with the rest, by least squares.

    The gradient of the expectation gains that of :math:`-\tfrac12 (b - C)^2`, with :math:`C` what the score multiplies,
    with respect to the parameters of :math:`b` alone; its value gains nothing. A baseline that is one parameter becomes
    a moving average of :math:`C`; a network of what came before the choice is a neural baseline.

    Args:
        function: returns :math:`b`, as for :class:`bayeskit.estimators.Score`; its parameters are among those that are
            optimised, and serve nothing else.
        objective: ``"maximize"`` or ``"minimize"``: what the optimiser does with the expectation.

    Example:
        >>> import jax, numpyro, numpyro.distributions as dist
        >>> import bayeskit as bk
        >>> def f(p, b):
        ...     estimator = bk.estimators.Score(bk.estimators.FittedBaseline(lambda: b))
        ...     coin = lambda: numpyro.sample("b", dist.Bernoulli(p), infer={"estimator": estimator})
        ...     return (2 * bk.draw(coin)[0]["b"] + 1) ** 2.0
        >>> keys = jax.random.split(jax.random.key(0), 10_000)
        >>> upwards = jax.jit(jax.vmap(jax.grad(bk.expectation(f), argnums=2), (0, None, None)))(keys, 0.3, 0.0)
        >>> bool(abs(upwards.mean() - 3.4) < 0.2)
        True

    Reference: Mnih and Gregor (2014), "Neural variational inference and learning in belief networks".
    """

    function: Callable[[], Array]
    objective: str = field(default="maximize", kw_only=True)

    def __post_init__(self) -> None:
        if self.objective not in ("maximize", "minimize"):
            raise ModelError(f"objective must be 'maximize' or 'minimize', got {self.objective!r}")

    @property
    def sign(self) -> int:
        """Of its loss, as the optimiser goes."""
        return 1 if self.objective == "maximize" else -1


def elementwise(baseline: object, log_q: Array) -> Array:
    """A baseline for every independent element of a choice."""
    array = jnp.asarray(baseline, log_q.dtype)
    pairs = zip(array.shape[::-1], log_q.shape[::-1], strict=False)
    if array.ndim > log_q.ndim or any(own not in (1, length) for own, length in pairs):
        raise ModelError(
            f"a baseline has shape {array.shape}, and the choice has {log_q.shape} independent elements: it takes a "
            "number, or one for each element"
        )
    return jnp.broadcast_to(array, log_q.shape)
