"""Do draws agree with published means and standard deviations? Arrays in, rows out."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from arviz_stats.base import array_stats

MAX_RHAT = 1.01
MIN_ESS = 400.0
MAX_SHIFT = 0.25
MAX_Z = 5.0


@dataclass(frozen=True)
class Row:
    """One parameter: how its chains mixed, and how far they are from the reference."""

    parameter: str
    rhat: float
    ess: float
    mean: float
    sd: float
    reference_mean: float
    reference_sd: float
    z_mean: float
    z_sd: float

    @property
    def shift(self) -> float:
        """The distance of the means in posterior standard deviations."""
        return abs(self.mean - self.reference_mean) / self.reference_sd

    @property
    def failures(self) -> list[str]:
        """Every bound that is not met, in words. Written so that NaN meets none."""
        means = f"mean {self.mean:.6g}, reference {self.reference_mean:.6g}"
        sds = f"sd {self.sd:.6g}, reference {self.reference_sd:.6g}"
        bounds = [
            (self.rhat < MAX_RHAT, f"R-hat {self.rhat:.4f}, not below {MAX_RHAT}"),
            (self.ess >= MIN_ESS, f"bulk ESS {self.ess:.0f}, below {MIN_ESS:.0f}"),
            (self.shift < MAX_SHIFT, f"{means}: {self.shift:.3f} sd apart"),
            (abs(self.z_mean) <= MAX_Z, f"{means}: z = {self.z_mean:.2f}"),
            (abs(self.z_sd) <= MAX_Z, f"{sds}: z = {self.z_sd:.2f}"),
        ]
        return [f"{self.parameter}: {message}" for met, message in bounds if not met]


def select(values: Mapping[str, np.ndarray], parameter: str) -> np.ndarray:
    """The draws ``(chain, draw)`` of a parameter named ``mu``, ``theta[1]`` or ``x[1,2]``, counted from one."""
    matched = re.fullmatch(r"(\w+?)(?:\[([\d,]+)\])?", parameter)
    if matched is None:
        raise ValueError(f"not the name of a parameter: {parameter!r}")
    site, inside = matched.groups()
    index = tuple(int(number) - 1 for number in inside.split(",")) if inside else ()
    draws = np.asarray(values[site], float)
    if draws.ndim != 2 + len(index):
        raise ValueError(f"{parameter!r} has {len(index)} indices, site {site!r} has shape {draws.shape[2:]}")
    return draws[(..., *index)]


def mcse_mean(draws: np.ndarray) -> float:
    """The Monte Carlo standard error of the mean of ``draws (chain, draw)``."""
    return float(array_stats.mcse(draws, method="mean"))


def mcse_sd(draws: np.ndarray) -> float:
    """The Monte Carlo standard error of the standard deviation of ``draws (chain, draw)``, by the delta method.

    It needs the effective sample size of the squared deviations. ``arviz_stats.mcse(method="sd")`` of release 0.8 puts
    in that of the draws themselves (arviz-stats issue 428, mended later), several times larger where the draws of NUTS
    are antithetic: its error is then too small.
    """
    squares = (draws - draws.mean()) ** 2
    effective = float(array_stats.ess(squares, method="mean"))
    return float(squares.std() / (2.0 * np.sqrt(squares.mean() * effective)))


def _standard_error_of_sd(reference: Mapping[str, float]) -> float:
    """As published; else ``sd / sqrt(2 n)`` as for ``n`` normal draws, with ``mcse_mean = sd / sqrt(n)``."""
    published = reference.get("mcse_sd")
    return reference["mcse_mean"] / np.sqrt(2.0) if published is None else published


def _z(ours: float, theirs: float, *errors: float) -> float:
    return float((ours - theirs) / np.sqrt(sum(error**2 for error in errors)))


def compare(values: Mapping[str, np.ndarray], reference: Mapping[str, Mapping[str, float]]) -> list[Row]:
    """A row for every parameter of the reference, from the sites' draws with leading axes ``(chain, draw)``.

    R-hat and the effective sample size are those of Vehtari et al. (2021, Bayesian Analysis 16, eq. 4 and section 3.2),
    rank-normalised and split.
    """
    rows = []
    for parameter, theirs in reference.items():
        draws = select(values, parameter)
        mean, sd = draws.mean(), draws.std(ddof=1)
        rows.append(
            Row(
                parameter=parameter,
                rhat=float(array_stats.rhat(draws, method="rank")),
                ess=float(array_stats.ess(draws, method="bulk")),
                mean=float(mean),
                sd=float(sd),
                reference_mean=theirs["mean"],
                reference_sd=theirs["sd"],
                z_mean=_z(mean, theirs["mean"], mcse_mean(draws), theirs["mcse_mean"]),
                z_sd=_z(sd, theirs["sd"], mcse_sd(draws), _standard_error_of_sd(theirs)),
            )
        )
    return rows
