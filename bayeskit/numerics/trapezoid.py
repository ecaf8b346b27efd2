"""Integrals of peaked functions over the line, by the trapezoidal rule on the part that matters."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.scipy.special import logsumexp
from jaxtyping import Bool, Float

from bayeskit._keepable import keepable
from bayeskit._typing import Array

__all__ = ["Grid", "important_interval", "integrate_log", "nodes_for"]

COARSE = 257
ROUNDS = 6
NEGLIGIBLE = 45.0
"""An integrand this many nats below its maximum is left out of its integral: $e^{-45} = 3 \\cdot 10^{-20}$."""
TOLERANCE = 1e-6
"""Largest change of the log of an integral when every other node is left out."""


@keepable("numerics.trapezoid.Grid")
class Grid(NamedTuple):
    """Equally spaced nodes, and whether the integrand is negligible below and above them."""

    nodes: Float[Array, " m"]
    ends_below: Bool[Array, ""]
    ends_above: Bool[Array, ""]

    @property
    def spacing(self) -> Float[Array, ""]:
        """Between nodes, from the whole length, which loses fewer digits than a difference of neighbours."""
        return (self.nodes[-1] - self.nodes[0]) / (len(self.nodes) - 1)


def important_interval(
    log_integrand: Callable[[Float[Array, " m"]], Float[Array, " m"]],
    low: float,
    high: float,
    negligible: float = NEGLIGIBLE,
) -> tuple[Array, Array, Array, Array]:
    """Where a positive function is not negligible, and whether it is negligible at the lower and at the upper end.

    The range is searched on a grid, narrowed to the nodes within `negligible` nats of the largest value and their
    neighbours, and searched again, each time up to 128 times finer. A function that rises towards its peaks from far
    away (a likelihood of thousands of observations, a narrow prior: hills that are wide in nats) is found; a spike that
    cannot be seen from a distance of 1/256 of the range is not.
    """

    def narrow(_: Array, interval: tuple[Array, Array]) -> tuple[Array, Array]:
        low, high = interval
        nodes = jnp.linspace(low, high, COARSE)
        values = _finite(log_integrand(nodes))
        kept, spacing = values > jnp.max(values) - negligible, (high - low) / (COARSE - 1)
        first, last = jnp.min(jnp.where(kept, nodes, high)), jnp.max(jnp.where(kept, nodes, low))
        return jnp.maximum(first - spacing, low), jnp.minimum(last + spacing, high)

    start = (jnp.asarray(low, float), jnp.asarray(high, float))
    first, last = jax.lax.fori_loop(0, ROUNDS, narrow, start)
    inside = log_integrand(jnp.linspace(first, last, COARSE))
    bound = jnp.max(_finite(inside)) - 0.6 * NEGLIGIBLE
    return first, last, inside[0] < bound, inside[-1] < bound


def nodes_for(
    log_integrand: Callable[[Float[Array, " m"]], Float[Array, " m"]],
    low: float,
    high: float,
    num_nodes: int,
    negligible: float = NEGLIGIBLE,
) -> Grid:
    """An odd number of nodes over `important_interval`; they carry no derivative.

    The integral does not depend on where the nodes are, only the sum that approximates it does, so its derivative is
    that of the integrand at nodes that stay where they are.
    """
    start, end, below, above = important_interval(log_integrand, low, high, negligible)
    return Grid(jax.lax.stop_gradient(jnp.linspace(start, end, num_nodes)), below, above)


def integrate_log(log_values: Float[Array, " m"], grid: Grid) -> tuple[Float[Array, ""], Bool[Array, ""]]:
    r"""The log of an integral, from the log of the integrand at the nodes, and whether it can be trusted.

    The error of the trapezoidal rule for an analytic integrand is $O(e^{-c/h})$ for a spacing $h$: with half the nodes
    it is about the square root of the error with all of them. So a change of less than `TOLERANCE` when every other
    node is left out means an error near its square; where the integrand has kinks it bounds the error itself.

    Source: Trefethen and Weideman (2014), "The exponentially convergent trapezoidal rule".
    """
    all_nodes = logsumexp(log_values) + jnp.log(grid.spacing)
    half = logsumexp(log_values[::2]) + jnp.log(2 * grid.spacing)
    return all_nodes, grid.ends_below & grid.ends_above & (jnp.abs(half - all_nodes) < TOLERANCE)


def _finite(values: Array) -> Array:
    """Far out a density may overflow on its way to zero: what is no number is not where the mass is."""
    return jnp.where(jnp.isfinite(values), values, -jnp.inf)
