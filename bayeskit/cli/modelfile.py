"""Load a model file: a Python file with a NumPyro function, and what turns a table into its arguments.

========================== ======================================================================================
name in the file           what it is
========================== ======================================================================================
``model(...)``             the NumPyro function; its arguments are the names of the data
``data(columns)``          optional: from the columns of the data file to the arguments of the model
``coords``, ``dims``       optional: labels by dimension and dimensions by site; mappings, or functions of the columns
========================== ======================================================================================
"""

from __future__ import annotations

import importlib.util
import sys
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from bayeskit._spelling import did_you_mean
from bayeskit.errors import BayeskitError, DataError, ModelError


@dataclass(frozen=True)
class ModelFile:
    """A loaded model file.

    Attributes:
        path: the file.
        model: the NumPyro function.
        module: the module, for its optional parts.
    """

    path: Path
    model: Callable[..., object]
    module: ModuleType

    @property
    def has_data(self) -> bool:
        """Whether the file says itself what the arguments of its model are."""
        return hasattr(self.module, "data")

    def arguments(self, columns: Mapping[str, object], source: str) -> dict[str, object]:
        """The arguments of the model: the columns as they are, or what the file's ``data`` makes of them."""
        prepare = getattr(self.module, "data", None)
        if prepare is None:
            return dict(columns)
        arguments = self._call("data", prepare, columns, source)
        if not isinstance(arguments, Mapping):
            raise DataError(f"{self.path}: data(columns) must return a mapping, not {type(arguments).__name__}")
        return dict(arguments)

    def labels(self, name: str, columns: Mapping[str, object], source: str) -> dict[str, Any] | None:
        """The file's ``coords`` or ``dims``, or ``None`` where it has none."""
        given = getattr(self.module, name, None)
        if callable(given):
            given = self._call(name, given, columns, source)
        if given is not None and not isinstance(given, Mapping):
            raise ModelError(f"{self.path}: {name} must be a mapping, not {type(given).__name__}")
        return None if given is None else dict(given)

    def blame(self, error: Exception) -> ModelError | None:
        """The error with its line in this file, or ``None`` when it did not come from here."""
        line = _line_in(self.path, error)
        return ModelError(f"{self.path}{line}: {_describe(error)}") if line else None

    def blame_cause(self, error: BayeskitError) -> ModelError | None:
        """The cause of an error with its line in this file, where the error only repeats the cause."""
        cause = error.__cause__
        return self.blame(cause) if isinstance(cause, Exception) and _describe(cause) in str(error) else None

    def _call(self, name: str, function: Callable[..., object], columns: Mapping[str, object], source: str) -> object:
        try:
            return function(dict(columns))
        except Exception as error:
            line = _line_in(self.path, error)
            raise DataError(
                f"{self.path}{line}: {name}(columns) failed with {_describe(error)}; {source} has {', '.join(columns)}"
            ) from error


def load_model(spec: str | Path) -> ModelFile:
    """Load `path.py`, or `path.py:function` for a function that is not called ``model``.

    Args:
        spec: the file, with the function's name after a colon if it is not ``model``.

    Raises:
        ModelError: no such file, an error in it (with its line), or no such function.
    """
    text = str(spec)
    head, colon, function = text.rpartition(":")
    if not colon or not head.endswith(".py"):
        head, function = text, "model"
    path = Path(head)
    if path.suffix != ".py":
        raise ModelError(f"a model file ends in .py, not {path.name!r}")
    if not path.is_file():
        raise ModelError(f"there is no model file {path}")
    module = _execute(path)
    found = getattr(module, function, None)
    if found is None:
        functions = [name for name, value in vars(module).items() if callable(value) and not name.startswith("_")]
        hint = did_you_mean(function, functions, "known:") if functions else ""
        raise ModelError(f"{path} defines no function {function!r}{hint}")
    if not callable(found):
        raise ModelError(f"{path}: {function!r} is not a function but {type(found).__name__}")
    return ModelFile(path, found, module)


def _execute(path: Path) -> ModuleType:
    name = f"models.{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise ModelError(f"{path} cannot be imported")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    folder = str(path.resolve().parent)
    if folder not in sys.path:
        sys.path.append(folder)  # last, so that a neighbour called random.py hides nothing
    try:
        spec.loader.exec_module(module)
    except SyntaxError as error:
        raise ModelError(f"{error.filename or path}, line {error.lineno}: {error.msg}") from error
    except UnicodeDecodeError as error:
        raise ModelError(f"{path} is not text in UTF-8: {error}") from error
    except Exception as error:
        raise ModelError(f"{path}{_line_in(path, error)}: {_describe(error)}") from error
    return module


def _describe(error: Exception) -> str:
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__


def _line_in(path: Path, error: BaseException) -> str:
    """`, line 12`: the last line of the file on the way to the error."""
    here = path.resolve()
    lines = [
        frame.lineno for frame in traceback.extract_tb(error.__traceback__) if Path(frame.filename).resolve() == here
    ]
    return f", line {lines[-1]}" if lines else ""
