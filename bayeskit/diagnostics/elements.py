"""The scalar elements of a posterior, by name, and which of them never move."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
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
        circular: whether the values are angles, or their sines and cosines.
        auxiliary_of: the variable that the model sees in the place of this one, several of whose values mean the same.
    """

    name: str
    draws: np.ndarray
    labels: list[str]
    latent: bool
    continuous: bool
    eps: float
    circular: bool = False
    auxiliary_of: str = ""

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


def judged(sites: list[Site]) -> list[Site]:
    """The sites as they are judged.

    An angle is judged by its sine and its cosine, which know nothing of where its values are cut. An auxiliary site is
    not judged where the site that the model sees is there: chains may differ by what makes no difference. In return
    that one is judged like a site that the sampler moves.
    """
    covered = hidden(sites)
    seen = {site.auxiliary_of for site in sites if site.name in covered}
    kept = [replace(site, latent=site.latent or site.name in seen) for site in sites if site.name not in covered]
    return [_on_the_circle(site) if site.circular else site for site in kept]


def hidden(sites: list[Site]) -> dict[str, str]:
    """The auxiliary sites that are not judged, each with the site that is judged in its place."""
    seen = {site.name for site in sites if not site.auxiliary_of}
    return {site.name: site.auxiliary_of for site in sites if site.auxiliary_of in seen}


def _on_the_circle(site: Site) -> Site:
    with np.errstate(invalid="ignore"):
        draws = np.concatenate([np.sin(site.draws), np.cos(site.draws)], axis=2)
    labels = [f"{function}({label})" for function in ("sin", "cos") for label in site.labels]
    return replace(site, draws=draws, labels=labels)


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
    stored = {str(variable.attrs.get("site_name", name)): str(name) for name, variable in dataset.data_vars.items()}
    return [_site(str(name), variable, stored) for name, variable in dataset.data_vars.items()]


def _site(name: str, variable: xr.DataArray, stored: Mapping[str, str]) -> Site:
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
        circular=continuous and variable.attrs.get("support") == "circular",
        auxiliary_of=stored.get(str(variable.attrs.get("auxiliary_of", "")), ""),
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
