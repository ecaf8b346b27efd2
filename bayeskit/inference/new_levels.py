"""Levels that a fit does not know: what stands in their plate has more elements than the fit, drawn from the prior."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import equinox as eqx
from numpyro import handlers

from bayeskit._typing import Array, Values
from bayeskit.program.tables import Given
from bayeskit.target.sites import SiteFacts

__all__ = ["Completed", "Part", "labels_of", "shape_in_fit"]


class Part(eqx.Module):
    """The first elements of a site in a plate that has grown since the fit."""

    value: Array


class Completed(handlers.substitute):
    """Draw the other elements of the sites in a plate that has grown; what is in a plate is independent."""

    def __init__(self, fn: Any, parts: Values):
        super().__init__(fn, data={})
        self.parts = parts

    def process_message(self, msg: Any) -> None:
        """NumPyro's hook."""
        if msg["type"] == "sample" and msg["name"] in self.parts:
            first = self.parts[msg["name"]]
            drawn = msg["fn"](rng_key=msg["kwargs"]["rng_key"])
            msg["value"] = drawn.at[tuple(slice(size) for size in first.shape)].set(first)


def shape_in_fit(site: SiteFacts, grown: Mapping[str, int]) -> tuple[int, ...]:
    """The shape that a site had where the plates that have grown had their former sizes."""
    shape = list(site.shape)
    for plate in site.plates:
        if plate.name in grown:
            shape[len(site.batch_shape) + plate.dim] = grown[plate.name]
    return tuple(shape)


def labels_of(table: Given, known: dict[str, SiteFacts]) -> dict[str, Sequence[object]]:
    """Labels of the dimensions that are levels of a table."""
    sizes = {str(d): n for site in known.values() for d, n in zip(site.dims(known), site.shape, strict=True) if d}
    return table.labels(sizes)
