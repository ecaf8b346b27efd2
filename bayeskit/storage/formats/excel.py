"""Excel workbooks, by pandas and openpyxl."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from bayeskit.errors import DataError
from bayeskit.storage.formats.format import Format, Value, plain

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["EXCEL"]


def _frame(path: Path) -> pd.DataFrame:
    """The first sheet; its first row names the columns."""
    import pandas as pd

    try:
        frame = pd.read_excel(path, engine="openpyxl")
    except ImportError:
        raise DataError(f'{path}: Excel files need openpyxl: pip install "bayeskit[excel]"') from None
    except (zipfile.BadZipFile, KeyError, ValueError) as error:
        raise DataError(f"{path} is not an Excel file, or it is damaged: {error}") from error
    if frame.empty:
        raise DataError(f"{path} has no rows in its first sheet")
    for i, name in enumerate(frame.columns):
        if str(name).startswith("Unnamed: "):
            raise DataError(f"{path}: column {i + 1} has no name; the first row of the first sheet names the columns")
    return frame.rename(columns=str)


def _read_excel(path: Path) -> dict[str, Value]:
    return {str(name): _values(path, str(name), column) for name, column in _frame(path).items()}


def _values(path: Path, name: str, column: pd.Series) -> Value:
    if column.dtype.kind == "M":
        raise DataError(f"{path}: {name!r} holds dates; bk.columns(path, dates=...) makes numbers of them")
    if column.dtype.kind in "OU" or str(column.dtype) == "str":
        return plain(path, name, np.array(["" if cell is None or cell != cell else cell for cell in column], object))
    return plain(path, name, column.to_numpy())


EXCEL = Format(
    (".xlsx",),
    'the first sheet, whose first row names the columns. Needs openpyxl: `pip install "bayeskit[excel]"`',
    _read_excel,
    _frame,
)
