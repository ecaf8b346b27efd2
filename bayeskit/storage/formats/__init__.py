"""Data formats, one file each, and the list of them."""

from bayeskit.storage.formats.arrow import FEATHER, PARQUET
from bayeskit.storage.formats.excel import EXCEL
from bayeskit.storage.formats.format import Format, Value
from bayeskit.storage.formats.json_object import JSON_OBJECT
from bayeskit.storage.formats.netcdf import NETCDF
from bayeskit.storage.formats.npz import NPZ
from bayeskit.storage.formats.table import CSV, TSV

FORMATS: tuple[Format, ...] = (
    JSON_OBJECT,
    CSV,
    TSV,
    NPZ,
    NETCDF,
    PARQUET,
    FEATHER,
    EXCEL,
)

__all__ = ["FORMATS", "Format", "Value"]
