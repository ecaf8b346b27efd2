r"""The fit of a bridge as a fixed point: each component is the Gaussian bridge between the parts that it carries.

The gradient of $E \log c(x_0) - E \log v(x_1)$ with respect to the natural parameters of a component is zero exactly
where $E[w_k(x_0)\, T(y) \mid y \sim \pi_k(\cdot \mid x_0)] = E[\gamma_k(x_1)\, T(x_1)]$ for $T(y) = (1, y, y y^\top)$,
with the weights $w_k$ of the plan and the responsibilities $\gamma_k$ of the potential. With the weights held fixed
this is the bridge between two Gaussians, whose solution is closed form (Janati, Muzellec, Peyré and Cuturi 2020; Bunne,
Hsieh, Cuturi and Krause 2023). So one step computes weighted moments of both samples, and moves towards these solutions
as far as the loss falls; the weights $\alpha$ then take Newton steps. With one component the first step is the answer.

In the unbalanced problem the points count $C(x_0)^{\varepsilon / (\varepsilon + \tau)}$ and $e^{-g(x_1) / \tau}$.
"""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Float

from bayeskit._typing import Array
from bayeskit.models.schrodinger_bridge.bridge import Bridge
from bayeskit.models.schrodinger_bridge.objective import masses, objective, rates
from bayeskit.numerics.gaussian_mixture import GaussianMixture
from bayeskit.numerics.gaussian_mixture_covariance import Covariance, Diagonal, full_covariance
from bayeskit.numerics.gaussian_mixture_fit import Moments, moment_sums, moments_of
from bayeskit.xla.miscompilation import safe_jit

__all__ = [
    "Assessment",
    "Blocks",
    "advanced",
    "assess",
    "balanced",
    "blocks",
    "gaussian_map",
    "loss_of",
    "matched",
    "overall",
    "towards",
]

BLOCK_SIZE = 2**22
"""Numbers in the largest intermediate array of one block of points."""
NEWTON_STEPS = 3
BALANCING_STEPS = 60


class Blocks(eqx.Module):
    """Points in blocks of equal size, the last filled up with points of weight zero; the weights sum to one."""

    x: Float[Array, "b n d"]
    weight: Float[Array, "b n"]


class Assessment(NamedTuple):
    r"""A bridge with its best $\alpha$, its loss, and the moments of what each component carries at both ends."""

    bridge: Bridge
    loss: Array
    start: Moments
    end: Moments


def blocks(x: Float[Array, "n d"], num_components: int) -> Blocks:
    """Cut a sample into blocks."""
    num, size = x.shape
    rows = max(1, min(num, BLOCK_SIZE // (num_components * size)))
    missing = -num % rows
    padded = jnp.concatenate([x, jnp.zeros((missing, size), x.dtype)]).reshape(-1, rows, size)
    weight = jnp.concatenate([jnp.full(num, 1 / num, x.dtype), jnp.zeros(missing, x.dtype)])
    return Blocks(padded, weight.reshape(-1, rows))


@partial(safe_jit, compile=eqx.filter_jit)
def overall(sample: Blocks, diagonal: bool) -> Moments:
    """Moments of a whole sample, as one group."""
    centre = jnp.einsum("bn,bnd->d", sample.weight, sample.x)
    return _moments(sample.weight.ravel()[:, None], sample, centre, diagonal, None, 0.0)


def gaussian_map(start: Float[Array, "*k"], end: Float[Array, "*k"], epsilon: Array | float) -> Float[Array, "*k"]:
    r"""The map of the bridge between Gaussians with covariances $A$ and $B$.

    Both have shape `(k, d, d)`, or hold variances and have shape `(k, d)`.

    $S = A^{-1/2} ((A^{1/2} B A^{1/2} + \varepsilon^2 I / 4)^{1/2} - \varepsilon I / 2) A^{-1/2}$, which solves
    $S A S + \varepsilon S = B$.
    """

    def shrink(m: Array) -> Array:  # sqrt(m + ε²/4) - ε/2 without cancellation
        return m / (jnp.sqrt(m + epsilon**2 / 4) + epsilon / 2)

    if start.ndim == 2:
        return shrink(start * end) / start
    values, vectors = jnp.linalg.eigh(start)
    root = (vectors * jnp.sqrt(values)[:, None]) @ jnp.swapaxes(vectors, 1, 2)
    inverse = (vectors / jnp.sqrt(values)[:, None]) @ jnp.swapaxes(vectors, 1, 2)
    inner, basis = jnp.linalg.eigh(root @ end @ root)
    between = (basis * shrink(inner)[:, None]) @ jnp.swapaxes(basis, 1, 2)
    return inverse @ between @ inverse


@partial(safe_jit, compile=eqx.filter_jit)
def matched(start: Moments, end: Moments, log_alpha: Array, epsilon: Array, tau: Array | None = None) -> Bridge:
    """The bridge whose components are the Gaussian bridges between given moments."""
    maps = gaussian_map(start.covariance, end.covariance, epsilon)
    moved = maps * start.mean if maps.ndim == 2 else jnp.einsum("kde,ke->kd", maps, start.mean)
    return Bridge(epsilon, log_alpha, end.mean - moved, _form(maps), tau)


def towards(now: Bridge, goal: Bridge, step: Array | float) -> Bridge:
    """The bridge a part of the way from one to another; its maps stay positive definite for steps up to one."""
    matrix = _matrix(now.S) + step * (_matrix(goal.S) - _matrix(now.S))
    return Bridge(now.epsilon, now.log_alpha, now.r + step * (goal.r - now.r), _form(matrix), now.tau)


@partial(safe_jit, compile=eqx.filter_jit)
def advanced(now: Assessment, step: Array) -> Bridge:
    """The bridge a part of the way to the one that matches what its components carry."""
    bridge = now.bridge
    return towards(bridge, matched(now.start, now.end, bridge.log_alpha, bridge.epsilon, bridge.tau), step)


@partial(safe_jit, compile=eqx.filter_jit)
def balanced(bridge: Bridge, start: Blocks, share: Float[Array, " k"]) -> Bridge:
    r"""The bridge with the $\alpha$ for which its components carry given shares of the first sample.

    With small ε the weights are nearly zero or one, and Newton's method has no slope to follow far from the answer. So
    the terms are multiplied by a factor that rises to one, and each answer starts the next.
    """
    bare = eqx.tree_at(lambda b: b.log_alpha, bridge, jnp.zeros_like(bridge.log_alpha))
    terms = jax.lax.map(bare.log_terms, start.x).reshape(-1, share.shape[0])
    of_start = start.weight.ravel()
    terms = terms - of_start @ terms
    spread = jnp.sqrt(jnp.max(of_start @ (terms - jnp.mean(terms, axis=1, keepdims=True)) ** 2))
    log_share = jnp.log(jnp.maximum(share, 1e-6))

    def newton(carry: tuple[Array, Array], factor: Array) -> tuple[tuple[Array, Array], None]:
        log_alpha, before = carry
        log_alpha = log_alpha * factor / before
        w = jax.nn.softmax(factor * terms + log_alpha, axis=-1)
        carried = of_start @ w
        curvature = jnp.diag(carried) - (w.T * of_start) @ w
        step = jnp.linalg.solve(curvature + 1e-4 * jnp.eye(len(share), dtype=share.dtype), jnp.exp(log_share) - carried)
        return (log_alpha + step * jnp.minimum(1.0, 1.0 / jnp.max(jnp.abs(step) + 1e-30)), factor), None

    lowest = jnp.minimum(1.0, 1.0 / spread)
    factors = jnp.exp(jnp.log(lowest) * jnp.linspace(1.0, 0.0, BALANCING_STEPS, dtype=share.dtype))
    (log_alpha, _), _ = jax.lax.scan(newton, (log_share, lowest), factors)
    log_alpha = log_alpha - of_start @ jax.lax.map(bare.log_terms, start.x).reshape(-1, share.shape[0])
    return eqx.tree_at(lambda b: b.log_alpha, bridge, log_alpha)


@partial(safe_jit, compile=eqx.filter_jit)
def assess(bridge: Bridge, start: Blocks, end: Blocks, priors: tuple[Moments, Moments], count: Array) -> Assessment:
    r"""Newton steps in $\alpha$, then the loss and the moments.

    Args:
        bridge: whose maps and shifts are kept.
        start: points of the first sample.
        end: points of the second.
        priors: overall moments, to which those of a component are shrunk.
        count: how many points that prior is worth, as a share of the sample.
    """
    quadratic, potential = log_terms(bridge, start, end)
    of_start, of_end = start.weight.ravel(), end.weight.ravel()
    half = _half_norms(bridge, start), _half_norms(bridge, end)
    log_alpha = bridge.log_alpha
    if bridge.tau is None:
        log_alpha = jax.nn.log_softmax(log_alpha)
    else:
        log_alpha = log_alpha + _level(bridge, quadratic, potential, of_start, of_end, half)

    def newton(log_alpha: Array, _: None) -> tuple[Array, None]:
        return log_alpha + _newton(bridge, log_alpha, quadratic, potential, of_start, of_end, half), None

    log_alpha = jax.lax.scan(newton, log_alpha, None, length=NEWTON_STEPS)[0]
    log_c, log_v = (jax.nn.logsumexp(terms + log_alpha, axis=-1) for terms in (quadratic, potential))
    loss = objective(bridge, log_c - half[0], log_v + half[1], of_start, of_end)
    at_start, at_end = masses(bridge, log_c - half[0], log_v + half[1])
    w = (of_start * at_start)[:, None] * jax.nn.softmax(quadratic + log_alpha, axis=-1)
    gamma = (of_end * at_end)[:, None] * jax.nn.softmax(potential + log_alpha, axis=-1)
    diagonal = isinstance(bridge.S, Diagonal)
    carried = [
        _moments(weights, sample, prior.mean[0], diagonal, prior, count)
        for weights, sample, prior in zip((w, gamma), (start, end), priors, strict=True)
    ]
    return Assessment(eqx.tree_at(lambda b: b.log_alpha, bridge, log_alpha), loss, *carried)


@partial(safe_jit, compile=eqx.filter_jit)
def loss_of(bridge: Bridge, start: Blocks, end: Blocks) -> Float[Array, ""]:
    """The loss of a bridge as it is."""
    terms = log_terms(bridge, start, end)
    log_c, log_v = (jax.nn.logsumexp(item + bridge.log_alpha, axis=-1) for item in terms)
    half = _half_norms(bridge, start), _half_norms(bridge, end)
    return objective(bridge, log_c - half[0], log_v + half[1], start.weight.ravel(), end.weight.ravel())


def log_terms(bridge: Bridge, start: Blocks, end: Blocks) -> tuple[Float[Array, "n k"], Float[Array, "m k"]]:
    r"""The logarithms of the terms of $c$ and of $v$ without their $\alpha$, a block of points at a time."""
    bare = eqx.tree_at(lambda b: b.log_alpha, bridge, jnp.zeros_like(bridge.log_alpha))
    potential: GaussianMixture = bare.potential
    distances = potential.covariance.distances_to(potential.means)
    constant = potential.covariance.log_det() + bridge.r.shape[-1] * jnp.log(2 * jnp.pi)
    quadratic = jax.lax.map(bare.log_terms, start.x)
    mixture = jax.lax.map(lambda x: -(distances(x) + constant) / 2, end.x)
    num = bridge.log_alpha.shape[0]
    return quadratic.reshape(-1, num), mixture.reshape(-1, num)


def _newton(
    bridge: Bridge, log_alpha: Array, quadratic: Array, potential: Array, of_start: Array, of_end: Array, half: tuple
) -> Array:
    """A step in the weights, with the positive definite part of the second derivative; at most two in any of them."""
    log_c, log_v = (jax.nn.logsumexp(terms + log_alpha, axis=-1) for terms in (quadratic, potential))
    at_start, at_end = masses(bridge, log_c - half[0], log_v + half[1])
    w = jax.nn.softmax(quadratic + log_alpha, axis=-1)
    gamma = jax.nn.softmax(potential + log_alpha, axis=-1)
    of_start, of_end = of_start * at_start, of_end * at_end
    rate_start, rate_end = rates(bridge)
    carried = of_start @ w
    curvature = jnp.diag(carried) - (1 - rate_start) * (w.T * of_start) @ w + rate_end * (gamma.T * of_end) @ gamma
    ridge = 1e-6 * jnp.eye(len(log_alpha), dtype=log_alpha.dtype)  # a common factor of all weights changes nothing
    step = jnp.linalg.solve(curvature + ridge, of_end @ gamma - carried)
    return step * jnp.minimum(1.0, 2.0 / jnp.maximum(jnp.max(jnp.abs(step)), 1e-30))


def _level(bridge: Bridge, quadratic: Array, potential: Array, of_start: Array, of_end: Array, half: tuple) -> Array:
    """What to add to all log weights so that the two ends carry the same mass (unbalanced)."""
    rate_start, rate_end = rates(bridge)
    log_c = jax.nn.logsumexp(quadratic + bridge.log_alpha, axis=-1) - half[0]
    log_v = jax.nn.logsumexp(potential + bridge.log_alpha, axis=-1) + half[1]
    start = jax.nn.logsumexp(rate_start * log_c, b=of_start)
    end = jax.nn.logsumexp(-rate_end * log_v, b=of_end)
    return (end - start) / (rate_start + rate_end)


def _half_norms(bridge: Bridge, sample: Blocks) -> Array:
    r"""$|x|^2 / 2\varepsilon$; a constant of the balanced problem, which leaves it out."""
    if bridge.tau is None:
        return jnp.zeros((), sample.x.dtype)
    return jnp.sum(sample.x**2, axis=-1).ravel() / (2 * bridge.epsilon)


def _moments(
    weights: Array, sample: Blocks, centre: Array, diagonal: bool, prior: Moments | None, count: Array | float
) -> Moments:
    grouped = weights.reshape(*sample.weight.shape, -1)

    def add(sums: tuple, block: tuple[Array, Array]) -> tuple[tuple, None]:
        w, x = block
        return jax.tree.map(jnp.add, sums, moment_sums(w, x - centre, diagonal=diagonal)), None

    shapes = jax.eval_shape(lambda: moment_sums(grouped[0], sample.x[0], diagonal=diagonal))
    zero = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), shapes)
    return moments_of(jax.lax.scan(add, zero, (grouped, sample.x))[0], centre, prior, count)


def _matrix(maps: Covariance) -> Array:
    return maps.variance if isinstance(maps, Diagonal) else maps.dense()


def _form(matrix: Array) -> Covariance:
    return Diagonal(matrix) if matrix.ndim == 2 else full_covariance(matrix)
