r"""What the ranks of :func:`bayeskit.sbc` say: a table, and the findings of the verdict."""

from __future__ import annotations

import numpy as np
import pandas as pd
import xarray as xr

from bayeskit.diagnostics.uniformity import chi_square_p_value, grid_of, uniformity_p_values
from bayeskit.diagnostics.verdict import Finding, Measure
from bayeskit.errors import StorageError

__all__ = ["calibration", "is_of_ranks", "ranks_findings", "uniform_numbers"]

LEVEL = 0.01
"""Of all elements together: one right method in a hundred is refused."""
COVERAGES = (0.5, 0.9)
LEAST = 5
FEWEST_REPLICATES = 100
FEWEST_DRAWS = 9
FAILED = 0.05
STUCK = 0.1
_CLEAR = 3.0  # standard errors from which on a shape is named


def calibration(ranks: xr.DataTree) -> pd.DataFrame:
    r"""One row for each test quantity of :func:`bayeskit.sbc`: are its ranks uniform, and if not, how?

    With :math:`u` the ranks as numbers in (0, 1), the columns are

    - ``p``: the p-value of the cumulative distribution of :math:`u` against simultaneous bands, exactly;
      ``p_adjusted``: the same by Holm's rule for as many as there are rows; ``p_chi2``: Pearson's test in equal bins;
    - ``shift``: :math:`\sqrt{12 N} (\bar u - 1/2)`, a standard normal number if all is well; positive where the draws
      lie below the truth;
    - ``spread``: :math:`\sqrt{180 N} (\overline{(u - 1/2)^2} - 1/12)`, the same; positive where the draws are spread
      too narrowly, negative where too widely;
    - ``cover_50`` and ``cover_90``: the share of truths within the central intervals that should hold 50% and 90%;
    - ``shape``: ``"too narrow"``, ``"too wide"``, ``"too low"``, ``"too high"`` (the draws, compared with the
      posterior), ``"skewed"``, or ``""`` where nothing is found at the level 1% of all rows together.

    Args:
        ranks: the result of :func:`bayeskit.sbc`.

    Returns:
        The table, the worst first.

    Raises:
        StorageError: there are no ranks, or fewer than five of them.

    Example:
        >>> import numpy as np, xarray as xr
        >>> import bayeskit as bk
        >>> u = np.random.default_rng(0).uniform(size=(300, 2))
        >>> pit = xr.Dataset({"mu": ("replicate", u[:, 0]), "tau": ("replicate", 0.5 + 0.6 * (u[:, 1] - 0.5))})
        >>> table = bk.calibration(xr.DataTree.from_dict({"/pit": pit}))
        >>> table["shape"].to_dict()
        {'tau': 'too wide', 'mu': ''}

    References:
        Säilynoja, Bürkner and Vehtari (2022), Statistics and Computing 32, section 2; Holm (1979), Scandinavian
        Journal of Statistics 6.
    """
    names, numbers, most_draws = uniform_numbers(ranks)
    total = len(numbers)
    p = uniformity_p_values(numbers, grid_of(most_draws))
    shift = np.sqrt(12.0 * total) * (numbers.mean(axis=0) - 0.5)
    spread = np.sqrt(180.0 * total) * (((numbers - 0.5) ** 2).mean(axis=0) - 1.0 / 12.0)
    adjusted = _holm(p)
    covered = {f"cover_{round(100 * c)}": (np.abs(numbers - 0.5) < c / 2).mean(axis=0) for c in COVERAGES}
    shapes = [_shape(*row) for row in zip(adjusted, shift, spread, strict=True)]
    columns = {"p": p, "p_adjusted": adjusted, "p_chi2": chi_square_p_value(numbers), "shift": shift, "spread": spread}
    table = pd.DataFrame({**columns, **covered, "shape": shapes}, index=names)
    return table.iloc[np.argsort(p, kind="stable")]


def is_of_ranks(tree: xr.DataTree) -> bool:
    """Whether a tree is a result of :func:`bayeskit.sbc`."""
    return {"pit", "replicates"} <= tree.children.keys()


def uniform_numbers(ranks: xr.DataTree) -> tuple[list[str], np.ndarray, int]:
    """Names of elements, their ranks as numbers in (0, 1), shape ``(replicate, element)``, and the most draws kept.

    Raises:
        StorageError: there are none, or fewer than five.
    """
    if not isinstance(ranks, xr.DataTree) or "pit" not in ranks.children or not ranks["pit"].data_vars:
        raise StorageError(
            "there are no ranks: expected the DataTree that bayeskit.sbc returned, with a fit that worked"
        )
    names: list[str] = []
    columns = []
    for name, variable in ranks["pit"].data_vars.items():
        ordered = variable.transpose("replicate", ...)
        event = ordered.shape[1:]
        columns.append(np.asarray(ordered.values).reshape(len(ordered), -1))
        names += [_label(str(name), ordered, index) for index in np.ndindex(*event)]
    numbers = np.concatenate(columns, axis=1)
    known = numbers[~np.isnan(numbers).all(axis=1)]
    if len(known) < LEAST:
        raise StorageError(f"{len(known)} replicates have ranks; at least {LEAST} are needed to say anything")
    if not ((known > 0.0) & (known < 1.0)).all():
        raise StorageError("the group 'pit' must hold numbers between 0 and 1")
    return names, known, int(ranks.attrs.get("num_draws", 99))


def ranks_findings(tree: xr.DataTree) -> tuple[list[Finding], list[Measure]]:
    """What is wrong with the ranks, and with the fits that they come from."""
    replicates = tree["replicates"].to_dataset()
    findings = _unfinished(tree) + _failed(replicates) + _stuck(replicates) + _diverging(replicates)
    if (replicates["failure"] == "").sum() < LEAST and findings:
        return findings, []  # nothing to be tested, and that has been said
    table = calibration(tree)
    _, numbers, _ = uniform_numbers(tree)
    worst = str(table.index[0])
    measures = [Measure("min p-value, adjusted", float(table["p_adjusted"].iloc[0]), LEVEL, worst)]
    measures.append(Measure("min ESS of a fit", float(replicates["ess"].min()), FEWEST_DRAWS))
    return [*_miscalibrated(table), *findings, *_few(len(numbers))], measures


_MEANINGS = {
    "too narrow": "the draws are spread too narrowly: the truth lies outside of them too often",
    "too wide": "the draws are spread too widely: the truth lies in their middle too often",
    "too low": "the draws are too low: the truth lies above them too often",
    "too high": "the draws are too high: the truth lies below them too often",
    "skewed": "the draws have another shape than the posterior",
}


def _miscalibrated(table: pd.DataFrame) -> list[Finding]:
    bad = table[table["shape"] != ""]
    if bad.empty:
        return []
    ways = [(shape, [str(n) for n in rows.index]) for shape, rows in bad.groupby("shape", sort=False)]
    told = "; ".join(f"of {_some(names)}, {_MEANINGS[str(shape)]}" for shape, names in ways)
    return [
        Finding(
            "miscalibrated",
            "error",
            tuple(f"{name} ({row['shape']})" for name, row in bad.iterrows()),
            float(bad["p_adjusted"].iloc[0]),
            LEVEL,
            "The method does not draw from the posterior of this model: the ranks of simulated truths are not uniform "
            f"(adjusted p = {bad['p_adjusted'].iloc[0]:.1g}): {told}.",
            "if the model that is fitted is the one that is simulated, another method, more steps, or another "
            "parameterisation; bayeskit.plot_calibration(ranks) shows how far off it is.",
        )
    ]


def _unfinished(tree: xr.DataTree) -> list[Finding]:
    if "interrupted" not in tree.attrs:
        return []
    done, wanted = tree["replicates"].sizes["replicate"], int(tree.attrs["num_replicates"])
    meaning = f"The calibration was stopped by hand: these are {done} of {wanted} replicates."
    return [Finding("unfinished", "warning", (), float(done), float(wanted), meaning, "run it again to its end.")]


def _failed(replicates: xr.Dataset) -> list[Finding]:
    messages = [str(m) for m in replicates["failure"].values if str(m)]
    if not messages:
        return []
    share = len(messages) / replicates.sizes["replicate"]
    kinds = sorted(set(messages), key=messages.count, reverse=True)
    return [
        Finding(
            "failed_replicates",
            "error" if share > FAILED else "warning",
            (),
            share,
            FAILED,
            f"{len(messages)} of {replicates.sizes['replicate']} fits have failed, and have no ranks: {kinds[0]}",
            "priors that make data on which the method works; the messages are in ranks['replicates/failure'].",
        )
    ]


def _stuck(replicates: xr.Dataset) -> list[Finding]:
    fits = replicates["ess"].values[replicates["failure"].values == ""]
    stuck = int((fits < FEWEST_DRAWS).sum())
    if not stuck:
        return []
    return [
        Finding(
            "stuck_replicates",
            "error" if stuck > STUCK * len(fits) else "warning",
            (),
            stuck / len(fits),
            STUCK,
            f"{stuck} of {len(fits)} fits are worth fewer than {FEWEST_DRAWS} independent draws: their ranks are those "
            "of chains that do not move.",
            "more draws, or another parameterisation.",
        )
    ]


def _diverging(replicates: xr.Dataset) -> list[Finding]:
    count = int((replicates["num_divergences"].values > 0).sum())
    if count <= FAILED * replicates.sizes["replicate"]:
        return []
    return [
        Finding(
            "divergent_replicates",
            "warning",
            (),
            count / replicates.sizes["replicate"],
            FAILED,
            f"{count} of {replicates.sizes['replicate']} fits have divergent transitions.",
            "a higher target_accept, or a non-centred parameterisation.",
        )
    ]


def _few(total: int) -> list[Finding]:
    if total >= FEWEST_REPLICATES:
        return []
    return [
        Finding(
            "few_replicates",
            "warning",
            (),
            float(total),
            float(FEWEST_REPLICATES),
            f"{total} replicates show gross errors only.",
            "num_replicates=300.",
        )
    ]


def _shape(adjusted: float, shift: float, spread: float) -> str:
    if adjusted >= LEVEL:
        return ""
    if max(abs(shift), abs(spread)) < _CLEAR:
        return "skewed"
    if abs(shift) > abs(spread):
        return "too low" if shift > 0 else "too high"
    return "too narrow" if spread > 0 else "too wide"


def _holm(p: np.ndarray) -> np.ndarray:
    order = np.argsort(p)
    stepped = np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1))
    out = np.empty_like(p)
    out[order] = np.minimum(stepped, 1.0)
    return out


def _label(name: str, variable: xr.DataArray, index: tuple[int, ...]) -> str:
    if not index:
        return name
    dims = variable.dims[1:]
    parts = [
        str(variable.coords[d].values[i]) if d in variable.coords else str(i) for d, i in zip(dims, index, strict=True)
    ]
    return f"{name}[{', '.join(parts)}]"


def _some(names: list[str], most: int = 4) -> str:
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")
