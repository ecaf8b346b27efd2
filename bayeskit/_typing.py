"""Types shared by all layers."""

from __future__ import annotations

import os
from argparse import Namespace
from collections.abc import Callable, Mapping
from types import SimpleNamespace
from typing import Any, Protocol, TypeAlias

import jax
import numpy as np


class Table(Protocol):
    """A table with named columns, such as one of pandas or polars."""

    @property
    def columns(self) -> Any: ...

    def __getitem__(self, name: Any, /) -> Any: ...


Array: TypeAlias = jax.Array
ArrayLike: TypeAlias = jax.Array | np.ndarray | float | int | bool
Key: TypeAlias = jax.Array | int
Values: TypeAlias = dict[str, Array]
Data: TypeAlias = "Mapping[str, object] | Table | Namespace | SimpleNamespace | str | os.PathLike[str]"
Model: TypeAlias = Callable[..., object]
