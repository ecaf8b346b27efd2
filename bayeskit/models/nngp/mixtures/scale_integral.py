r"""Integrals of a likelihood over the law of the scale $\sigma^2$, by the trapezoidal rule."""

from __future__ import annotations

from typing import NamedTuple, TypeVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
from jaxtyping import Bool, Float
from numpyro.distributions import constraints
from numpyro.distributions.transforms import Transform, biject_to

from bayeskit._keepable import keepable
from bayeskit._typing import Array
from bayeskit.models.nngp.mixtures.likelihood import Likelihood
from bayeskit.models.nngp.tracing import is_traced
from bayeskit.numerics.trapezoid import TOLERANCE, Grid, integrate_log, nodes_for
from bayeskit.xla.precision import in_double

__all__ = [
    "ScaleGrid",
    "at_largest",
    "log_integrand",
    "moment_grid",
    "on_grid",
    "onto_line",
    "predictive_grid",
]

T = TypeVar("T")

NUM_NODES = 1025
ENOUGH = 1e-8
FAR = 100.0
WIDE_NODES = 2049
RANGE = 350.0
r"""$|\log \sigma^2|$ is searched up to here; squares of $e^{350}$ are still numbers in float64."""


@keepable("nngp.ScaleGrid")
class ScaleGrid(NamedTuple):
    r"""The integral $\int p(y \mid \sigma^2)\, dH(\sigma^2)$ as a sum.

    Attributes:
        grid: nodes on the line.
        scales: $\sigma^2$ at the nodes.
        log_joint: the log of the integrand on the line.
        log_weights: the log of the posterior probability that each node stands for.
        log_evidence: the log of the integral.
        resolved: whether the sum can be trusted.
    """

    grid: Grid
    scales: Float[Array, " m"]
    log_joint: Float[Array, " m"]
    log_weights: Float[Array, " m"]
    log_evidence: Float[Array, ""]
    resolved: Bool[Array, ""]

    @property
    def mode(self) -> Float[Array, ""]:
        """The scale with the largest integrand."""
        return at_largest(self.log_joint, self.scales)


def at_largest(values: Float[Array, " m"], scales: Float[Array, " m"]) -> Float[Array, ""]:
    """The scale with the largest value, NaN if a value is NaN.

    Not by `argmax`: JAX lowers that with constants in the default precision, and fails where it is not float64.
    """
    largest = jnp.max(values)
    return jnp.where(jnp.isnan(largest), jnp.nan, jnp.max(jnp.where(values == largest, scales, -jnp.inf)))


def onto_line(prior: dist.Distribution) -> Transform:
    r"""From the line onto the support: $\sigma^2 = e^t$ for the positive numbers."""
    if prior.support in (constraints.positive, constraints.nonnegative):
        return dist.transforms.ExpTransform()
    return biject_to(prior.support)


def log_integrand(prior: dist.Distribution, likelihood: Likelihood, t: Float[Array, " m"]) -> Float[Array, " m"]:
    r"""$\log p(y \mid \sigma^2) + \log h(\sigma^2) + \log |d\sigma^2 / dt|$."""
    transform = onto_line(prior)
    scales = transform(t)
    return likelihood.log_likelihood(scales) + prior.log_prob(scales) + transform.log_abs_det_jacobian(t, scales)


def on_grid(prior: dist.Distribution, likelihood: Likelihood) -> ScaleGrid:
    """The integral of a likelihood over the scale, by the trapezoidal rule."""
    return moment_grid(prior, likelihood, 0)


def moment_grid(prior: dist.Distribution, likelihood: Likelihood, order: int) -> ScaleGrid:
    r"""The integral of $\sigma^{2r}$ times the likelihood, $r$ the order.

    Infinite where the integrand grows towards the upper end, NaN where it falls too slowly to see an end.
    """

    def integrand(prior: dist.Distribution, likelihood: Likelihood, t: Array) -> Array:
        return log_integrand(prior, likelihood, t) + order * jnp.log(onto_line(prior)(t))

    # Why over log σ²: there the integrand is smooth and falls exponentially on both sides, and for such functions the
    # trapezoidal rule converges exponentially (Trefethen and Weideman 2014). Why the nodes have no derivative: moving
    # them changes the sum by no more than its error, while the derivative of the search for them would be noise. So
    # they are found with everything held still, and the integrand is differentiated at fixed nodes.
    still_prior, still_likelihood = _without_derivative((prior, likelihood))
    grid = nodes_for(lambda t: integrand(still_prior, still_likelihood, t), -RANGE, RANGE, NUM_NODES)
    log_joint = integrand(prior, likelihood, grid.nodes)
    total, resolved = integrate_log(log_joint, grid)
    if order:
        # a power law: whether it rises over the last 32 nodes decides between infinite and not known
        diverges = log_joint[-1] >= log_joint[-33] - 1e-6
        beyond = jnp.where(diverges, jnp.inf, jnp.nan)
        total = jnp.where(grid.ends_above, jnp.where(resolved, total, jnp.nan), beyond)
    log_weights = log_joint + jnp.log(grid.spacing) - total
    return ScaleGrid(grid, onto_line(prior)(grid.nodes), log_joint, log_weights, total, resolved)


def predictive_grid(prior: dist.Distribution, likelihood: Likelihood, given: ScaleGrid, size: int) -> ScaleGrid:
    r"""Nodes for a mixture that predicts: $p(\sigma^2 \mid y)$ as a sum, into its far tails.

    New values far from the mean move the weights into the tails of the law of the scale: the nodes reach to where it is
    $e^{-100}$ of its maximum; and $m$ new values make the weights narrower than those of $n$, so with
    $s = n + m$ numbers the spacing is at most $0.3 \sqrt{2 / s}$, a part of the deviation of $\log \sigma^2$, and
    at most 0.2. The log density is checked with half of the nodes, so half of them give eight digits, and all about
    sixteen. Beyond that there are as few nodes as possible; inside a compiled function, where values cannot decide,
    there are 513, and their weights are NaN where that is not enough.
    """
    grid = _wide(prior, likelihood, given)
    if is_traced(given.log_evidence):
        return _checked(_every(grid, 4))
    nodes, weights = np.asarray(grid.grid.nodes), np.exp(np.asarray(grid.log_weights))
    for stride in (64, 32, 16, 8, 4, 2):
        close = stride * (nodes[1] - nodes[0]) < min(0.2, 0.3 * (2 / size) ** 0.5)
        if close and abs(2 * stride * weights[:: 2 * stride].sum() - 1) < ENOUGH:
            return _every(grid, stride)
    return grid


@in_double
def _wide(prior: dist.Distribution, likelihood: Likelihood, given: ScaleGrid) -> ScaleGrid:
    still_prior, still_likelihood = _without_derivative((prior, likelihood))
    nodes = nodes_for(lambda t: log_integrand(still_prior, still_likelihood, t), -RANGE, RANGE, WIDE_NODES, FAR)
    log_joint = log_integrand(prior, likelihood, nodes.nodes)
    log_weights = log_joint + jnp.log(nodes.spacing) - given.log_evidence
    scales = onto_line(prior)(nodes.nodes)
    return _checked(ScaleGrid(nodes, scales, log_joint, log_weights, given.log_evidence, given.resolved))


@in_double
def _checked(grid: ScaleGrid) -> ScaleGrid:
    """The weights, NaN unless they sum to one."""
    good = grid.resolved & (jnp.abs(jnp.sum(jnp.exp(grid.log_weights)) - 1) < TOLERANCE)
    return grid._replace(log_weights=jnp.where(good, grid.log_weights, jnp.nan), resolved=good)


@in_double
def _every(grid: ScaleGrid, stride: int) -> ScaleGrid:
    nodes = grid.grid._replace(nodes=grid.grid.nodes[::stride])
    weights = grid.log_weights[::stride] + jnp.log(float(stride))
    return grid._replace(
        grid=nodes, scales=grid.scales[::stride], log_joint=grid.log_joint[::stride], log_weights=weights
    )


def _without_derivative(tree: T) -> T:
    return jax.tree.map(lambda leaf: jax.lax.stop_gradient(leaf) if eqx.is_inexact_array(leaf) else leaf, tree)
