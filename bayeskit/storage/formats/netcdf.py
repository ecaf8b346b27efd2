"""NetCDF."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np

from bayeskit.errors import DataError
from bayeskit.storage.formats.format import Format, Value, plain

__all__ = ["NETCDF"]


def _read_netcdf(path: Path) -> dict[str, Value]:
    import xarray as xr

    with path.open("rb") as handle:
        engine = "scipy" if handle.read(3) == b"CDF" else "h5netcdf"
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with xr.open_dataset(path, engine=engine, decode_times=False) as dataset:
                arrays = {str(name): np.asarray(variable.values) for name, variable in dataset.data_vars.items()}
    except Exception as error:
        raise DataError(f"{path} is not a NetCDF file, or it is damaged: {error or type(error).__name__}") from error
    if not arrays:
        raise DataError(f"{path} has no variables in its root group")
    return {name: plain(path, name, array) for name, array in arrays.items()}


NETCDF = Format((".nc", ".nc4", ".netcdf"), "the variables of the root group", _read_netcdf)
