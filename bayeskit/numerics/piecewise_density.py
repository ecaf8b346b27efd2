"""A density on an interval as a polynomial on each of many panels: its distribution function and quantiles."""

from __future__ import annotations

from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from bayeskit._typing import Array

__all__ = ["PiecewiseDensity"]

DEGREE = 10
BISECTIONS = 60


class PiecewiseDensity(eqx.Module):
    r"""A density by its Legendre coefficients on panels of equal width, exact for polynomials of degree 9.

    Attributes:
        edges: of the panels.
        coefficients: of the density on each panel, in $P_0, \ldots, P_9$.
        below: the mass below each edge; ends in one.
    """

    edges: Float[Array, " edges"]
    coefficients: Float[Array, "panels degree"]
    below: Float[Array, " edges"]

    @classmethod
    def of(
        cls, log_density: Callable[[Array], Array], low: Array, high: Array, num_panels: int = 256
    ) -> PiecewiseDensity:
        """From a log density that is smooth within a panel; the mass is made one."""
        points, weights = np.polynomial.legendre.leggauss(DEGREE)
        basis = np.polynomial.legendre.legvander(points, DEGREE - 1)
        onto = (weights[:, None] * basis * (np.arange(DEGREE) + 0.5)).T
        edges = jnp.linspace(low, high, num_panels + 1)
        half = (edges[1] - edges[0]) / 2
        inside = (edges[:-1] + half)[:, None] + half * points
        values = jnp.exp(log_density(inside.reshape(-1)).reshape(inside.shape))
        coefficients = values @ jnp.asarray(onto).T
        mass = coefficients[:, 0] * 2 * half
        total = jnp.sum(mass)
        below = jnp.concatenate([jnp.zeros(1), jnp.cumsum(mass / total)])
        return cls(edges, coefficients / total, below / below[-1])

    def cdf(self, t: Float[Array, " q"]) -> Float[Array, " q"]:
        """The mass below each number."""
        panel = jnp.clip(jnp.searchsorted(self.edges, t, side="right") - 1, 0, len(self.edges) - 2)
        half = (self.edges[1] - self.edges[0]) / 2
        place = jnp.clip((t - self.edges[panel]) / half - 1, -1.0, 1.0)
        inside = jnp.clip(self.below[panel] + half * _primitive(self.coefficients[panel], place), 0.0, 1.0)
        # where operations are fused the polynomials do not cancel to the last bit at the ends
        return jnp.where(t <= self.edges[0], 0.0, jnp.where(t >= self.edges[-1], 1.0, inside))

    def icdf(self, mass: Float[Array, " q"]) -> Float[Array, " q"]:
        """The number with each mass below it, by bisection within its panel."""
        panel = jnp.clip(jnp.searchsorted(self.below, mass, side="right") - 1, 0, len(self.edges) - 2)
        half = (self.edges[1] - self.edges[0]) / 2
        coefficients, target = self.coefficients[panel], (mass - self.below[panel]) / half

        def halve(_: Array, between: tuple[Array, Array]) -> tuple[Array, Array]:
            low, high = between
            middle = (low + high) / 2
            less = _primitive(coefficients, middle) < target
            return jnp.where(less, middle, low), jnp.where(less, high, middle)

        low, high = jax.lax.fori_loop(0, BISECTIONS, halve, (-jnp.ones_like(mass), jnp.ones_like(mass)))
        return self.edges[panel] + half * (1 + (low + high) / 2)


def _primitive(coefficients: Float[Array, "q degree"], place: Float[Array, " q"]) -> Float[Array, " q"]:
    r"""$\int_{-1}^z \sum_j c_j P_j$, from $(2 j + 1) P_j = P_{j+1}' - P_{j-1}'$."""
    polynomials = [jnp.ones_like(place), place]
    for j in range(1, DEGREE):
        polynomials.append(((2 * j + 1) * place * polynomials[j] - j * polynomials[j - 1]) / (j + 1))
    total = coefficients[:, 0] * (place + 1)
    for j in range(1, DEGREE):
        total = total + coefficients[:, j] * (polynomials[j + 1] - polynomials[j - 1]) / (2 * j + 1)
    return total
