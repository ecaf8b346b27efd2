"""The scalar elements of a posterior, by name, and which of them never move."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import xarray as xr

from bayeskit.errors import StorageError
from bayeskit.storage.chunks import stored

ROUNDING = 16
"""Spacings of numbers over which rounding may spread a constant: the diagonal of a correlation matrix is a sum of as
many squares as it has rows."""

PIECE = 2**25
"""Bytes of draws that are looked at together; at least one element."""


class Columns:
    """Draws of shape ``(chain, draw, element)`` that are read in pieces; the last piece read is kept.

    Args:
        shape: of the whole.
        read: the draws of some elements.
        last: what keeps a piece, shared by all that are not to be kept at once.
    """

    def __init__(self, shape: tuple[int, ...], read: Callable[[slice], np.ndarray], last: list[object]):
        self.shape, self.read, self.last = shape, read, last

    def like(self, read: Callable[[slice], np.ndarray], shape: tuple[int, ...]) -> Columns:
        """Other draws in the same place."""

        def quietly(elements: slice) -> np.ndarray:
            with np.errstate(invalid="ignore"):
                return read(elements)

        return Columns(shape, quietly, self.last)

    def block(self, elements: slice) -> np.ndarray:
        """The draws of some elements, kept until others are read."""
        if not (len(self.last) == 3 and self.last[0] is self and self.last[1] == elements):
            self.last.clear()  # before the next is read
            self.last.extend([self, elements, self.read(elements)])
        return np.asarray(self.last[2])


def _elements_at_once(shape: tuple[int, int, int]) -> int:
    return max(1, PIECE // max(1, 8 * shape[0] * shape[1]))


@dataclass(frozen=True, eq=False)
class Site:
    """The draws of one variable, its event axes flattened.

    Attributes:
        name: the variable.
        held: float array of shape ``(chain, draw, element)``, or what reads it in pieces.
        labels: the name of each element: ``theta[3]``, ``theta[Choate]``, or the site's own for a scalar.
        latent: whether the sampler moves it (false for deterministic sites).
        continuous: whether its values are floating-point numbers.
        eps: spacing of its type's numbers at one, 0 for integers.
        circular: whether the values are angles, or their sines and cosines.
        auxiliary_of: the variable that the model sees in the place of this one, several of whose values mean the same.
    """

    name: str
    held: np.ndarray | Columns
    labels: list[str]
    latent: bool
    continuous: bool
    eps: float
    circular: bool = False
    auxiliary_of: str = ""

    @property
    def shape(self) -> tuple[int, int, int]:
        """Chains, draws, elements."""
        chains, draws, elements = self.held.shape
        return chains, draws, elements

    @property
    def draws(self) -> np.ndarray:
        """All of it, shape ``(chain, draw, element)``; what is large is better had by `blocks`."""
        return self.part(slice(None))

    def part(self, elements: slice) -> np.ndarray:
        """The draws of some elements that follow one another, shape ``(chain, draw, element)``."""
        return self.held[:, :, elements] if isinstance(self.held, np.ndarray) else self.held.read(elements)

    def element(self, k: int) -> np.ndarray:
        """The draws of one element, shape ``(chain, draw)``."""
        if isinstance(self.held, np.ndarray):
            return self.held[:, :, k]
        step = _elements_at_once(self.shape)
        first = k // step * step
        return self.held.block(slice(first, min(first + step, self.shape[2])))[:, :, k - first]

    def blocks(self) -> Iterator[tuple[slice, np.ndarray]]:
        """All draws in pieces of a size that does not grow with the run: the elements, and their draws."""
        step = _elements_at_once(self.shape)
        for first in range(0, self.shape[2], step):
            elements = slice(first, min(first + step, self.shape[2]))
            yield elements, self.part(elements) if isinstance(self.held, np.ndarray) else self.held.block(elements)

    @property
    def finite(self) -> np.ndarray:
        """Which elements have finite draws only, shape ``(element,)``."""
        return self._facts[0]

    @property
    def flat(self) -> np.ndarray:
        """Which chains never move an element (beyond rounding), shape ``(chain, element)``."""
        return self._facts[1]

    @property
    def constant(self) -> np.ndarray:
        """Which elements have one and the same value in every draw of every chain, shape ``(element,)``."""
        return self._facts[2]

    @cached_property
    def _facts(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        chains, num_draws, count = self.shape
        finite, flat, constant = np.ones(count, bool), np.ones((chains, count), bool), np.ones(count, bool)
        if not num_draws:
            return finite, flat, constant
        for elements, draws in self.blocks():
            low, high = draws.min(axis=1), draws.max(axis=1)
            finite[elements] = np.isfinite(low).all(axis=0) & np.isfinite(high).all(axis=0)
            flat[:, elements] = self._no_range(low, high)
            constant[elements] = self._no_range(low.min(axis=0), high.max(axis=0))
        return finite, flat, constant

    def _no_range(self, low: np.ndarray, high: np.ndarray) -> np.ndarray:
        with np.errstate(invalid="ignore"):
            return high - low <= ROUNDING * self.eps * np.maximum(np.abs(low), np.abs(high))


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
    chains, draws, count = site.shape

    def read(elements: slice) -> np.ndarray:
        start, stop, _ = elements.indices(2 * count)
        parts = [
            function(site.part(slice(max(start - first, 0), min(stop - first, count))))
            for function, first in ((np.sin, 0), (np.cos, count))
            if max(start - first, 0) < min(stop - first, count)
        ]
        return np.concatenate(parts, axis=2) if parts else np.empty((chains, draws, 0))

    labels = [f"{function}({label})" for function in ("sin", "cos") for label in site.labels]
    return replace(mapped(site, read, (chains, draws, 2 * count)), labels=labels)


def mapped(site: Site, read: Callable[[slice], np.ndarray], shape: tuple[int, int, int]) -> Site:
    """A site with other draws, made of those of `site` where and when they are read."""
    with np.errstate(invalid="ignore"):
        return replace(
            site, held=read(slice(None)) if isinstance(site.held, np.ndarray) else site.held.like(read, shape)
        )


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
    dataset, last = post[group].to_dataset(), list[object]()
    names = {str(variable.attrs.get("site_name", name)): str(name) for name, variable in dataset.data_vars.items()}
    return [_site(str(name), variable, names, last) for name, variable in dataset.data_vars.items()]


def _site(name: str, variable: xr.DataArray, names: Mapping[str, str], last: list[object]) -> Site:
    missing = {"chain", "draw"} - set(variable.dims)
    if missing:
        raise StorageError(f"posterior variable {name!r} has no dimension {' and '.join(sorted(missing))}")
    if variable.dtype.kind not in "biuf":
        raise StorageError(f"posterior variable {name!r} has dtype {variable.dtype}; draws are numbers")
    ordered = variable.transpose("chain", "draw", ...)
    continuous = variable.dtype.kind == "f"
    return Site(
        name=name,
        held=_held(ordered, last),
        labels=element_labels(name, ordered),
        latent=variable.attrs.get("site_kind", "latent") != "deterministic",
        continuous=continuous,
        eps=float(np.finfo(variable.dtype).eps) if continuous else 0.0,
        circular=continuous and variable.attrs.get("support") == "circular",
        auxiliary_of=names.get(str(variable.attrs.get("auxiliary_of", "")), ""),
    )


def _held(variable: xr.DataArray, last: list[object]) -> np.ndarray | Columns:
    """The draws, with one axis for the elements; those of a store that are large stay there."""
    chains, draws, *event = variable.shape
    shape = (chains, draws, int(np.prod(event)))
    if stored(variable.variable) is None or 8 * int(np.prod(shape)) <= PIECE:
        return np.asarray(variable.values).reshape(shape).astype(float, copy=False)

    def read(elements: slice) -> np.ndarray:
        start, stop, _ = elements.indices(shape[2])
        if len(event) == 1:
            return np.asarray(variable[:, :, start:stop].values).astype(float, copy=False)
        out = np.empty((chains, draws, stop - start))
        for first in range(0, draws, step := max(1, PIECE // max(1, 8 * chains * shape[2]))):
            piece = np.asarray(variable[:, first : first + step].values)
            out[:, first : first + step] = piece.reshape(chains, -1, shape[2])[:, :, start:stop]
        return out

    return Columns(shape, read, last)


def element_labels(name: str, variable: xr.DataArray) -> list[str]:
    """Names of the elements of a variable with the dimensions ``(chain, draw, ...)``."""
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


def pieces(variable: xr.DataArray) -> Iterator[np.ndarray]:
    """All values of a variable, piece by piece along its draws where it is large and in a store."""
    if stored(variable.variable) is None:
        yield variable.values
        return
    chains, draws, *event = variable.shape
    step = max(1, PIECE // max(1, 8 * chains * int(np.prod(event))))
    for first in range(0, draws, step):
        yield variable[:, first : first + step].values
