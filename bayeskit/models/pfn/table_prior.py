r"""`Table`: tables of many kinds with a class for each row, to train classifiers on.

Rows are drawn from clusters $z$, whose number, shapes and distances are drawn anew for each table:

.. math::

    u \mid z \sim N(\mu_z, S_z), \qquad
    x_j = \sqrt{\rho_j}\; w_j^\top u + \sqrt{1 - \rho_j}\; \epsilon_j + \delta_{zj}
    + \beta \sin(v_j^\top u + \phi_{zj}),

so that columns are correlated through the factors $u$. The class is that of the cluster, but for errors of labels
(linear and quadratic discriminant analysis, and mixtures), or it is drawn from a softmax of a linear function or of a
small random network of the columns or the factors, more or less steep. At last a column is seen through a warp of its
own: an exponential, a power, a limit, steps, arbitrary codes.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist

from bayeskit._settings import is_number, is_whole, require
from bayeskit._typing import Array

__all__ = ["Table"]

_FACTORS = 6
_CLUSTERS_A_CLASS = 3
_HIDDEN = 16
_LEVELS = 8
_CODES = 11
"""Prime, so that level * a + b modulo this is another code for each level."""
_NEVER = -1e9
_WARPS = np.exp([2.0, 0.5, 0.0, 0.5, -0.5, 0.0, -0.5, -0.5, -1.0])
"""How frequent the warps are, in the order of `Table._seen`; a table has a taste of its own."""


class _Rows(NamedTuple):
    """Rows before their columns are warped, shapes `(rows, features)`, `(rows, factors)` and `(rows,)`."""

    x: Array
    factors: Array
    classes: Array


class _Random(NamedTuple):
    """What is drawn for a table, by name. A site for each would be compiled for a minute: all are two sites."""

    normal: dict[str, Array]
    uniform: dict[str, Array]

    @classmethod
    def draw(cls, normal: dict[str, tuple[int, ...]], uniform: dict[str, tuple[int, ...]]) -> _Random:
        """Arrays of these shapes, standard normal and uniform on (0, 1)."""
        return cls(_parts("normal", dist.Normal(0.0, 1.0), normal), _parts("uniform", dist.Uniform(0.0, 1.0), uniform))

    def between(self, name: str, low: float, high: float) -> Array:
        """Uniform."""
        return low + (high - low) * self.uniform[name]

    def log_between(self, name: str, low: float, high: float) -> Array:
        """Of uniform logarithm."""
        return low * (high / low) ** self.uniform[name]

    def whether(self, name: str, probability: float) -> Array:
        """True with this probability."""
        return self.uniform[name] < probability

    def one_of(self, name: str, probabilities: Array) -> Array:
        """0, 1, ... with these probabilities, of shape `(k,)`, which need not add up to one."""
        ends = jnp.cumsum(probabilities)
        return jnp.sum(self.uniform[name][..., None] * ends[-1] > ends[:-1], axis=-1)

    def below(self, name: str, number: Array | int) -> Array:
        """0, ..., number - 1."""
        return jnp.minimum(jnp.floor(self.uniform[name] * number), jnp.asarray(number) - 1.0)


def _parts(site: str, law: dist.Distribution, shapes: dict[str, tuple[int, ...]]) -> dict[str, Array]:
    sizes = [math.prod(shape) for shape in shapes.values()]
    numbers = numpyro.sample(site, law.expand([sum(sizes)]).to_event(1))
    parts = jnp.split(numbers, np.cumsum(sizes)[:-1])
    return {name: part.reshape(shape) for (name, shape), part in zip(shapes.items(), parts, strict=True)}


def _standardise(x: Array) -> Array:
    """The columns of a table, which may be constant."""
    apart = x - x.mean(axis=0)
    return apart * jax.lax.rsqrt(jnp.mean(apart**2, axis=0) + 1e-6)


@dataclass(frozen=True)
class Table:
    r"""Classification of the rows of a table.

    The columns in use come first, and those after them are NaN, so that a network learns to take fewer; the classes in
    use are 0, 1, ..., any of which could have any other's place. Train with ``network="table"`` and ``missing=True``.

    Args:
        num_rows: rows of a data set.
        num_features: the most columns; at least one is used.
        num_classes: the most classes; at least two are used.
        max_missing: the largest share of a column that is missing; most tables have nothing missing.

    Example:
        >>> import jax
        >>> from bayeskit.models.pfn.table_prior import Table
        >>> from numpyro import handlers
        >>> @jax.jit
        ... def draw(key):
        ...     sites = handlers.trace(handlers.seed(Table(num_rows=9, num_features=5), key)).get_trace()
        ...     return sites["x"]["value"], sites["y"]["value"]
        >>> x, y = draw(jax.random.key(0))
        >>> x.shape, y.shape
        ((9, 5), (9,))
    """

    num_rows: int = 64
    num_features: int = 12
    num_classes: int = 4
    max_missing: float = 0.3

    def __post_init__(self) -> None:
        for name, least in (("num_rows", 2), ("num_features", 1), ("num_classes", 2)):
            value = getattr(self, name)
            require(is_whole(value) and value >= least, name, value, f"an integer of at least {least}")
        share = self.max_missing
        require(is_number(share) and 0 <= share < 1, "max_missing", share, "at least 0 and below 1")

    def __call__(self) -> None:
        """Draw a table: sites `x` and `y`."""
        draw = self._draw()
        num_live = 1 + draw.below("num_features", self.num_features)
        live = jnp.arange(self.num_features) < num_live
        # two classes in every other table
        rest = [1.0 / (self.num_classes - 2)] * (self.num_classes - 2) if self.num_classes > 2 else []
        num_classes = 2 + draw.one_of("num_classes", jnp.array([1.0, *rest]))
        rows = self._rows(draw, live, num_classes)
        logits = self._logits(draw, rows, live, num_classes)
        x = self._seen(draw, _standardise(rows.x))
        numpyro.deterministic("x", jnp.where(live, x, jnp.nan))
        with numpyro.plate("rows", self.num_rows):
            numpyro.sample("y", dist.Categorical(logits=logits))

    def _draw(self) -> _Random:
        rows, features, classes = self.num_rows, self.num_features, self.num_classes
        clusters, inputs = _CLUSTERS_A_CLASS * classes, features + _FACTORS
        normal: dict[str, tuple[int, ...]] = {
            "weights": (clusters,),
            "spreads": (clusters, _FACTORS),
            "centres": (clusters, _FACTORS),
            "within": (rows, _FACTORS),
            "loadings": (features, _FACTORS),
            "correlations": (features,),
            "shifts": (clusters, features),
            "noise": (rows, features),
            "directions": (features, _FACTORS),
            "phases": (clusters, features),
            "linear": (inputs, classes),
            "offsets": (classes,),
            "w0": (inputs, _HIDDEN),
            "b0": (_HIDDEN,),
            "w1": (_HIDDEN, _HIDDEN),
            "b1": (_HIDDEN,),
            "w2": (_HIDDEN, classes),
            "taste": (_WARPS.size,),
        }
        of_table = (
            "num_features num_classes clusters_a_class evenness where_apart num_factors factors_apart spreads_differ "
            "correlation relevant growth columns_apart bends bend turns teacher has_errors errors of_factors one_used "
            "share_used steepness imbalance activation roughness is_deep has_missing"
        )
        of_columns = "relevant_columns used shape low span num_levels code_step code_start warp missing"
        uniform: dict[str, tuple[int, ...]] = {
            "cluster": (rows,),
            "lost": (rows, features),
            **dict.fromkeys(of_table.split(), ()),
            **dict.fromkeys(of_columns.split(), (features,)),
        }
        return _Random.draw(normal, uniform)

    def _rows(self, draw: _Random, live: Array, num_classes: Array) -> _Rows:
        normal = draw.normal
        num_clusters = _CLUSTERS_A_CLASS * self.num_classes
        a_class = 1 + draw.one_of("clusters_a_class", jnp.array([0.6, 0.25, 0.15]))
        used = jnp.arange(num_clusters) < num_classes * a_class
        cluster = draw.one_of("cluster", used * jnp.exp(draw.between("evenness", 0.0, 0.8) * normal["weights"]))
        of_cluster = jax.nn.one_hot(cluster, num_clusters)
        # clusters are apart in columns, in factors, or in both
        apart = draw.one_of("where_apart", jnp.array([0.35, 0.35, 0.3]))
        num_factors = 1 + draw.below("num_factors", _FACTORS)
        factor_used = jnp.arange(_FACTORS) < num_factors

        centres = jnp.where(apart == 0, 0.0, draw.log_between("factors_apart", 0.5, 5.0)) * normal["centres"]
        spreads = jnp.exp(jnp.where(draw.whether("spreads_differ", 0.4), 0.5, 0.0) * normal["spreads"])
        factors = (of_cluster @ centres + (of_cluster @ spreads) * normal["within"]) * factor_used
        common = factors @ normal["loadings"].T / jnp.sqrt(num_factors)

        relevant = (draw.uniform["relevant_columns"] < draw.between("relevant", 0.1, 1.2)) & live
        # of two clusters, over all columns; whether it grows with their number differs from table to table
        distance = jnp.where(apart == 1, 0.0, draw.log_between("columns_apart", 0.8, 7.0))
        divide = jnp.maximum(2.0 * relevant.sum(), 1.0) ** draw.between("growth", 0.15, 0.5)
        shifts = of_cluster @ (distance / divide * relevant * normal["shifts"])

        shared = jax.nn.sigmoid(draw.between("correlation", -2.5, 2.5) + normal["correlations"])
        bend = jnp.where(draw.whether("bends", 0.25), draw.between("bend", 0.5, 3.0), 0.0)
        turns = draw.between("turns", 0.5, 2.5) * (factors @ normal["directions"].T) / jnp.sqrt(num_factors)
        bent = bend * jnp.sin(turns + jnp.pi * (of_cluster @ normal["phases"]))
        x = jnp.sqrt(shared) * common + jnp.sqrt(1 - shared) * normal["noise"] + shifts + bent
        return _Rows(x, factors, cluster % num_classes)

    def _logits(self, draw: _Random, rows: _Rows, live: Array, num_classes: Array) -> Array:
        possible = jnp.arange(self.num_classes) < num_classes
        errors = jnp.where(draw.whether("has_errors", 0.3), draw.between("errors", 0.0, 0.25), 1e-9)
        of_cluster = jnp.log((1 - errors) * jax.nn.one_hot(rows.classes, self.num_classes) + errors / num_classes)

        one = jnp.arange(self.num_features) == draw.below("one_used", live.sum())
        used = ((draw.uniform["used"] < draw.between("share_used", 0.1, 1.5)) & live) | one
        of_columns = used * _standardise(rows.x) / jnp.sqrt(used.sum())
        of_factors = draw.whether("of_factors", 0.3)
        parts = [jnp.where(of_factors, 0.0, of_columns), jnp.where(of_factors, _standardise(rows.factors), 0.0)]
        inputs = jnp.concatenate(parts, axis=1)
        teacher = draw.one_of("teacher", jnp.array([0.5, 0.2, 0.3]))
        score = jnp.where(teacher == 1, inputs @ draw.normal["linear"], self._network(draw, inputs))
        score = (score - score.mean(axis=0)) / jnp.sqrt(jnp.var(score) + 1e-6)
        score = score + draw.between("imbalance", 0.0, 0.8) * draw.normal["offsets"]
        steep = draw.log_between("steepness", 1.0, 40.0) * score
        return jnp.where(possible, jnp.where(teacher == 0, of_cluster, steep), _NEVER)

    def _network(self, draw: _Random, inputs: Array) -> Array:
        """A random function of inputs, shape `(rows, classes)`."""
        normal = draw.normal
        kind = draw.one_of("activation", jnp.ones(3))

        def bent(z: Array) -> Array:
            return jnp.select([kind == 0, kind == 1], [jnp.tanh(z), jax.nn.relu(z)], jnp.sin(z))

        first = bent(draw.log_between("roughness", 0.7, 4.0) * (inputs @ normal["w0"]) + normal["b0"])
        second = bent(first @ normal["w1"] / math.sqrt(_HIDDEN / 2) + normal["b1"])
        return jnp.where(draw.whether("is_deep", 0.5), second, first) @ normal["w2"]

    def _seen(self, draw: _Random, x: Array) -> Array:
        """Standardised columns as they are observed: warped, in steps, or missing."""
        shape, low = draw.uniform["shape"], draw.between("low", -2.0, 0.7)
        num_levels = 2 + jnp.floor(draw.uniform["num_levels"] ** 2 * (_LEVELS - 1.001))
        level = jnp.clip(jnp.floor((x + 2.0) / 4.0 * num_levels), 0, num_levels - 1)
        warps = [
            x,
            jnp.exp((0.2 + 1.3 * shape) * x),
            jnp.sign(x) * jnp.abs(x) ** (0.4 + 2.1 * shape),
            jnp.clip(x, low, low + draw.between("span", 0.7, 3.0)),
            jnp.tanh((0.5 + 2.0 * shape) * (x - low)),
            jnp.round(x * (0.6 + 4.0 * shape)),
            level,
            (x > low).astype(x.dtype),
            jnp.mod(level * (1 + draw.below("code_step", _CODES - 1)) + draw.below("code_start", _CODES), _CODES),
        ]
        kind = draw.one_of("warp", jnp.asarray(_WARPS) * jnp.exp(1.5 * draw.normal["taste"]))
        seen = jnp.select([kind == at for at in range(len(warps))], warps)
        share = jnp.where(draw.whether("has_missing", 0.2), self.max_missing, 0.0) * draw.uniform["missing"]
        return jnp.where(draw.uniform["lost"] < share, jnp.nan, seen)
