"""`Histogram`: a density that is constant on bars, with half-normal tails."""

from __future__ import annotations

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
from jax.scipy.special import erf, erfc, ndtri
from numpyro.distributions import constraints
from numpyro.distributions.util import validate_sample

from bayeskit._keepable import keepable
from bayeskit._typing import Array, ArrayLike
from bayeskit.errors import DataError
from bayeskit.xla.miscompilation import safe_jit

__all__ = ["Histogram", "equal_mass_edges"]

_QUARTILE = 0.6744897501960817  # of the normal distribution: half of a half-normal lies below it
_HALF_NORMAL_MEAN = float(np.sqrt(2 / np.pi))


@keepable("distributions.Histogram")
class Histogram(dist.Distribution):
    r"""A density that is constant on bars; the outermost two are half-normal tails, so that every number is possible.

    With edges $e_0 < \dots < e_K$ and masses $p = \operatorname{softmax}(\text{logits})$, a number in bar
    $k = 1, \dots, K - 2$ has density $p_k / (e_{k+1} - e_k)$. Left of $e_1$ the density is $p_0$ times that of
    $e_1 - s_0 |Z|$, right of $e_{K-1}$ it is $p_{K-1}$ times that of $e_{K-1} + s_1 |Z|$, with $Z$ standard normal and
    the scales such that half of a tail lies within the outermost edges $e_0$ and $e_K$.

    Args:
        edges: shape `(K + 1,)`, increasing, $K \ge 3$.
        logits: shape `(..., K)`; only differences matter. The leading axes are the batch shape.

    Raises:
        DataError: fewer than three bars, edges that do not increase or are not finite, or logits for another number of
            bars.

    Source: Müller, Hollmann, Pineda Arango, Grabocka and Hutter (2022), "Transformers can do Bayesian inference", the
    Riemann distribution of section 5.

    Example:
        >>> import jax.numpy as jnp
        >>> Histogram([-1.0, 0.0, 1.0, 2.0], jnp.log(jnp.array([0.25, 0.5, 0.25]))).icdf(0.5)
        Array(0.5, dtype=...)
    """

    arg_constraints = {  # noqa: RUF012
        "edges": constraints.ordered_vector,
        "logits": constraints.real_vector,
    }
    support = constraints.real
    reparametrized_params = ["logits"]  # noqa: RUF012
    pytree_data_fields = ("edges", "logits")

    def __init__(self, edges: ArrayLike, logits: ArrayLike, *, validate_args: bool | None = None):
        self.edges, self.logits = jnp.asarray(edges, float), jnp.asarray(logits, float)
        if self.edges.ndim != 1 or self.edges.size < 4:
            raise DataError(f"edges must be a vector of at least 4 numbers, got shape {self.edges.shape}")
        if self.logits.ndim == 0 or self.logits.shape[-1] != self.edges.size - 1:
            raise DataError(
                f"{self.edges.size} edges make {self.edges.size - 1} bars, but logits have shape {self.logits.shape}; "
                "their last axis must be the bars"
            )
        if not isinstance(self.edges, jax.core.Tracer) and not np.all(np.diff(np.asarray(self.edges)) > 0):
            raise DataError("edges must be finite and increase")
        super().__init__(batch_shape=self.logits.shape[:-1], validate_args=validate_args)

    @property
    def num_bars(self) -> int:
        """The two tails included."""
        return self.edges.size - 1

    @property
    def probs(self) -> Array:
        """The mass of each bar, shape `(..., K)`."""
        return jax.nn.softmax(self.logits, axis=-1)

    @property
    def _scales(self) -> tuple[Array, Array]:
        """Those of the tails."""
        return (self.edges[1] - self.edges[0]) / _QUARTILE, (self.edges[-1] - self.edges[-2]) / _QUARTILE

    def _bar(self, value: Array) -> Array:
        return jnp.searchsorted(self.edges[1:-1], value, side="right")

    def _below(self) -> Array:
        """The mass below each bar, shape `(..., K)`."""
        probs = self.probs
        return jnp.cumsum(probs, axis=-1) - probs

    def _at(self, of_bars: Array, bar: Array) -> Array:
        """What a bar has, for values of any shape whose last axes are the batch."""
        shape = jnp.broadcast_shapes(bar.shape, self.batch_shape)
        whole = jnp.broadcast_to(of_bars, (*shape, self.num_bars))
        return jnp.take_along_axis(whole, jnp.broadcast_to(bar, shape)[..., None], axis=-1)[..., 0]

    # one program each: operation by operation they are a dozen, each compiled when it is first called
    @validate_sample  # type: ignore[untyped-decorator]
    @safe_jit
    def log_prob(self, value: ArrayLike) -> Array:
        """The log density."""
        value = jnp.asarray(value, float)
        bar, (left, right) = self._bar(value), self._scales
        first, last = bar == 0, bar == self.num_bars - 1
        scale = jnp.where(first, left, right)
        # where a value is in no tail it is moved to where the tail begins, so that its slope is finite
        beyond = jnp.where(first, self.edges[1] - value, jnp.where(last, value - self.edges[-2], 0.0)) / scale
        tail = 0.5 * jnp.log(2 / jnp.pi) - jnp.log(scale) - 0.5 * beyond**2
        inside = -jnp.log(jnp.diff(self.edges))[bar]
        return self._at(jax.nn.log_softmax(self.logits, axis=-1), bar) + jnp.where(first | last, tail, inside)

    @safe_jit
    def cdf(self, value: ArrayLike) -> Array:
        """The share of the mass below a number."""
        value = jnp.asarray(value, float)
        bar, (left, right) = self._bar(value), self._scales
        inside = (value - self.edges[bar]) / jnp.diff(self.edges)[bar]
        below = erfc((self.edges[1] - value) / (left * jnp.sqrt(2.0)))
        above = erf((value - self.edges[-2]) / (right * jnp.sqrt(2.0)))
        share = jnp.where(bar == 0, below, jnp.where(bar == self.num_bars - 1, above, inside))
        return self._at(self._below(), bar) + self._at(self.probs, bar) * share

    @safe_jit
    def icdf(self, q: ArrayLike) -> Array:
        """The inverse of `cdf`."""
        q = jnp.asarray(q, float)
        below, probs = self._below(), self.probs
        bar = jnp.sum(below[..., 1:] <= q[..., None], axis=-1)
        mass = self._at(probs, bar)
        share = jnp.clip((q - self._at(below, bar)) / jnp.where(mass > 0, mass, 1.0), 0.0, 1.0)
        left, right = self._scales
        first, last = bar == 0, bar == self.num_bars - 1
        rest = jnp.clip((1 - q) / jnp.where(mass > 0, mass, 1.0), 0.0, 1.0)
        in_tail = ndtri(jnp.where(first, share, jnp.where(last, rest, 0.5)) / 2)
        inside = self.edges[bar] + share * jnp.diff(self.edges)[bar]
        value = jnp.where(first, self.edges[1] + left * in_tail, inside)
        value = jnp.where(last, self.edges[-2] - right * in_tail, value)
        return jnp.where((q >= 0) & (q <= 1), value, jnp.nan)

    def sample(self, key: Array, sample_shape: tuple[int, ...] = ()) -> Array:
        """By inversion."""
        shape = (*sample_shape, *self.batch_shape)
        # neither 0 nor 1, which are infinitely far out
        tiny = jnp.finfo(self.logits.dtype).eps / 4
        return self.icdf(jax.random.uniform(key, shape, self.logits.dtype, minval=tiny, maxval=1 - 2 * tiny))

    @property
    def _moments(self) -> tuple[Array, Array]:
        """Mean and variance within each bar."""
        middles, widths = (self.edges[1:] + self.edges[:-1]) / 2, jnp.diff(self.edges)
        left, right = self._scales
        middles = middles.at[0].set(self.edges[1] - left * _HALF_NORMAL_MEAN)
        middles = middles.at[-1].set(self.edges[-2] + right * _HALF_NORMAL_MEAN)
        variances = widths**2 / 12
        spread = 1 - _HALF_NORMAL_MEAN**2
        return middles, variances.at[0].set(left**2 * spread).at[-1].set(right**2 * spread)

    @property
    @safe_jit
    def mean(self) -> Array:
        """That of all bars and both tails."""
        return jnp.sum(self.probs * self._moments[0], axis=-1)

    @property
    @safe_jit
    def variance(self) -> Array:
        """Likewise."""
        middles, variances = self._moments
        return jnp.sum(self.probs * ((middles - self.mean[..., None]) ** 2 + variances), axis=-1)

    @classmethod
    def mixture(cls, parts: Sequence[Histogram], weights: ArrayLike | None = None) -> Histogram:
        """A mixture of histograms on the same edges, which is one again.

        Args:
            parts: of one batch shape.
            weights: one for each, equal by default; they are divided by their sum.

        Raises:
            DataError: no parts, other edges, or weights that are no weights.
        """
        parts = list(parts)
        if not parts:
            raise DataError("a mixture needs at least one histogram")
        if any(part.edges.shape != parts[0].edges.shape or jnp.any(part.edges != parts[0].edges) for part in parts):
            raise DataError("the parts of a mixture must have the same edges")
        given = np.ones(len(parts)) if weights is None else np.asarray(weights, float)
        if given.shape != (len(parts),) or not (np.all(given >= 0) and 0 < given.sum() < np.inf):
            raise DataError(f"weights must be {len(parts)} numbers of at least 0, not all of them 0; got {weights}")
        logs = jnp.log(jnp.asarray(given / given.sum(), float))
        stacked = jnp.stack([jax.nn.log_softmax(part.logits, axis=-1) for part in parts], axis=-1)
        return cls(parts[0].edges, jax.nn.logsumexp(stacked + logs, axis=-1))


def equal_mass_edges(draws: ArrayLike, num_bars: int) -> np.ndarray:
    """Edges between which a sample has the same share in each bar.

    Half of the share of a tail lies within the outermost edges, as in :class:`Histogram`.

    Args:
        draws: the sample, of any shape.
        num_bars: at least 3.

    Raises:
        DataError: numbers that are not finite, or fewer different ones than are needed: edges would coincide.

    Example:
        >>> import numpy as np
        >>> equal_mass_edges(np.arange(101.0), 4)
        array([12.5, 25. , 50. , 75. , 87.5])
    """
    sample = np.ravel(np.asarray(draws, float))
    if num_bars < 3:
        raise DataError(f"num_bars must be at least 3, got {num_bars}")
    if not sample.size or not np.isfinite(sample).all():
        raise DataError("draws must be finite numbers, at least one")
    shares = np.linspace(0, 1, num_bars + 1)
    shares[0], shares[-1] = 0.5 / num_bars, 1 - 0.5 / num_bars
    edges = np.quantile(sample, shares)
    if not np.all(np.diff(edges) > 1e-6 * (edges[-1] - edges[0]) / num_bars) or edges[-1] == edges[0]:
        raise DataError(
            f"the draws have too few different values for {num_bars} bars of equal mass; take fewer bars, more draws, "
            "or a head for classes if they are counts"
        )
    return edges
