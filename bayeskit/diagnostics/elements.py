"""The scalar elements of a posterior, by name, and which of them never move."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import xarray as xr

from bayeskit.errors import StorageError

ROUNDING = 16
"""Spacings of numbers over which rounding may spread a constant: the diagonal of a correlation matrix is a sum of as
many squares as it has rows."""


@dataclass(frozen=True, eq=False)
class Site:
    """The draws of one variable, its event axes flattened.

    Attributes:
        name: the variable.
        draws: float array of shape ``(chain, draw, element)``.
        labels: the name of each element: ``theta[3]``, ``theta[Choate]``, or the site's own for a scalar.
        latent: whether the sampler moves it (false for deterministic sites).
        continuous: whether its values are floating-point numbers.
        eps: spacing of its type's numbers at one, 0 for integers.
    """

    name: str
    draws: np.ndarray
    labels: list[str]
    latent: bool
    continuous: bool
    eps: float

    @cached_property
    def finite(self) -> np.ndarray:
        """Which elements have finite draws only, shape ``(element,)``."""
        return np.isfinite(self.draws).all(axis=(0, 1))

    @cached_property
    def flat(self) -> np.ndarray:
        """Which chains never move an element (beyond rounding), shape ``(chain, element)``."""
        return self._no_range(self.draws, axis=1)

    @cached_property
    def constant(self) -> np.ndarray:
        """Which elements have one and the same value in every draw of every chain, shape ``(element,)``."""
        return self._no_range(self.draws, axis=(0, 1))

    def _no_range(self, draws: np.ndarray, axis: int | tuple[int, ...]) -> np.ndarray:
        with np.errstate(invalid="ignore"):
            extent = draws.max(axis=axis) - draws.min(axis=axis)
            return extent <= ROUNDING * self.eps * np.abs(draws).max(axis=axis)


def posterior_sites(post: xr.DataTree) -> list[Site]:
    """The variables of the group ``posterior``.

    Raises:
        StorageError: there is no posterior, or it has no variables, or not the axes ``(chain, draw)``.
    """
    if not isinstance(post, xr.DataTree):
        raise TypeError(
            f"expected the DataTree that infer returned (or bayeskit.load(path)), not {type(post).__name__}"
        )
    if "posterior" not in post.children:
        raise StorageError(f"the result has no group 'posterior'; it has {', '.join(post.children) or 'no group'}")
    if not post["posterior"].data_vars:
        raise StorageError("the posterior has no variables")
    return group_sites(post, "posterior")


def group_sites(post: xr.DataTree, group: str) -> list[Site]:
    """The variables of a group of draws that is there."""
    dataset = post[group].to_dataset()
    return [_site(str(name), variable) for name, variable in dataset.data_vars.items()]


def _site(name: str, variable: xr.DataArray) -> Site:
    missing = {"chain", "draw"} - set(variable.dims)
    if missing:
        raise StorageError(f"posterior variable {name!r} has no dimension {' and '.join(sorted(missing))}")
    if variable.dtype.kind not in "biuf":
        raise StorageError(f"posterior variable {name!r} has dtype {variable.dtype}; draws are numbers")
    ordered = variable.transpose("chain", "draw", ...)
    chains, draws = ordered.shape[:2]
    event = ordered.shape[2:]
    continuous = variable.dtype.kind == "f"
    return Site(
        name=name,
        draws=np.asarray(ordered.values).reshape(chains, draws, int(np.prod(event))).astype(float, copy=False),
        labels=_labels(name, ordered),
        latent=variable.attrs.get("site_kind", "latent") != "deterministic",
        continuous=continuous,
        eps=float(np.finfo(variable.dtype).eps) if continuous else 0.0,
    )


def _labels(name: str, variable: xr.DataArray) -> list[str]:
    event = variable.shape[2:]
    if not event:
        return [name]
    axes = [
        [str(label) for label in variable.coords[dim].values]
        if dim in variable.coords
        else [str(i) for i in range(size)]
        for dim, size in zip(variable.dims[2:], event, strict=True)
    ]
    return [
        f"{name}[{', '.join(axis[i] for axis, i in zip(axes, index, strict=True))}]" for index in np.ndindex(*event)
    ]
