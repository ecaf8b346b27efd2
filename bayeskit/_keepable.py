"""What a file can name: classes and functions, by names that never change, so that files outlive a module that moves.

A class says itself under which name it is kept, by the decorator `keepable`; nothing else lists them. What belongs to
another library goes by its public name there.
"""

from __future__ import annotations

import importlib
import importlib.util
import re
import sys
from collections.abc import Callable
from typing import NamedTuple, TypeVar

__all__ = ["KEPT", "computes_in_double", "find", "is_of_library", "keepable", "kind_of"]

T = TypeVar("T", bound=Callable[..., object])

KEPT = "bayeskit_kept"
"""The attribute that tells a file of what was fitted from one of a result; its value is the version of the format."""

LIBRARIES = (
    "jax.numpy",
    "jax.nn",
    "jax.lax",
    "jax.scipy.special",
    "numpyro.distributions",
    "numpyro.distributions.transforms",
    "numpyro.distributions.constraints",
    "tinygp.kernels",
    "tinygp.kernels.distance",
    "tinygp.kernels.quasisep",
    "tinygp.transforms",
    "xarray",
)
"""Modules of other libraries; what stands in them under its own name can be kept by it."""

_KIND = re.compile(r"(?P<home>[a-z][a-z0-9_]*(\.[a-z][a-z0-9_]*)*)\.[A-Za-z]\w*", re.ASCII)


class _Named(NamedTuple):
    thing: Callable[..., object]
    in_double: bool


_NAMED: dict[str, _Named] = {}
_KINDS: dict[object, str] = {}


def keepable(kind: str, *, in_double: bool = False) -> Callable[[T], T]:
    """Let :func:`bayeskit.save` write objects of a class, or objects that hold a function.

    A class must be a dataclass (an ``equinox.Module`` is one), a named tuple, an enumeration or a distribution of
    NumPyro. Its fields are written, and an object is made again from them without a call of its constructor. Of a
    function only the name and a hash of its source are written.

    What you name yourself must be imported before a file with it is loaded.

    Args:
        kind: its name in files, which must never change: ``"<home>.<name>"``. Within bayeskit the home is what is
            imported to find it, below ``bayeskit.models`` or ``bayeskit``.
        in_double: the class brings its arrays to float64 before it computes with them, whatever JAX's default is. So
            they may be loaded as they are where that default is float32; otherwise that is refused.

    Raises:
        ValueError: a name that is not of this form, or that something else has.

    Example:
        >>> import tempfile, jax, jax.numpy as jnp
        >>> import bayeskit as bk
        >>> from bayeskit.models import nngp
        >>> from bayeskit.storage import keepable
        >>> @keepable("mine.swish")
        ... def swish(x):
        ...     return x * jax.nn.sigmoid(x)
        >>> network = nngp.fully_connected(1, 1.5, activation=nngp.Activation(swish))
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     again = bk.load(bk.save(network, f"{folder}/network.nc"))
        >>> again.layers[1].function is swish
        True
    """
    if not _KIND.fullmatch(kind):
        raise ValueError(f"a name in files is written '<home>.<name>', such as 'mine.swish'; got {kind!r}")

    def named(thing: T) -> T:
        before = _NAMED.get(kind)
        if before is not None and _origin(before.thing) != _origin(thing):
            raise ValueError(f"{_origin(before.thing)} has the name {kind!r}; choose another for {_origin(thing)}")
        _NAMED[kind] = _Named(thing, in_double)
        _KINDS[thing] = kind
        return thing

    return named


def _origin(thing: Callable[..., object]) -> str:
    return f"{thing.__module__}.{thing.__qualname__}"


def kind_of(thing: object) -> str | None:
    """The name of a class or function in files, or ``None`` where it has none."""
    name = getattr(thing, "__name__", None)
    if not isinstance(name, str):
        return None
    if thing in _KINDS:
        return _KINDS[thing]
    for library in LIBRARIES:
        if getattr(sys.modules.get(library), name, None) is thing:
            return f"{library}.{name}"
    return None


def find(kind: str) -> object | None:
    """What has this name in files, imported where need be; or ``None``."""
    library, _, name = kind.rpartition(".")
    if library in LIBRARIES:
        return getattr(importlib.import_module(library), name, None)
    if kind not in _NAMED and (match := _KIND.fullmatch(kind)):
        _import_home(match["home"])
    return _NAMED[kind].thing if kind in _NAMED else None


def _import_home(home: str) -> None:
    for module in (f"bayeskit.models.{home}", f"bayeskit.{home}"):
        try:
            exists = importlib.util.find_spec(module) is not None
        except ModuleNotFoundError:  # of a package above it
            exists = False
        if exists:
            importlib.import_module(module)


def is_of_library(kind: str) -> bool:
    """Whether a name is that of something of another library, and not given by `keepable`."""
    return kind.rpartition(".")[0] in LIBRARIES


def computes_in_double(kind: str) -> bool:
    """Whether what has this name says that it computes in float64 whatever the default is."""
    return kind in _NAMED and _NAMED[kind].in_double
