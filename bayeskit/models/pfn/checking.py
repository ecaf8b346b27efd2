r"""`check`: whether what a network predicts is what the prior implies.

Data sets of the prior are predicted at several sizes of the context. If $q$ is the posterior predictive, then
$F_q(y)$ is uniform, so that a central interval of mass $c$ holds a share $c$ of the outputs, at every size. And the
mean log loss is that of the posterior predictive, which is known for some priors and had by NUTS for others.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np

from bayeskit._keys import as_key
from bayeskit._settings import is_whole, require
from bayeskit._typing import Key, Model
from bayeskit.errors import MethodError
from bayeskit.inference.method import Method
from bayeskit.models.pfn.by_nuts import conditioned, log_predictive
from bayeskit.models.pfn.net import Net
from bayeskit.models.pfn.prior import Prior
from bayeskit.models.pfn.reference import output_of
from bayeskit.xla.miscompilation import safe_jit

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

__all__ = ["Calibration", "check"]

LEVEL = 0.95
LOWEST, HIGHEST = 0.93, 0.98
MAX_GAP = 0.1
MAX_ERROR = 0.07
_AT_ONCE = 64
_BINS = 15


@dataclasses.dataclass(frozen=True, eq=False)
class Calibration:
    """How well a network predicts data of its prior.

    Attributes:
        sizes: rows of the contexts.
        nll: the mean log loss at each size, shape `(sizes,)`, with its standard errors.
        nll_error: these.
        held: the share of outputs in the central intervals of 95%; NaN for classes.
        held_error: standard errors, by data set.
        gap: the mean log loss over that of the exact posterior predictive, or of NUTS; NaN where neither is known.
        gap_error: standard errors.
        pit: $F_q(y)$ of all outputs; of classes the probability of the most probable one.
        calibration_error: of classes: the mean distance of probabilities from frequencies, in 15 bins; else NaN.
        against: what the gap is to.
    """

    sizes: np.ndarray
    nll: np.ndarray
    nll_error: np.ndarray
    held: np.ndarray
    held_error: np.ndarray
    gap: np.ndarray
    gap_error: np.ndarray
    pit: np.ndarray
    calibration_error: float
    against: str

    @property
    def findings(self) -> list[str]:
        """What is wrong, beyond two standard errors; nothing where all is well."""
        found = []
        for at, size in enumerate(self.sizes):
            held, error = self.held[at], 2 * self.held_error[at]
            if held + error < LOWEST or held - error > HIGHEST:
                found.append(f"intervals of 95% hold {held:.1%} of the outputs with {size} rows")
            if self.gap[at] - 2 * self.gap_error[at] > MAX_GAP:
                found.append(f"the loss is {self.gap[at]:.3f} nats above {self.against} with {size} rows")
        if self.calibration_error > MAX_ERROR:
            found.append(f"probabilities are off by {self.calibration_error:.3f} in the mean")
        return found

    @property
    def ok(self) -> bool:
        """Whether nothing was found."""
        return not self.findings

    @property
    def table(self) -> pd.DataFrame:
        """A row a size."""
        import pandas as pd

        columns = ("nll", "nll_error", "held", "held_error", "gap", "gap_error")
        index = pd.Index(self.sizes, name="rows")
        return pd.DataFrame({name: getattr(self, name) for name in columns}, index=index).dropna(axis=1, how="all")

    def __repr__(self) -> str:
        head = "OK: the network predicts what its prior implies" if self.ok else "NOT OK: " + "; ".join(self.findings)
        if not self.ok:
            head += "\n    Try: a longer training, a wider network, or more bars"
        return f"{head}\n{self.table.round(3).to_string()}"

    def plot(self, ax: Axes | None = None) -> Axes:
        """Of numbers the histogram of $F_q(y)$, level for a calibrated network; of classes that of probabilities."""
        import matplotlib.pyplot as plt

        ax = plt.subplots()[1] if ax is None else ax
        ax.hist(self.pit, 20, range=(0, 1), density=True, color="C0", alpha=0.7)
        if np.isnan(self.calibration_error):
            ax.axhline(1.0, color="black", lw=1)
            ax.set(xlabel="share of the predictive distribution below the output", ylabel="density")
        else:
            ax.set(xlabel="probability of the most probable class", ylabel="density")
        return ax


def check(
    net: Net,
    prior: Model,
    *,
    key: Key = 0,
    num_sets: int = 512,
    sizes: Sequence[int] | None = None,
    nuts: Method | None = None,
    num_nuts: int = 8,
) -> Calibration:
    """Hold a network against its prior.

    Args:
        net: trained on it.
        prior: the model.
        key: an integer seed or a JAX key; of data that the network has not seen.
        num_sets: data sets.
        sizes: rows of the contexts; by default none, a quarter, a half and all but one.
        nuts: a method such as ``bk.NUTS()``, to compare the loss with that of its posterior predictive.
        num_nuts: data sets for that, at each size.

    Raises:
        MethodError: sizes that the prior does not have, or another prior than the network was trained on.

    Example:
        >>> from bayeskit.models import pfn
        >>> pfn.check(pfn.pretrained("regression"), pfn.priors.Curve(), num_sets=64, sizes=[20]).ok
        True
    """
    read = Prior(prior)
    if read.fingerprint != net.facts.fingerprint:
        raise MethodError(f"the network was trained on the prior {net.facts.prior!r}, not on this {read.name!r}")
    most = read.num_rows - 1
    sizes = sorted({0, most // 4, most // 2, most}) if sizes is None else list(sizes)
    if not sizes or not all(is_whole(size) and 0 <= size <= most for size in sizes):
        raise MethodError(f"sizes must be integers from 0 to {most}, got {sizes!r}")
    for name, value in (("num_sets", num_sets), ("num_nuts", num_nuts)):
        require(is_whole(value) and value >= 2, name, value, "an integer of at least 2")
    draw_key, nuts_key = jax.random.split(as_key(key))
    x, y = map(np.asarray, read.draw(draw_key, num_sets))
    found = [_at_size(net, read, x, y, size) for size in sizes]
    rows: dict[str, Any] = {
        name: np.array([one[name] for one in found]) for name in found[0] if name not in ("pit", "right", "each")
    }
    pit = np.concatenate([one["pit"] for one in found])
    against = "the exact posterior predictive"
    if nuts is not None:
        against, model = type(nuts).__name__, conditioned(prior)
        gaps = []
        for at, size in enumerate(sizes):
            over = [
                np.mean(
                    log_predictive(prior, x[i], y[i], size, nuts, jax.random.fold_in(nuts_key, 1000 * at + i), model)
                    - found[at]["each"][i]
                )
                for i in range(min(num_nuts, num_sets))
            ]
            gaps.append((np.mean(over), np.std(over, ddof=1) / np.sqrt(len(over))))
        rows["gap"], rows["gap_error"] = map(np.array, zip(*gaps, strict=True))
    error = _calibration_error(pit, np.concatenate([one["right"] for one in found])) if read.num_classes else np.nan
    return Calibration(np.array(sizes), pit=pit, calibration_error=float(error), against=against, **rows)


def _at_size(net: Net, prior: Prior, x: np.ndarray, y: np.ndarray, size: int) -> dict[str, Any]:
    """Losses, intervals and gaps with the first rows shown."""
    known = jnp.arange(prior.num_rows) < size
    exact = getattr(prior.model, "exact", None)
    logs, shares, right, gaps = [], [], [], []
    for begin in range(0, len(y), _AT_ONCE):
        some_x, some_y = jnp.asarray(x[begin : begin + _AT_ONCE]), jnp.asarray(y[begin : begin + _AT_ONCE])
        shown = jnp.broadcast_to(known, some_y.shape)
        inputs = net.head.standardise(some_y)
        law: Any = net.head.distribution(output_of(net.network, net.standardise(some_x), inputs, shown))
        logs.append(np.asarray(law.log_prob(some_y))[:, size:])
        if prior.num_classes:
            probs = np.asarray(law.probs)[:, size:]
            shares.append(probs.max(axis=-1))
            right.append(probs.argmax(axis=-1) == np.asarray(some_y)[:, size:])
        else:
            shares.append(np.asarray(law.cdf(some_y))[:, size:])
        if exact is not None:
            gaps.append(np.asarray(_exact(prior)(some_x, some_y, shown))[:, size:] - logs[-1])
    each, pit = np.concatenate(logs), np.concatenate(shares)
    held = np.abs(pit - 0.5) < LEVEL / 2 if not prior.num_classes else np.full_like(pit, np.nan)
    gap = np.concatenate(gaps) if gaps else np.full_like(each, np.nan)
    found = {"each": each, "pit": pit.ravel(), "right": np.concatenate(right).ravel() if right else None}
    for name, values in (("nll", -each), ("held", held), ("gap", gap)):
        of_sets = values.mean(axis=1)
        found |= {name: of_sets.mean(), f"{name}_error": of_sets.std(ddof=1) / np.sqrt(len(of_sets))}
    return found


def _exact(prior: Prior) -> Any:
    exact = prior.model.exact  # type: ignore[attr-defined]
    if not hasattr(prior, "_exact_log_prob"):
        of_one = lambda x, y, known: exact(x, y, known, x).log_prob(y)  # noqa: E731
        prior._exact_log_prob = safe_jit(jax.vmap(of_one))  # type: ignore[attr-defined]
    return prior._exact_log_prob  # type: ignore[attr-defined]


def _calibration_error(confidence: np.ndarray, right: np.ndarray) -> float:
    bins = np.minimum((confidence * _BINS).astype(int), _BINS - 1)
    total = 0.0
    for at in range(_BINS):
        inside = bins == at
        if inside.any():
            total += abs(confidence[inside].mean() - right[inside].mean()) * inside.mean()
    return total
