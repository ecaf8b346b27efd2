"""Averages over the patches of a convolution: of single pixels, and of pairs of pixels that move together."""

from __future__ import annotations

from functools import reduce
from typing import NamedTuple

import jax
import jax.numpy as jnp

from bayeskit._keepable import keepable
from bayeskit._typing import Array
from bayeskit.errors import ModelError

__all__ = ["PADDINGS", "Patch"]

PADDINGS = ("SAME", "VALID", "CIRCULAR")


@keepable("nngp.Patch")
class Patch(NamedTuple):
    """The geometry of a convolution: pixels along both axes."""

    shape: tuple[int, int]
    strides: tuple[int, int]
    padding: str

    def borders(self, image: tuple[int, ...]) -> list[tuple[int, int]]:
        """Pixels added before and after, along both axes.

        Raises:
            ModelError: an image smaller than the filter, without padding.
        """
        if self.padding == "VALID":
            if image[0] < self.shape[0] or image[1] < self.shape[1]:
                raise ModelError(
                    f"the filter of Conv has shape {self.shape} and the images before it have {tuple(image)}: with "
                    "padding='VALID' nothing is left of them; use padding='SAME' or a smaller filter"
                )
            return [(0, 0), (0, 0)]
        extra = [
            max((-(-size // stride) - 1) * stride + width - size, 0)
            for size, stride, width in zip(image, self.strides, self.shape, strict=True)
        ]
        return [(total // 2, total - total // 2) for total in extra]

    def padded(self, x: Array, places: int) -> Array:
        """``x``, whose last ``2 * places`` axes are those of ``places`` pixels, with a border."""
        borders = self.borders(x.shape[-2:]) * places
        mode = "wrap" if self.padding == "CIRCULAR" else "constant"
        return jnp.pad(x, [(0, 0)] * (x.ndim - 2 * places) + borders, mode=mode)

    def average(self, x: Array, places: int) -> Array:
        """Over the patch, of what has its border already; with two places both pixels move together."""
        for axis, (width, stride) in enumerate(zip(self.shape, self.strides, strict=True)):
            axes = [x.ndim - 2 * place + axis for place in range(1, places + 1)]
            size = (x.shape[axes[0]] - width) // stride + 1
            parts = []
            for offset in range(width):
                part = x
                for moving in axes:
                    part = jax.lax.slice_in_dim(part, offset, offset + (size - 1) * stride + 1, stride, moving)
                parts.append(part)
            x = reduce(jnp.add, parts)
        return x / (self.shape[0] * self.shape[1])

    def distances(self, first: Array, second: Array, delta: Array) -> Array:
        """Squared distances of all pairs of pixels, with a border.

        A pixel outside is zero, so that its squared distance to one inside is the variance there.
        """
        padded = self.padded(delta, 2)
        if self.padding == "CIRCULAR":
            return padded
        (top, _), (left, _) = self.borders(delta.shape[-2:])
        inside = jnp.zeros(padded.shape[-2:], bool)
        inside = inside.at[top : top + delta.shape[-2], left : left + delta.shape[-1]].set(True)
        both = inside[:, :, None, None] & inside
        outside = (
            self.padded(first[..., 0, 0], 1)[..., None, None]
            + self.padded(second[..., 0, 0, :, :], 1)[..., None, None, :, :]
        )
        return jnp.where(both, padded, outside)
