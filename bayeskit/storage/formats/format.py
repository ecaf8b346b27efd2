"""What a data format is: its suffixes, a line of description, and a function from a path to values by name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from bayeskit.errors import DataError

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Format", "Value", "plain"]

Value: TypeAlias = np.ndarray | int | float | bool | str | None


@dataclass(frozen=True)
class Format:
    """A way to write data.

    Attributes:
        suffixes: of the files, with their dots and in small letters; the first one stands for the format.
        content: what a file holds, for the documentation.
        read: values by name, in the order of the file; raises `DataError` with path and place.
        frame: the file as a pandas frame, where that keeps more than `read` does: dates, the order of categories.
    """

    suffixes: tuple[str, ...]
    content: str
    read: Callable[[Path], dict[str, Value]]
    frame: Callable[[Path], pd.DataFrame] | None = None


def plain(path: Path, name: str, array: np.ndarray) -> Value:
    """An array that a model can be given; one without dimensions becomes a Python scalar.

    Raises:
        DataError: it holds neither numbers nor booleans nor strings.
    """
    if array.dtype.kind in "OTS" and all(isinstance(item, str | bytes) for item in array.flat):
        array = array.astype(str)
    if array.dtype.kind not in "biufU":
        raise DataError(f"{path}: {name!r} has dtype {array.dtype}; data are numbers, booleans or strings")
    return array.item() if array.ndim == 0 else array
