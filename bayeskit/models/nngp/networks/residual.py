"""Branches that are added: skip connections."""

# ruff: noqa: D102  (methods are described by the abstract class)

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from functools import reduce

import jax.numpy as jnp

from bayeskit._keepable import keepable
from bayeskit._typing import Array
from bayeskit.errors import ModelError
from bayeskit.models.nngp.networks.layers import Layer
from bayeskit.models.nngp.networks.second_moments import Marginals, Pairs
from bayeskit.models.nngp.networks.signal import Signal

__all__ = ["Residual"]


@keepable("nngp.Residual")
class Residual(Layer):
    r"""The sum of branches that share their input; with one branch $h$, the residual block $x + h(x)$.

    Covariances and tangent kernels add, $K' = \sum_k K^{(k)}$ and $\Theta' = \sum_k \Theta^{(k)}$, because the cross
    terms vanish: all branches but one must end in weights of their own, that is in a Dense or Conv (perhaps followed
    by layers that keep a mean of zero: LayerNorm, Flatten, GlobalPool). :func:`residual` makes it.

    Attributes:
        branches: the layers of each; none is the identity.
    """

    branches: tuple[tuple[Layer, ...], ...]

    def parts(self) -> Iterator[Layer]:
        for branch in self.branches:
            for layer in branch:
                yield from layer.parts()

    def signal(self, signal: Signal) -> Signal:
        """Gaussian, if all branches are."""
        outputs = [self._follow(branch, dataclasses.replace(signal, fresh=False)) for branch in self.branches]
        if not all(output.wide for output in outputs):
            raise ModelError(
                "a branch of residual passes the raw input on, whose width is not that of the other branches; put a "
                "Dense (for images, a Conv) before the residual block or into that branch"
            )
        if len({output.image for output in outputs if output.image is not None}) > 1:
            raise ModelError("one branch of residual ends with images and another with vectors; end both alike")
        if sum(not output.fresh for output in outputs) > 1:
            raise ModelError(
                "two branches of residual do not end with weights of their own, so that they are correlated and their "
                "kernels do not add; end all branches but one with a Dense (for images, a Conv)"
            )
        fresh = all(self._follow(branch, signal).fresh for branch in self.branches)
        return dataclasses.replace(outputs[0], gaussian=all(output.gaussian for output in outputs), fresh=fresh)

    def _follow(self, branch: tuple[Layer, ...], signal: Signal) -> Signal:
        return reduce(lambda signal, layer: layer.signal(signal), branch, signal)

    def marginals(self, own: Marginals) -> Marginals:
        outputs = [reduce(lambda own, layer: layer.marginals(own), branch, own) for branch in self.branches]
        return _add_marginals(outputs)

    def pairs(self, a: Marginals, b: Marginals, pairs: Pairs) -> tuple[Marginals, Marginals, Pairs]:
        outputs = [reduce(lambda state, layer: layer.pairs(*state), branch, (a, b, pairs)) for branch in self.branches]
        deltas, tangents = [output[2].delta for output in outputs], [output[2].ntk for output in outputs]
        both = Pairs(_add(deltas), None if pairs.ntk is None else _add(tangents))
        first, second = ([output[0] for output in outputs], [output[1] for output in outputs])
        return _add_marginals(first), _add_marginals(second), both


def _add_marginals(parts: list[Marginals]) -> Marginals:
    within = [part.within for part in parts]
    return Marginals(_add([part.variance for part in parts]), None if within[0] is None else _add(within))


def _add(parts: Sequence[Array | None]) -> Array:
    known = [part for part in parts if part is not None]
    shapes = {part.shape for part in known}
    if len(shapes) > 1:
        raise ModelError(
            f"the branches of residual end with images of different sizes (shapes {sorted(shapes)}, pixels last); "
            "use the same strides in all of them, and padding 'SAME' or 'CIRCULAR'"
        )
    return reduce(jnp.add, known)
