"""Types shared by all layers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeAlias

import jax
import numpy as np

Array: TypeAlias = jax.Array
ArrayLike: TypeAlias = jax.Array | np.ndarray | float | int | bool
Key: TypeAlias = jax.Array | int
Values: TypeAlias = dict[str, Array]
Data: TypeAlias = Mapping[str, object]
Model: TypeAlias = Callable[..., object]
