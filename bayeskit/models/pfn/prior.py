"""`Prior`: a NumPyro model that draws inputs and outputs, as a stream of data sets."""

from __future__ import annotations

import hashlib
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
from numpyro import handlers

import bayeskit.program as program
from bayeskit._settings import source_hash
from bayeskit._spelling import did_you_mean
from bayeskit._typing import Array, Model
from bayeskit.errors import BayeskitError, ModelError
from bayeskit.program.surroundings import surroundings
from bayeskit.xla.miscompilation import safe_jit

__all__ = ["Prior"]

_AT_ONCE = 64
FINEST = 1e-4
"""The least spread of a column, as a share of its middle; float32 has seven digits."""


class Prior:
    """What a model draws, read once.

    Attributes:
        name: of the model.
        num_rows: rows of a data set.
        num_features: inputs of a row.
        num_classes: of the output; 0 where it is a real number.

    Args:
        model: a function without arguments with sites `x`, shape `(rows,)` or `(rows, features)`, and `y`, shape
            `(rows,)`. Rows must be exchangeable: a network forgets their order.

    Raises:
        ModelError: arguments, a missing site, a shape, a site drawn inside a JAX transformation.
    """

    def __init__(self, model: Model):
        if not callable(model):
            raise ModelError(f"a prior is a NumPyro model, a function that draws sites 'x' and 'y'; got {model!r}")
        self.model = model
        self.name = str(getattr(model, "__name__", type(model).__name__))
        self._draw_all = safe_jit(jax.vmap(self.draw_one))
        try:
            with numpyro.validation_enabled(False):  # what is drawn is looked at later, where the site can be named
                sites = _sites(model)
        except BayeskitError as error:
            raise type(error)(f"the prior {self.name!r}: {error}") from error
        for name in ("x", "y"):
            if name not in sites:
                raise ModelError(
                    f"the prior {self.name!r} has no site {name!r}; it must draw the inputs of a data set at 'x' and "
                    f"its outputs at 'y'{did_you_mean(name, sites, 'it has')}"
                )
        x, y = np.shape(sites["x"]["value"]), np.shape(sites["y"]["value"])
        if len(y) != 1 or len(x) not in (1, 2) or x[0] != y[0] or math.prod(x) == 0:
            raise ModelError(
                f"site 'x' must have shape (rows,) or (rows, features) and site 'y' shape (rows,); the prior "
                f"{self.name!r} draws {x} and {y}"
            )
        if y[0] < 2:
            raise ModelError(
                f"the prior {self.name!r} draws a single row; it needs one to predict and one to learn from"
            )
        self.num_rows, self.num_features = y[0], x[1] if len(x) == 2 else 1
        self.num_classes = _classes(sites["y"])

    def draw_one(self, key: Array) -> tuple[Array, Array]:
        """A data set, its rows in an order drawn anew; traced. Inputs `(rows, features)`, and outputs `(rows,)`.

        A model may draw its inputs in order, from a grid say. The rows that are shown are the first ones, and would
        always lie to the left of those that are asked for.
        """
        sites = handlers.trace(handlers.seed(self.model, key)).get_trace()
        x, y = jnp.asarray(sites["x"]["value"]), jnp.asarray(sites["y"]["value"])
        order = jax.random.permutation(jax.random.fold_in(key, 1), self.num_rows)
        x, y = x.astype(jnp.float32).reshape(self.num_rows, -1)[order], y[order]
        return x, y if self.num_classes else y.astype(jnp.float32)

    def draw(self, key: Array, num: int) -> tuple[Array, Array]:
        """Data sets, shapes `(num, rows, features)` and `(num, rows)`."""
        keys = jax.random.split(key, num + -num % _AT_ONCE)
        # a number of data sets at a time that is always the same: one program serves all
        parts = [self._draw_all(keys[begin : begin + _AT_ONCE]) for begin in range(0, num, _AT_ONCE)]
        x, y = (jnp.concatenate(part)[:num] for part in zip(*parts, strict=True))
        return x, y

    def look(self, key: Array, num: int, *, missing: bool) -> tuple[np.ndarray, np.ndarray]:
        """Some data sets, each number of which is looked at.

        Args:
            key: a JAX key.
            num: how many.
            missing: whether NaN in `x` is a value that is missing.

        Raises:
            ModelError: a number that is not finite, named by its site; an output that never changes.
        """
        x, y = map(np.asarray, self.draw(key, num))
        bad_y, bad_x = ~np.isfinite(y), ~np.isfinite(x) & ~(np.isnan(x) & missing)
        for name, bad in (("y", bad_y), ("x", bad_x)):
            if bad.any():
                share = bad.reshape(len(bad), -1).any(axis=1).mean()
                hint = ""
                if name == "x" and not np.isinf(x).any():
                    hint = "; if NaN stands for a missing input, pass missing=True"
                raise ModelError(
                    f"the prior {self.name!r} draws numbers at site {name!r} that are not finite, in {share:.0%} of "
                    f"its data sets{self._culprit(key, num, name)}{hint}"
                )
        for name, values in (("y", y.ravel()), *((f"x[:, {at}]", x[..., at].ravel()) for at in range(x.shape[-1]))):
            middle, spread = np.nanmean(values, dtype=float), np.nanstd(values, dtype=float)
            if 0 < spread < FINEST * abs(middle):
                raise ModelError(
                    f"{name} of the prior {self.name!r} varies by {spread:.1e} around {middle:.6g}, which float32 "
                    "hardly tells apart; subtract what is common in the model"
                )
        if np.ptp(y) == 0:
            raise ModelError(f"the prior {self.name!r} draws the same number at site 'y', {y.flat[0]}, every time")
        return x, y

    def _culprit(self, key: Array, num: int, of: str) -> str:
        """The first site before this one that is not finite, in the data sets that were looked at."""
        for each in jax.random.split(key, num + -num % _AT_ONCE):
            with numpyro.validation_enabled(False):
                sites = handlers.trace(handlers.seed(self.model, each)).get_trace()
            if np.isfinite(np.asarray(sites[of]["value"], float)).all():
                continue
            for name, site in sites.items():
                value = np.asarray(site["value"]) if site["type"] in ("sample", "deterministic") else np.zeros(1)
                if name != of and np.issubdtype(value.dtype, np.floating) and not np.isfinite(value).all():
                    return f"; the first such site is {name!r}"
            return ""
        return ""

    @property
    def fingerprint(self) -> str:
        """Equal where the model is the same code with the same settings, and reads the same from around it."""
        model: Any = self.model
        settings = repr(model) if hasattr(model, "__dataclass_fields__") else ""
        found = f"{self.name}:{source_hash(type(model) if settings else model)}:{settings}"
        around = [
            (name.rpartition(": ")[2], source_hash(value) if callable(value) else repr(value))
            for name, value in surroundings(model)
            if ": " in name
        ]
        return f"{found}:{hashlib.sha256(repr(around).encode()).hexdigest()[:16]}" if around else found


def _sites(model: Model) -> dict[str, dict[str, Any]]:
    """Those of one data set. Refuses what would be drawn wrongly.

    They are read from a trace: computed one by one, their operations would be a hundred programs to compile. How many
    values a discrete output has may depend on numbers, then they are; of categories and coins the shape says it.
    """
    sites: dict[str, dict[str, Any]] = {}

    def read() -> None:
        program.draw(program.bind(model, {}), key=0)
        sites.update(handlers.trace(handlers.seed(model, jax.random.key(0))).get_trace())

    jax.eval_shape(read)
    law = _of_one_row(sites.get("y", {}).get("fn"))
    if getattr(law, "is_discrete", False) and not isinstance(law, _COUNTED_BY_SHAPE):
        return dict(handlers.trace(handlers.seed(model, jax.random.key(0))).get_trace())
    return sites


_COUNTED_BY_SHAPE = (dist.CategoricalProbs, dist.CategoricalLogits, dist.BernoulliProbs, dist.BernoulliLogits)


def _of_one_row(law: Any) -> Any:
    """Without what NumPyro puts around the law of one for that of many."""
    while isinstance(law, dist.ExpandedDistribution | dist.Independent):
        law = law.base_dist
    return law


def _classes(site: dict[str, Any]) -> int:
    """How many classes an output has; 0 for a real number."""
    law: Any = site.get("fn")
    discrete = site["type"] == "sample" and getattr(law, "is_discrete", False)
    if not discrete:
        if jnp.issubdtype(jnp.result_type(site["value"]), jnp.floating):
            return 0
        raise ModelError("site 'y' is an integer that no distribution has drawn; draw it from a Categorical")
    law = _of_one_row(law)
    try:
        values = np.asarray(law.enumerate_support(expand=False)).ravel()
    except NotImplementedError:
        raise ModelError(
            f"site 'y' is drawn from {type(law).__name__}, which has infinitely many values; a network predicts real "
            "numbers or a few classes"
        ) from None
    if not np.array_equal(values, np.arange(len(values))):
        raise ModelError(f"site 'y' has the values {values.tolist()}; classes must be named 0, 1, ...")
    return len(values)
