"""What a run leaves behind: the DataTree, its files, the store of a run under way, and data files.

The names are loaded on first use (PEP 562): xarray alone costs a third of a second.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

_EXPORTS = {
    "make_tree": "bayeskit.storage.tree",
    "add_group": "bayeskit.storage.tree",
    "site_values": "bayeskit.storage.tree",
    "save": "bayeskit.storage.files",
    "load": "bayeskit.storage.files",
    "read_data": "bayeskit.storage.data",
    "Checkpoint": "bayeskit.storage.run_store",
    "RunStore": "bayeskit.storage.run_store",
}

__all__ = ["Checkpoint", "RunStore", "add_group", "load", "make_tree", "read_data", "save", "site_values"]


def __getattr__(name: str) -> object:
    if name not in _EXPORTS:
        raise AttributeError(f"module 'bayeskit.storage' has no attribute {name!r}")
    value = getattr(importlib.import_module(_EXPORTS[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__


if TYPE_CHECKING:
    from bayeskit.storage.data import read_data
    from bayeskit.storage.files import load, save
    from bayeskit.storage.run_store import Checkpoint, RunStore
    from bayeskit.storage.tree import add_group, make_tree, site_values
