r"""Activations whose duals $E[\phi(u) \phi(v)]$ are known in closed form.

An activation says two things of a Gaussian pair with variances $a$, $b$ and squared distance $\delta = a + b - 2c$: the
variance $E[\phi(u)^2]$ and the squared distance $E[(\phi(u) - \phi(v))^2]$ of what comes out. The factor of the
tangent kernel is the derivative of the latter by $\delta$ (Price's theorem).
"""

# ruff: noqa: D102, ARG002  (methods are described by the abstract class)

from __future__ import annotations

import abc

import jax
import jax.numpy as jnp

from bayeskit._keepable import keepable
from bayeskit._typing import Array, ArrayLike
from bayeskit.models.nngp.networks.layers import Layer, parameter
from bayeskit.models.nngp.networks.second_moments import Marginals, Pairs, at_least, of_pixels, spread
from bayeskit.models.nngp.networks.signal import Signal
from bayeskit.numerics.arc_cosine import arc_cosine

__all__ = ["Elementwise", "abs", "erf", "gelu", "identity", "leaky_relu", "rbf", "relu", "sin"]


class Elementwise(Layer):
    """A function of each feature by itself."""

    @abc.abstractmethod
    def variance(self, a: Array) -> Array:
        r"""$E[\phi(u)^2]$."""

    @abc.abstractmethod
    def distance(self, a: Array, b: Array, delta: Array) -> Array:
        r"""$E[(\phi(u) - \phi(v))^2]$; the arguments broadcast."""

    def signal(self, signal: Signal) -> Signal:
        """Features that are Gaussian no more."""
        known = signal.required_gaussian(repr(self))
        return Signal(known.image, gaussian=False, wide=True, fresh=False)

    def marginals(self, own: Marginals) -> Marginals:
        within = None if own.within is None else self.distance(*of_pixels(own), own.within)
        return Marginals(self.variance(own.variance), within)

    def pairs(self, a: Marginals, b: Marginals, pairs: Pairs) -> tuple[Marginals, Marginals, Pairs]:
        first, second = spread(a, b)
        if pairs.ntk is None:
            return self.marginals(a), self.marginals(b), Pairs(self.distance(first, second, pairs.delta))
        delta, factor = jax.jvp(
            lambda delta: self.distance(first, second, delta), (pairs.delta,), (jnp.ones_like(pairs.delta),)
        )
        return self.marginals(a), self.marginals(b), Pairs(delta, factor * pairs.ntk)


def _from_covariance(delta: Array, va: Array, vb: Array, covariance: Array) -> Array:
    """The distance of the outputs by a difference, which is exactly zero for equal inputs and never negative."""
    distance = va + vb - 2 * covariance
    value = jnp.where(delta <= 0, 0, jnp.maximum(distance, 0))
    return distance + jax.lax.stop_gradient(value - distance)


def _gram_determinant(a: Array, b: Array, delta: Array) -> Array:
    r"""$ab - c^2$, by differences."""
    return (delta * (2 * (a + b) - delta) - (a - b) ** 2) / 4


@keepable("nngp.identity")
class Identity(Elementwise):
    """A linear network; as a branch of a residual block, the skip connection."""

    def signal(self, signal: Signal) -> Signal:
        return signal

    def variance(self, a: Array) -> Array:
        return a

    def distance(self, a: Array, b: Array, delta: Array) -> Array:
        return delta

    def __repr__(self) -> str:
        return "identity"


class PiecewiseLinear(Elementwise):
    r"""$\phi(x) = s_- \min(x, 0) + s_+ \max(x, 0)$.

    $\delta' = \frac12 (s_-^2 + s_+^2) \delta - \frac1\pi (s_+ - s_-)^2 Q$.

    Source: Cho and Saul (2009), "Kernel Methods for Deep Learning".
    """

    @abc.abstractmethod
    def slopes(self) -> tuple[Array | float, Array | float]:
        """Those left and right of zero."""

    def variance(self, a: Array) -> Array:
        left, right = self.slopes()
        return (left**2 + right**2) / 2 * a

    def distance(self, a: Array, b: Array, delta: Array) -> Array:
        left, right = self.slopes()
        return (left**2 + right**2) / 2 * delta - (right - left) ** 2 / jnp.pi * arc_cosine(a, b, delta)


@keepable("nngp.relu")
class Relu(PiecewiseLinear):
    r"""$\max(x, 0)$."""

    def slopes(self) -> tuple[float, float]:
        return 0.0, 1.0

    def __repr__(self) -> str:
        return "relu"


@keepable("nngp.abs")
class Absolute(PiecewiseLinear):
    r"""$|x|$."""

    def slopes(self) -> tuple[float, float]:
        return -1.0, 1.0

    def __repr__(self) -> str:
        return "abs"


@keepable("nngp.leaky_relu")
class LeakyRelu(PiecewiseLinear):
    r"""$\max(x, 0) + s \min(x, 0)$."""

    slope: Array

    def slopes(self) -> tuple[Array, float]:
        return self.slope, 1.0

    def __repr__(self) -> str:
        return "leaky_relu"


@keepable("nngp.erf")
class Erf(Elementwise):
    r"""$K' = \frac2\pi \arcsin \frac{2c}{\sqrt{(1 + 2a)(1 + 2b)}}$.

    Source: Williams (1997), "Computing with Infinite Networks", equation 11.
    """

    def variance(self, a: Array) -> Array:
        """The arcsine as an arctangent, whose derivative stays finite for large variances."""
        return 2 / jnp.pi * jnp.arctan2(2 * a, jnp.sqrt(1 + 4 * a))

    def distance(self, a: Array, b: Array, delta: Array) -> Array:
        rest = at_least(1 + 2 * (a + b) + 4 * _gram_determinant(a, b, delta), 1.0)
        covariance = 2 / jnp.pi * jnp.arctan2(a + b - delta, jnp.sqrt(rest))
        return _from_covariance(delta, self.variance(a), self.variance(b), covariance)

    def __repr__(self) -> str:
        return "erf"


@keepable("nngp.gelu")
class Gelu(Elementwise):
    r"""$x \Phi(x)$: $K' = (ab + c^2 (\frac1{1+a} + \frac1{1+b} - 1)) E[\phi\phi] + c E[\Phi\Phi]$.

    $E[\phi\phi] = \frac1{2\pi} ((1 + a)(1 + b) - c^2)^{-1/2}$ and
    $E[\Phi\Phi] = \frac14 + \frac1{2\pi} \arcsin \frac{c}{\sqrt{(1 + a)(1 + b)}}$.

    Source: Tsuchida et al. (2021), "Avoiding Kernel Fixed Points: Computing with ELU and GELU Infinite Networks"; here
    by Stein's lemma.
    """

    def variance(self, a: Array) -> Array:
        root = jnp.sqrt(1 + 2 * a)
        return a**2 / (jnp.pi * (1 + a) * root) + a * (0.25 + jnp.arctan2(a, root) / (2 * jnp.pi))

    def distance(self, a: Array, b: Array, delta: Array) -> Array:
        """From the covariance; Stein's lemma four times."""
        c = (a + b - delta) / 2
        determinant = _gram_determinant(a, b, delta)
        root = jnp.sqrt(at_least(1 + a + b + determinant, 1.0))
        both = 0.25 + jnp.arctan2(c, root) / (2 * jnp.pi)
        density = (determinant + c**2 * (1 / (1 + a) + 1 / (1 + b))) / (2 * jnp.pi * root)
        return _from_covariance(delta, self.variance(a), self.variance(b), density + c * both)

    def __repr__(self) -> str:
        return "gelu"


@keepable("nngp.sin")
class Sin(Elementwise):
    r"""$K' = e^{-(a + b)/2} \sinh c$."""

    def variance(self, a: Array) -> Array:
        r"""$(1 - e^{-2a}) / 2$."""
        return -jnp.expm1(-2 * a) / 2

    def distance(self, a: Array, b: Array, delta: Array) -> Array:
        r"""$E[(\phi(u) - \phi(v))^2]$ without a difference of near numbers, or an exponential of a positive one."""
        mirrored = jnp.exp(-at_least(a + b - delta / 2, 0.0))
        return -jnp.expm1(-delta / 2) * (1 + mirrored) - (jnp.exp(-a) - jnp.exp(-b)) ** 2 / 2

    def __repr__(self) -> str:
        return "sin"


@keepable("nngp.rbf")
class Rbf(Elementwise):
    r"""$\sqrt2 \sin(\sqrt{2 \gamma} x + \pi/4)$: $K' = e^{-\gamma \delta}$."""

    gamma: Array

    def variance(self, a: Array) -> Array:
        return jnp.ones_like(a)

    def distance(self, a: Array, b: Array, delta: Array) -> Array:
        r"""$E[(\phi(u) - \phi(v))^2]$ without a difference of near numbers."""
        return -2 * jnp.expm1(-self.gamma * delta)

    def __repr__(self) -> str:
        return "rbf"


relu = Relu()
r"""The activation $\max(x, 0)$."""
abs = Absolute()
"""The activation $|x|$."""
identity = Identity()
"""The activation $x$; as a branch of a residual block, the skip connection."""
erf = Erf()
r"""The activation $\mathrm{erf}(x)$."""
gelu = Gelu()
r"""The activation $x \Phi(x)$, with $\Phi$ the standard normal cumulative distribution."""
sin = Sin()
r"""The activation $\sin x$."""


def leaky_relu(slope: ArrayLike = 0.01) -> LeakyRelu:
    r"""$\max(x, 0) + s \min(x, 0)$.

    Args:
        slope: $s$, any finite number, left of zero.

    Raises:
        ModelError: not a finite number.

    Example:
        >>> from bayeskit.models import nngp
        >>> network = nngp.serial(nngp.Dense(), nngp.leaky_relu(0.5), nngp.Dense())
        >>> float(network.variance(jnp.ones((1, 4)))[0])
        0.625
    """
    return LeakyRelu(parameter(slope, "slope of leaky_relu", least=None))


def rbf(gamma: ArrayLike = 1.0) -> Rbf:
    r"""Random Fourier features $\sqrt2 \sin(\sqrt{2 \gamma} x + \pi/4)$: the kernel $e^{-\gamma \delta}$.

    Args:
        gamma: $\gamma > 0$.

    Raises:
        ModelError: not a positive number.

    Source: Rahimi and Recht (2007), "Random Features for Large-Scale Kernel Machines".

    Example:
        >>> import numpy as np
        >>> from bayeskit.models import nngp
        >>> network = nngp.serial(nngp.Dense(), nngp.rbf(0.5))
        >>> x = np.array([[0.0], [1.0]])
        >>> np.asarray(network.nngp(x), float).round(4).tolist()
        [[1.0, 0.6065], [0.6065, 1.0]]
    """
    return Rbf(parameter(gamma, "gamma of rbf", positive=True))
