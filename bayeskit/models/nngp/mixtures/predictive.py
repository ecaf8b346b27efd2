r"""Normal laws with a random scale, which predictions have wherever they are not Student-t."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpyro.distributions as dist
from jax.scipy.special import logsumexp, ndtr
from jaxtyping import Float
from numpyro.distributions import constraints
from numpyro.distributions.util import validate_sample

from bayeskit._typing import Array, ArrayLike
from bayeskit.errors import ModelError
from bayeskit.models.nngp.mixtures.likelihood import Likelihood, WithValues
from bayeskit.models.nngp.mixtures.scale_integral import ScaleGrid, on_grid
from bayeskit.models.nngp.tracing import is_traced
from bayeskit.numerics.trapezoid import TOLERANCE
from bayeskit.xla.miscompilation import safe_jit
from bayeskit.xla.precision import in_double, to_default

__all__ = ["NormalScaleMixture", "ScaleNodesMixture"]

NEGLIGIBLE_END = 25.0


class NormalScaleMixture(dist.Distribution):
    r"""$N(\mu, \sigma^2 \Sigma)$ with $\sigma^2$ random: of one vector, or of a batch of numbers.

    The log density is an integral over $\log \sigma^2$ of its own for each value, so it is right in the far tails too.

    Args:
        loc: $\mu$, shape `(n,)`.
        root: a Cholesky factor of $\Sigma$, shape `(n, n)`: one event of size `n`; or the square roots of its diagonal,
            shape `(n,)`: a batch of `n` numbers.
        scale_law: the law of $\sigma^2$.
        scale_prior: its law before data, and
        likelihood: the likelihood of the data that made it `scale_law`, with
        grid: their integral.
    """

    arg_constraints: dict[str, constraints.Constraint] = {}  # noqa: RUF012
    pytree_data_fields = ("loc", "root", "scale_law", "scale_prior", "likelihood", "grid")

    def __init__(
        self,
        loc: Array,
        root: Array,
        scale_law: dist.Distribution,
        scale_prior: dist.Distribution,
        likelihood: Likelihood,
        grid: ScaleGrid,
        *,
        validate_args: bool | None = None,
    ):
        self.loc, self.root, self.scale_law = loc, root, scale_law
        self.scale_prior, self.likelihood, self.grid = scale_prior, likelihood, grid
        batch, event = (loc.shape, ()) if root.ndim == 1 else ((), loc.shape)
        super().__init__(batch_shape=batch, event_shape=event, validate_args=validate_args)

    @constraints.dependent_property(is_discrete=False)  # type: ignore[untyped-decorator]
    def support(self) -> constraints.Constraint:
        """Real numbers."""
        return constraints.real_vector if self.event_shape else constraints.real

    def sample(self, key: Array, sample_shape: tuple[int, ...] = ()) -> Array:
        r"""Draws $\sigma^2$, then a normal; a batch of numbers has a $\sigma^2$ for each."""
        for_scale, for_normal = jax.random.split(key)
        shape = (*sample_shape, *self.batch_shape)
        scale = jnp.sqrt(self.scale_law.sample(for_scale, shape))
        normal = jax.random.normal(for_normal, (*shape, *self.event_shape), self.loc.dtype)
        if self.event_shape:
            return self.loc + scale[..., None] * (normal @ self.root.T)
        return self.loc + scale * self.root * normal

    @validate_sample  # type: ignore[untyped-decorator]
    def log_prob(self, value: ArrayLike) -> Array:
        """The log density.

        Raises:
            ModelError: its integral is not resolved (NaN in a compiled function).
        """
        distance, log_determinant = _standardised(self.loc, self.root, jnp.asarray(value))
        size = self.event_shape[0] if self.event_shape else 1
        shape = distance.shape
        log_determinant = jnp.broadcast_to(log_determinant, shape)
        result, resolved = _integrals(
            self.scale_prior, self.likelihood, self.grid, distance.reshape(-1), log_determinant.reshape(-1), size
        )
        _raise_unresolved(jnp.all(resolved))
        return to_default(result).reshape(shape)

    def cdf(self, value: ArrayLike) -> Array:
        """The distribution function, of a batch of numbers."""
        if self.event_shape:
            raise NotImplementedError("a vector has no distribution function here; use predict_each")
        z = (jnp.asarray(value) - self.loc) / self.root
        return to_default(_below(self.grid, z.reshape(-1))).reshape(z.shape)

    @property
    def mean(self) -> Array:
        r"""$\mu$."""
        return self.loc

    @property
    def variance(self) -> Array:
        r"""$E[\sigma^2]\, \Sigma_{ii}$."""
        return self.scale_law.mean * (jnp.sum(self.root**2, axis=-1) if self.event_shape else self.root**2)

    @property
    def covariance_matrix(self) -> Float[Array, "n n"]:
        r"""$E[\sigma^2]\, \Sigma$."""
        root = self.root if self.event_shape else jnp.diag(self.root)
        return self.scale_law.mean * root @ root.T


class ScaleNodesMixture(dist.Distribution):
    r"""$\sum_k w_k N(\mu_k, \Sigma_k)$ over nodes $\sigma_k^2$ of a scale whose noise is outside it.

    The sum is an integral over the scale, and the log density is checked as one: where a value lies so far out that the
    nodes do not resolve it, there is an error and not a wrong number.

    Args:
        log_weights: $\log w_k$, shape `(k,)`.
        loc: $\mu_k$; shape `(k, n)` for a joint law, else `(n, k)`.
        root: Cholesky factors, shape `(k, n, n)`: one event of size `n`; or standard deviations, shape `(n, k)`: a
            batch of `n` numbers.
        has_variance: whether the scale has a finite mean.
    """

    arg_constraints: dict[str, constraints.Constraint] = {}  # noqa: RUF012
    pytree_data_fields = ("log_weights", "loc", "root", "has_variance")

    def __init__(
        self, log_weights: Array, loc: Array, root: Array, has_variance: Array, *, validate_args: bool | None = None
    ):
        self.log_weights, self.loc, self.root, self.has_variance = log_weights, loc, root, has_variance
        batch, event = (loc.shape[:1], ()) if root.ndim == 2 else ((), loc.shape[1:])
        super().__init__(batch_shape=batch, event_shape=event, validate_args=validate_args)

    @constraints.dependent_property(is_discrete=False)  # type: ignore[untyped-decorator]
    def support(self) -> constraints.Constraint:
        """Real numbers."""
        return constraints.real_vector if self.event_shape else constraints.real

    def sample(self, key: Array, sample_shape: tuple[int, ...] = ()) -> Array:
        """Draws a node, then a normal; a batch of numbers has a node for each."""
        for_node, for_normal = jax.random.split(key)
        shape = (*sample_shape, *self.batch_shape)
        node = jax.random.categorical(for_node, self.log_weights, shape=shape)
        normal = jax.random.normal(for_normal, (*shape, *self.event_shape), self.loc.dtype)
        if not self.event_shape:
            rows = jnp.arange(self.batch_shape[0])
            return self.loc[rows, node] + self.root[rows, node] * normal
        flat = (node.reshape(-1), normal.reshape(-1, *self.event_shape))
        draws = jax.lax.map(lambda pair: self.loc[pair[0]] + self.root[pair[0]] @ pair[1], flat)
        return draws.reshape(normal.shape)

    @validate_sample  # type: ignore[untyped-decorator]
    def log_prob(self, value: ArrayLike) -> Array:
        """The log density.

        Raises:
            ModelError: the nodes do not resolve it (NaN in a compiled function).
        """
        result, all_resolved = _over_nodes(self.log_weights, self.loc, self.root, jnp.asarray(value))
        _raise_unresolved(all_resolved)
        return result

    def cdf(self, value: ArrayLike) -> Array:
        """The distribution function, of a batch of numbers."""
        if self.event_shape:
            raise NotImplementedError("a vector has no distribution function here; use predict_each")
        return _below_over_nodes(self.log_weights, self.loc, self.root, jnp.asarray(value))

    @property
    def mean(self) -> Array:
        r"""$\sum_k w_k \mu_k$."""
        return _moments_over_nodes(self.log_weights, self.loc, self.root)[0]

    @property
    def variance(self) -> Array:
        r"""$\sum_k w_k (\Sigma_{k,ii} + (\mu_{k,i} - \mu_i)^2)$; infinite where the scale has no mean."""
        return jnp.where(self.has_variance, _moments_over_nodes(self.log_weights, self.loc, self.root)[1], jnp.inf)


def _raise_unresolved(resolved: Array) -> None:
    if not is_traced(resolved) and not bool(resolved):
        raise ModelError(
            "the predictive density of a value is not resolved: the value is not finite, or so far out that hardly any "
            "law of σ² given the data allows it; look at that value"
        )


def _log_normal(loc: Array, root: Array, values: Array) -> Array:
    distance, log_determinant = _standardised(loc, root, values)
    return -0.5 * (distance + log_determinant + loc.shape[-1] * jnp.log(2 * jnp.pi))


@safe_jit
def _over_nodes(log_weights: Array, loc: Array, root: Array, values: Array) -> tuple[Array, Array]:
    """The log density of a mixture over nodes, NaN where it is not resolved, and whether it is so everywhere."""
    if root.ndim == 3:
        terms = jax.vmap(lambda loc, root: _log_normal(loc, root, values), out_axes=-1)(loc, root)
    else:
        terms = dist.Normal(loc, root).log_prob(values[..., None])
    result, resolved = _sum_over_nodes(terms, log_weights)
    return jnp.where(resolved, result, jnp.nan), jnp.all(resolved)


@safe_jit
def _below_over_nodes(log_weights: Array, loc: Array, root: Array, values: Array) -> Array:
    return ndtr((values[..., None] - loc) / root) @ jnp.exp(log_weights)


@safe_jit
def _moments_over_nodes(log_weights: Array, loc: Array, root: Array) -> tuple[Array, Array]:
    weights = jnp.exp(log_weights)
    if root.ndim == 3:
        mean = weights @ loc
        return mean, weights @ (jnp.sum(root**2, axis=-1) + (loc - mean) ** 2)
    mean = loc @ weights
    return mean, (root**2 + (loc - mean[:, None]) ** 2) @ weights


@safe_jit
def _standardised(loc: Array, root: Array, values: Array) -> tuple[Array, Array]:
    r"""$(x - \mu)^\top \Sigma^{-1} (x - \mu)$ and $\log |\Sigma|$."""
    if root.ndim == 1:
        return ((values - loc) / root) ** 2, 2 * jnp.log(root)
    columns = (values - loc).reshape(-1, loc.shape[-1]).T
    whitened = jax.scipy.linalg.solve_triangular(root, columns, lower=True)
    log_determinant = 2 * jnp.sum(jnp.log(jnp.diagonal(root)))
    return jnp.sum(whitened**2, axis=0).reshape(values.shape[:-1]), log_determinant


@in_double
def _integrals(
    prior: dist.Distribution,
    likelihood: Likelihood,
    given: ScaleGrid,
    distance: Float[Array, " b"],
    log_determinant: Float[Array, " b"],
    size: int,
) -> tuple[Float[Array, " b"], Array]:
    # The predictive density is the evidence of data and value together over that of the data alone. Near the mean the
    # nodes of the data's own integral would do; but a value far out moves the mass of σ² to where they have none, and
    # the density would be far too small without a sign of it. So each value has an integral of its own, with nodes
    # where the mass is. A node costs O(1), because only the distance of the value and a determinant enter.
    def one(pair: tuple[Array, Array]) -> tuple[Array, Array]:
        grid = on_grid(prior, WithValues(likelihood, size, pair[1], pair[0]))
        resolved = grid.resolved & given.resolved
        return jnp.where(resolved, grid.log_evidence - given.log_evidence, jnp.nan), resolved

    return jax.lax.map(one, (distance, log_determinant), batch_size=256)


@in_double
def _below(grid: ScaleGrid, z: Float[Array, " b"]) -> Float[Array, " b"]:
    weights, deviation = jnp.exp(grid.log_weights), jnp.sqrt(grid.scales)
    return jax.lax.map(lambda one: ndtr(one / deviation) @ weights, z, batch_size=256)


def _sum_over_nodes(terms: Float[Array, "*b k"], log_weights: Float[Array, " k"]) -> tuple[Array, Array]:
    """The log of the sum, and whether it is an integral: negligible at its ends, the same with half the nodes."""
    joint = terms + log_weights
    total = logsumexp(joint, axis=-1)
    half = logsumexp(joint[..., ::2], axis=-1) + jnp.log(2.0)
    ends = jnp.maximum(joint[..., 0], joint[..., -1]) < jnp.max(joint, axis=-1) - NEGLIGIBLE_END
    tolerance = jnp.maximum(TOLERANCE, 100 * jnp.finfo(joint.dtype).eps * jnp.abs(total))
    return total, ends & (jnp.abs(half - total) < tolerance)
