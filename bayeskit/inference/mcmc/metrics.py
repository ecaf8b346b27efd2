r"""Metrics that minimise the Fisher divergence, estimated from draws and the gradients there.

The kinetic energy is $\tfrac12 p^\top M^{-1} p$. Sampling is fastest where the target, seen through $M^{-1/2}$, looks
like a standard normal. Seyboldt, Carlson and Carpenter (2026, "Preconditioning Hamiltonian Monte Carlo by minimizing
Fisher divergence") choose $M^{-1}$ so that the gradients of $\log\pi$ differ least from those of
$\mathcal N(\mu, M^{-1})$, in the mean square weighted by $M^{-1}$. The sampler has computed those gradients anyway.
With $C_x$ and $C_g$ the covariances of draws and of gradients,

* diagonal: $M^{-1}_{ii} = \sqrt{C_{x,ii} / C_{g,ii}}$ (their section 3.1);
* dense: $M^{-1} = C_x \mathbin{\#} C_g^{-1}$, the geometric mean of positive definite matrices (their theorem 2.3),
  which is the covariance where the target is normal, since then $C_g = C_x^{-1}$;
* low rank: the diagonal one, corrected by the dense one within a small subspace (their algorithm 1).

For a normal target, $d + 1$ draws give the matrix exactly (and two the diagonal, if it is independent), where the
variance of ten draws is off by half.

Sums of squares are used in place of covariances: the number of draws cancels.
"""

from __future__ import annotations

from typing import NamedTuple, TypeVar

import jax
import jax.numpy as jnp

from bayeskit._typing import Array

__all__ = ["DenseMetric", "LowRankMetric", "Moments", "dense_metric", "diagonal_metric", "low_rank_metric", "rescaled"]

REGULARISATION = 1e-5
"""What the identity weighs against one draw; directions without draws are left as they are."""

CUTOFF = 4.0
"""Eigenvalues of the correction between `1 / CUTOFF` and `CUTOFF` are set to one: the leapfrogs that they would save
are not worth a leapfrog that costs a quarter more."""

POWER_ITERATIONS = 3


class DenseMetric(NamedTuple):
    """Inverse mass matrix, shape `(d, d)`, and a root of the mass matrix: `root @ root.T` is its inverse."""

    inverse_mass_matrix: Array
    root: Array


class LowRankMetric(NamedTuple):
    r"""$M^{-1} = D (I + U (\Lambda - I) U^\top) D$ with $D = \operatorname{diag}(\sigma)$.

    `scale`: $\sigma$, shape `(d,)`. `vectors`: $U$, orthonormal columns, shape `(d, rank)`. `values`: $\Lambda$,
    shape `(rank,)`.
    """

    scale: Array
    vectors: Array
    values: Array


class Moments(NamedTuple):
    """Running moments of draws and gradients (Welford 1962); leading axis `(draw, gradient)`.

    `deviations` is the sum of squares, shape `(2, d)`, or of outer products, shape `(2, d, d)`.
    """

    count: Array  # type: ignore[assignment]
    mean: Array
    deviations: Array

    @classmethod
    def empty(cls, position: Array, *, outer: bool) -> Moments:
        """Of no draws yet."""
        mean = jnp.zeros((2, *position.shape), position.dtype)
        deviations = jnp.zeros((2, *position.shape, *position.shape), position.dtype) if outer else mean
        return cls(jnp.zeros((), position.dtype), mean, deviations)

    def add(self, pair: Array) -> Moments:
        """With one draw and its gradient more, shape `(2, d)`; they must be finite."""
        count = self.count + 1
        before = pair - self.mean
        mean = self.mean + before / count
        after = pair - mean
        squares = after[:, :, None] * before[:, None, :] if self.deviations.ndim == 3 else after * before
        return Moments(count, mean, self.deviations + squares)


def diagonal_metric(moments: Moments, previous: Array) -> Array:
    r"""$\sqrt{C_{x,ii} / C_{g,ii}}$, shape `(d,)`; `previous` where that is not a positive number."""
    ratio = jnp.sqrt(moments.deviations[0] / moments.deviations[1])
    return jnp.where(jnp.isfinite(ratio) & (ratio > 0), ratio, previous)


def dense_metric(moments: Moments, previous: DenseMetric) -> DenseMetric:
    r"""$C_x \mathbin{\#} C_g^{-1}$, shape `(d, d)`, computed in units of the diagonal metric.

    `previous` where the result is not finite.
    """
    variances = jnp.diagonal(moments.deviations, axis1=1, axis2=2)
    scale = (variances[0] / variances[1]) ** 0.25
    outer, ridge = jnp.outer(scale, scale), REGULARISATION * jnp.eye(scale.shape[0])
    mean = _geometric_mean(moments.deviations[0] / outer + ridge, moments.deviations[1] * outer + ridge)
    values, vectors = jnp.linalg.eigh(mean)
    return _if_finite(DenseMetric(mean * outer, vectors / jnp.sqrt(values) / scale[:, None]), previous)


def low_rank_metric(pairs: Array, used: Array, moments: Moments, previous: LowRankMetric) -> LowRankMetric:
    r"""Diagonal metric with a correction of the rank of `previous`.

    The correction lives in the span of the leading principal directions of the scaled draws (where $M^{-1}$ should be
    larger) and of the scaled gradients (where it should be smaller); there it is the geometric mean of the projected
    covariances, of which the eigenvalues furthest from one are kept.

    Args:
        pairs: draws and gradients, shape `(2, rows, d)`.
        used: which rows are, shape `(rows,)`.
        moments: of the rows that are used.
        previous: the result where the new one is not finite.
    """
    scale = rescaled(moments, previous).scale
    units = jnp.stack([1.0 / scale, scale])
    draws, gradients = jnp.where(used[:, None], (pairs - moments.mean[:, None]) * units[:, None], 0.0)
    size, rank = previous.vectors.shape
    start = jax.random.normal(jax.random.key(0), (size, rank), scale.dtype)
    basis = _orthonormal(jnp.concatenate([_leading(draws, start), _leading(gradients, start)], axis=1))
    ridge = REGULARISATION * jnp.eye(2 * rank)
    project = lambda rows: (rows @ basis).T @ (rows @ basis) + ridge  # noqa: E731
    values, vectors = jnp.linalg.eigh(_geometric_mean(project(draws), project(gradients)))
    furthest = jnp.argsort(-jnp.abs(jnp.log(values)))[:rank]
    values, vectors = values[furthest], basis @ vectors[:, furthest]
    near = (values > 1 / CUTOFF) & (values < CUTOFF)
    return _if_finite(LowRankMetric(scale, vectors, jnp.where(near, 1.0, values)), previous)


def rescaled(moments: Moments, previous: LowRankMetric) -> LowRankMetric:
    """`previous`, with the scale that the diagonal metric has now."""
    return previous._replace(scale=jnp.sqrt(diagonal_metric(moments, previous.scale**2)))


def _leading(rows: Array, start: Array) -> Array:
    """Leading right singular vectors of `rows`, roughly: a block power iteration, which needs no factorisation."""
    step = lambda _, block: _orthonormal(rows.T @ (rows @ block))  # noqa: E731
    return jax.lax.fori_loop(0, POWER_ITERATIONS, step, start)


def _orthonormal(columns: Array) -> Array:
    """Gram and Schmidt's columns, each made orthogonal twice; one that depends on those before it becomes zero."""

    def column(index: Array, done: Array) -> Array:
        vector = columns[:, index]
        length = jnp.linalg.norm(vector)
        for _ in range(2):
            vector = vector - done @ (done.T @ vector)
        rest = jnp.linalg.norm(vector)
        keep = rest > 1e3 * jnp.finfo(vector.dtype).eps * length
        return done.at[:, index].set(jnp.where(keep, vector / rest, 0.0))

    return jax.lax.fori_loop(0, columns.shape[1], column, jnp.zeros_like(columns))


def _geometric_mean(a: Array, b: Array) -> Array:
    r"""$A \mathbin{\#} B^{-1} = B^{-1/2} (B^{1/2} A B^{1/2})^{1/2} B^{-1/2}$ of positive definite matrices."""
    values, vectors = jnp.linalg.eigh(b)
    root = jnp.sqrt(jnp.maximum(values, jnp.finfo(b.dtype).eps * values[-1]))
    forward, backward = (vectors * root) @ vectors.T, (vectors / root) @ vectors.T
    values, vectors = jnp.linalg.eigh(forward @ a @ forward)
    middle = (vectors * jnp.sqrt(jnp.maximum(values, jnp.finfo(a.dtype).eps * values[-1]))) @ vectors.T
    return backward @ middle @ backward


M = TypeVar("M", DenseMetric, LowRankMetric)


def _if_finite(metric: M, previous: M) -> M:
    finite = jax.tree.reduce(jnp.logical_and, jax.tree.map(lambda leaf: jnp.isfinite(leaf).all(), metric))
    return jax.tree.map(lambda new, old: jnp.where(finite, new, old), metric, previous)
