"""Layers for images `(n, height, width, channels)`: `Conv`, and the ways to vectors, `Flatten` and `GlobalPool`."""

# ruff: noqa: D102  (methods are described by the abstract class)

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import equinox as eqx
import jax.numpy as jnp

from bayeskit._keepable import keepable
from bayeskit._settings import is_whole
from bayeskit._typing import Array, ArrayLike
from bayeskit.errors import ModelError
from bayeskit.models.nngp.networks.layers import Layer, parameter
from bayeskit.models.nngp.networks.patches import PADDINGS, Patch
from bayeskit.models.nngp.networks.second_moments import Marginals, Pairs, at_least, covariance, of_pixels, spread
from bayeskit.models.nngp.networks.signal import Signal

__all__ = ["Conv", "Flatten", "GlobalPool"]

PIXELS = (-4, -3, -2, -1)
"""The axes of a pair of pixels."""


@keepable("nngp.Conv")
class Conv(Layer):
    r"""A convolution, with weights $N(0, \sigma_w^2 / \text{fan-in})$ and biases $N(0, \sigma_b^2)$.

    The fan-in is filter height times filter width times channels. For pixels $p$ and $q$,

    $$K'_{pq} = \frac{\sigma_w^2}{|W|} \sum_{o \in W} K_{p+o, q+o} + \sigma_b^2, \qquad
      \Theta'_{pq} = K'_{pq} + \frac{\sigma_w^2}{|W|} \sum_{o \in W} \Theta_{p+o, q+o}.$$

    Args:
        filter_shape: height and width of the patch $W$.
        weight_std: $\sigma_w \ge 0$.
        bias_std: $\sigma_b \ge 0$.
        strides: along height and width.
        padding: ``"SAME"`` (zeros around the image), ``"VALID"`` (none) or ``"CIRCULAR"``.

    Raises:
        ModelError: an impossible setting.

    Source: Novak et al. (2019), "Bayesian Deep Convolutional Networks with Many Channels are Gaussian Processes".

    Example:
        >>> import numpy as np
        >>> from bayeskit.models import nngp
        >>> network = nngp.serial(nngp.Conv((3, 3), 1.4, 0.1), nngp.relu, nngp.Flatten(), nngp.Dense(1.4, 0.1))
        >>> images = np.random.default_rng(0).normal(size=(5, 8, 8, 1))
        >>> network.nngp(images).shape
        (5, 5)
    """

    weight_std: Array
    bias_std: Array
    patch: Patch = eqx.field(static=True)

    def __init__(
        self,
        filter_shape: Sequence[int],
        weight_std: ArrayLike = 1.0,
        bias_std: ArrayLike = 0.0,
        strides: Sequence[int] = (1, 1),
        padding: str = "SAME",
    ):
        self.weight_std = parameter(weight_std, "weight_std of Conv")
        self.bias_std = parameter(bias_std, "bias_std of Conv")
        if padding not in PADDINGS:
            raise ModelError(f"padding of Conv must be one of {', '.join(PADDINGS)}, got {padding!r}")
        self.patch = Patch(_two(filter_shape, "filter_shape"), _two(strides, "strides"), padding)

    def signal(self, signal: Signal) -> Signal:
        """Fresh Gaussian features at each pixel."""
        signal.required_image("Conv")
        return Signal(image=True, gaussian=True, wide=True, fresh=True)

    def _scaled(self, average: Array) -> Array:
        return self.weight_std**2 * average

    def marginals(self, own: Marginals) -> Marginals:
        """Variances, and squared distances between pixels."""
        patch, within = self.patch, None
        if own.within is not None:
            distances = patch.distances(*of_pixels(own), own.within)
            within = self._scaled(patch.average(distances, 2))
        average = patch.average(patch.padded(own.variance, 1), 1)
        return Marginals(self._scaled(average) + self.bias_std**2, within)

    def pairs(self, a: Marginals, b: Marginals, pairs: Pairs) -> tuple[Marginals, Marginals, Pairs]:
        patch, places = self.patch, 1 if a.within is None else 2
        padded = patch.padded(pairs.delta, 1) if places == 1 else patch.distances(*spread(a, b), pairs.delta)
        delta = self._scaled(patch.average(padded, places))
        after_a, after_b = self.marginals(a), self.marginals(b)
        if pairs.ntk is None:
            return after_a, after_b, Pairs(delta)
        ntk = self._scaled(patch.average(patch.padded(pairs.ntk, places), places))
        return after_a, after_b, Pairs(delta, covariance(after_a, after_b, delta) + ntk)


def _two(value: Sequence[int], name: str) -> tuple[int, int]:
    """Two positive integers.

    Raises:
        ModelError: anything else.
    """
    numbers = tuple(value)
    if len(numbers) != 2 or not all(is_whole(number) and number > 0 for number in numbers):
        raise ModelError(f"{name} of Conv must be two positive integers (height, width), got {value!r}")
    return numbers[0], numbers[1]


@keepable("nngp.Flatten")
class Flatten(Layer):
    r"""All pixels and channels of an image as one vector: $K' = \frac1{|P|} \sum_p K_{pp}$. A Dense must follow.

    Only covariances of equal pixels are needed, which makes it much cheaper than :class:`GlobalPool`.

    Source: Novak et al. (2019), "Bayesian Deep Convolutional Networks with Many Channels are Gaussian Processes",
    section 3.1.
    """

    def signal(self, signal: Signal) -> Signal:
        """Vectors whose entries do not have one law, so that no activation may follow."""
        return dataclasses.replace(signal.required_image("Flatten"), image=False, gaussian=False)

    def marginals(self, own: Marginals) -> Marginals:
        return Marginals(jnp.mean(own.variance, axis=(-2, -1)))

    def pairs(self, a: Marginals, b: Marginals, pairs: Pairs) -> tuple[Marginals, Marginals, Pairs]:
        all_pairs = a.within is not None
        ntk = None if pairs.ntk is None else _equal_pixels(pairs.ntk, all_pairs)
        return self.marginals(a), self.marginals(b), Pairs(_equal_pixels(pairs.delta, all_pairs), ntk)


def _equal_pixels(x: Array, all_pairs: bool) -> Array:
    if not all_pairs:
        return jnp.mean(x, axis=(-2, -1))
    pixels = x.shape[-2] * x.shape[-1]
    return jnp.mean(jnp.diagonal(x.reshape(*x.shape[:-4], pixels, pixels), axis1=-2, axis2=-1), axis=-1)


@keepable("nngp.GlobalPool")
class GlobalPool(Layer):
    r"""The mean over all pixels, of each channel: $K' = \frac1{|P|^2} \sum_{pq} K_{pq}$.

    All pairs of pixels are needed from the first layer on: time and memory grow with the square of the number of
    pixels.

    Source: Novak et al. (2019), "Bayesian Deep Convolutional Networks with Many Channels are Gaussian Processes",
    section 3.2.
    """

    needs_all_pairs = True

    def signal(self, signal: Signal) -> Signal:
        """Vectors, Gaussian if the pixels are."""
        return dataclasses.replace(signal.required_image("GlobalPool"), image=False)

    def marginals(self, own: Marginals) -> Marginals:
        """Means over all pairs within an image."""
        within = jnp.mean(_within(own), axis=PIXELS)
        return Marginals(at_least(jnp.mean(own.variance, axis=(-2, -1)) - within / 2, 0.0))

    def pairs(self, a: Marginals, b: Marginals, pairs: Pairs) -> tuple[Marginals, Marginals, Pairs]:
        """Means over all pairs; those within either image are subtracted first, and cancel exactly for equal images."""
        between = pairs.delta - (_within(a)[:, None] + _within(b)) / 2
        delta = at_least(jnp.mean(between, axis=PIXELS), 0.0)
        ntk = None if pairs.ntk is None else jnp.mean(pairs.ntk, axis=PIXELS)
        return self.marginals(a), self.marginals(b), Pairs(delta, ntk)


def _within(own: Marginals) -> Array:
    assert own.within is not None  # all pairs of pixels are carried where a GlobalPool follows
    return own.within
