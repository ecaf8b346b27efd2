"""The interface of a layer, and the layers that keep a Gaussian process Gaussian: `Dense` and `LayerNorm`."""

# ruff: noqa: D102  (methods are described by the abstract class)

from __future__ import annotations

import abc
from collections.abc import Iterator
from typing import ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from bayeskit._keepable import keepable
from bayeskit._typing import Array, ArrayLike
from bayeskit.errors import ModelError
from bayeskit.models.nngp.networks.second_moments import Marginals, Pairs, covariance, of_pixels, spread
from bayeskit.models.nngp.networks.signal import Signal
from bayeskit.models.nngp.tracing import is_traced
from bayeskit.numerics.products import scaled

__all__ = ["Dense", "Layer", "LayerNorm", "parameter"]


def parameter(value: ArrayLike, name: str, *, least: float | None = 0.0, positive: bool = False) -> Array:
    """A scalar hyperparameter.

    Raises:
        ModelError: not a scalar, NaN, infinite, below ``least``, or not positive (inside a compiled function: NaN).
    """
    array = jnp.asarray(value)
    if array.ndim != 0:
        raise ModelError(f"{name} must be one number, got an array of shape {array.shape}")
    if not is_traced(array):
        number = float(np.asarray(array))
        if not np.isfinite(number) or (least is not None and number < least) or (positive and number == 0):
            must = "finite" if least is None else "finite and positive" if positive else "finite and not negative"
            raise ModelError(f"{name} must be {must}, got {number}")
    array = array if jnp.issubdtype(array.dtype, jnp.floating) else array.astype(float)
    if is_traced(array) and least is not None:
        array = jnp.where(array > least if positive else array >= least, array, jnp.nan)
    return array


class Layer(eqx.Module):
    """Maps second moments of the features before it to those after it.

    Attributes:
        needs_all_pairs: whether it reads covariances between different pixels, so that all layers must carry them.
    """

    needs_all_pairs: ClassVar[bool] = False

    @property
    def values_per_pair(self) -> int:
        """Numbers that it keeps for a pair of inputs (or of pixels)."""
        return 1

    @property
    def layers(self) -> tuple[Layer, ...]:
        """It, as the layers of a network."""
        return (self,)

    def parts(self) -> Iterator[Layer]:
        """It, or what it is made of."""
        yield self

    def refusal(self) -> str | None:
        """What a kernel that is NaN says of this layer, if the layer can be why."""
        return None

    @abc.abstractmethod
    def signal(self, signal: Signal) -> Signal:
        """The kind of what comes out.

        Raises:
            ModelError: the layer has no kernel after what comes in.
        """

    @abc.abstractmethod
    def marginals(self, own: Marginals) -> Marginals:
        """The variances that come out."""

    @abc.abstractmethod
    def pairs(self, a: Marginals, b: Marginals, pairs: Pairs) -> tuple[Marginals, Marginals, Pairs]:
        """The variances, squared distances and tangent kernel that come out."""


@keepable("nngp.Dense")
class Dense(Layer):
    r"""A fully connected layer, with weights $N(0, \sigma_w^2 / \text{fan-in})$ and biases $N(0, \sigma_b^2)$.

    $K' = \sigma_w^2 K + \sigma_b^2$ and $\Theta' = K' + \sigma_w^2 \Theta$.

    Args:
        weight_std: $\sigma_w \ge 0$.
        bias_std: $\sigma_b \ge 0$.

    Raises:
        ModelError: negative, NaN or not a scalar (inside a compiled function a negative one makes the kernel NaN).

    Sources: Lee et al. (2018), "Deep Neural Networks as Gaussian Processes"; Jacot, Gabriel and Hongler (2018), "Neural
    Tangent Kernel", theorem 1.

    Example:
        >>> import numpy as np
        >>> from bayeskit.models import nngp
        >>> linear = nngp.serial(nngp.Dense(2.0, 1.0))
        >>> np.asarray(linear.nngp(np.array([[1.0, 1.0], [1.0, -1.0]]))).tolist()
        [[5.0, 1.0], [1.0, 5.0]]
    """

    weight_std: Array
    bias_std: Array

    def __init__(self, weight_std: ArrayLike = 1.0, bias_std: ArrayLike = 0.0):
        self.weight_std = parameter(weight_std, "weight_std of Dense")
        self.bias_std = parameter(bias_std, "bias_std of Dense")

    def signal(self, signal: Signal) -> Signal:
        """Vectors in; out come infinitely many Gaussian features with weights of their own."""
        if signal.image:
            raise ModelError(
                "Dense got images (n, height, width, channels); put Flatten() or GlobalPool() before it, or use Conv"
            )
        return Signal(image=False, gaussian=True, wide=True, fresh=True)

    def marginals(self, own: Marginals) -> Marginals:
        return Marginals(self.weight_std**2 * own.variance + self.bias_std**2)

    def pairs(self, a: Marginals, b: Marginals, pairs: Pairs) -> tuple[Marginals, Marginals, Pairs]:
        a, b = self.marginals(a), self.marginals(b)
        delta = scaled(self.weight_std**2, pairs.delta)
        if pairs.ntk is None:
            return a, b, Pairs(delta)
        return a, b, Pairs(delta, covariance(a, b, delta) + self.weight_std**2 * pairs.ntk)


@keepable("nngp.LayerNorm")
class LayerNorm(Layer):
    r"""Layer normalisation over the features (of a pixel, in images), without learned scale and offset.

    The mean over infinitely many Gaussian features is zero and their variance $K_{11}$, so
    $K'_{12} = K_{12} / \sqrt{(K_{11} + \epsilon) (K_{22} + \epsilon)}$, and $\Theta$ is scaled alike.

    Args:
        epsilon: what is added to the variance; positive.

    Raises:
        ModelError: an impossible ``epsilon``.

    Source: Ba, Kiros and Hinton (2016), "Layer Normalization".
    """

    epsilon: float = eqx.field(static=True)

    def __init__(self, epsilon: float = 1e-6):
        if not (np.isfinite(epsilon) and epsilon > 0):
            raise ModelError(f"epsilon of LayerNorm must be positive and finite, got {epsilon}")
        self.epsilon = float(epsilon)

    def signal(self, signal: Signal) -> Signal:
        """Gaussian, as what comes in."""
        return signal.required_gaussian("LayerNorm")

    def _inverse(self, variance: Array) -> Array:
        return jax.lax.rsqrt(variance + self.epsilon)

    def _distance(self, v1: Array, v2: Array, delta: Array) -> Array:
        """By the differences of the factors, which vanish for equal variances."""
        first, second = self._inverse(v1), self._inverse(v2)
        return first * second * delta + (first - second) * (first * v1 - second * v2)

    def marginals(self, own: Marginals) -> Marginals:
        within = None if own.within is None else self._distance(*of_pixels(own), own.within)
        return Marginals(own.variance / (own.variance + self.epsilon), within)

    def pairs(self, a: Marginals, b: Marginals, pairs: Pairs) -> tuple[Marginals, Marginals, Pairs]:
        first, second = spread(a, b)
        delta = self._distance(first, second, pairs.delta)
        ntk = None if pairs.ntk is None else self._inverse(first) * self._inverse(second) * pairs.ntk
        return self.marginals(a), self.marginals(b), Pairs(delta, ntk)
