"""Stationary kernels with a given spectrum, and their derivatives in closed form."""

from __future__ import annotations

import abc
import functools
import math
from collections.abc import Callable, Sequence
from typing import ClassVar, TypeAlias

import jax.numpy as jnp
from jaxtyping import Float
from tinygp.kernels import Kernel

from bayeskit._keepable import keepable
from bayeskit._typing import Array, ArrayLike
from bayeskit.errors import DataError, MethodError
from bayeskit.models.spectral_pde.kernel_arguments import Parameter, components, coordinate, order_of, point
from bayeskit.models.spectral_pde.matern import matern

__all__ = ["Product", "SpectralKernel", "SpectralMixture", "StudentT"]

PairFunction: TypeAlias = Callable[[ArrayLike, ArrayLike], Array]
"""A function of two points, with one number as its value."""


class SpectralKernel(Kernel):
    r"""Kernels of one coordinate whose spectrum is a mixture of one shape, moved and scaled.

    $$k(r) = \sum_q w_q\, e(r / \ell_q) \cos(2 \pi \mu_q r), \qquad r = x - x',$$

    where the envelope $e$ is what a subclass says. The spectrum of $e$ stands at $\pm\mu_q$, with half of the weight
    each. Points are scalars or of shape `(1,)`. With traced parameters nothing is checked.

    Attributes:
        weight: the variances $w_q$ of the components, shape `(q,)`.
        frequency: $\mu_q$, in cycles per unit of $x$, shape `(q,)`.
        lengthscale: $\ell_q$, in units of $x$, shape `(q,)`.

    Raises:
        DataError: a parameter that is not a number or a vector, negative or not finite, a length scale of zero, or
            parameters of different lengths.
    """

    weight: Float[Array, " q"]
    frequency: Float[Array, " q"]
    lengthscale: Float[Array, " q"]

    most_derivatives: ClassVar[int | None]
    """How often $k$ is continuously differentiable in $r$; ``None`` if without end."""

    def __init__(self, weight: Parameter, frequency: Parameter, lengthscale: Parameter):
        self.weight = components(weight, "weight", zero=True)
        self.frequency = components(frequency, "frequency", zero=True)
        self.lengthscale = components(lengthscale, "lengthscale", zero=False)
        sizes = (self.weight.size, self.frequency.size, self.lengthscale.size)
        if len(set(sizes)) > 1:
            raise DataError(
                "weight, frequency and lengthscale must have one number a component each; "
                "got {} weights, {} frequencies and {} length scales".format(*sizes)
            )

    @abc.abstractmethod
    def _envelope(self, r: Array, order: int) -> list[Float[Array, " q"]]:
        r"""The derivatives of $r \mapsto e(r / \ell_q)$ of orders 0 to ``order``."""

    def evaluate(self, X1: ArrayLike, X2: ArrayLike) -> Array:
        """The covariance of one pair of points, for tinygp."""
        return self._stationary(coordinate(X1, "X1") - coordinate(X2, "X2"), 0)

    def evaluate_diag(self, X: ArrayLike) -> Array:
        """The variance at one point, for tinygp."""
        del X
        return jnp.sum(self.weight)

    def derivative(self, order1: int, order2: int) -> PairFunction:
        r"""The function $(x, x') \mapsto \partial_x^i \partial_{x'}^j k(x, x') = (-1)^j k^{(i + j)}(x - x')$.

        It takes one pair of points and gives one number: map it with `jax.vmap`. It is exact at $x = x'$, where its
        gradients with respect to the points and the parameters are finite.

        Args:
            order1: $i$, of derivatives by the first point.
            order2: $j$, of those by the second.

        Raises:
            MethodError: orders that are not integers or are negative, or that together are more than the kernel has.

        Example:
            >>> import jax.numpy as jnp
            >>> kernel = SpectralMixture(weight=2.0, frequency=0.0, lengthscale=0.5)
            >>> print(kernel.derivative(1, 1)(jnp.array(0.3), jnp.array(0.3)))  # the variance of the slope, w / l²
            8.0
        """
        order1, order2 = order_of(order1, "order1"), order_of(order2, "order2")
        total = order1 + order2
        if self.most_derivatives is not None and total > self.most_derivatives:
            raise MethodError(
                f"{type(self).__name__} has {self.most_derivatives} continuous derivatives at equal points, and "
                f"order1 + order2 is {total}; SpectralMixture has them all"
            )

        def function(x1: ArrayLike, x2: ArrayLike) -> Array:
            return (-1) ** order2 * self._stationary(coordinate(x1, "x1") - coordinate(x2, "x2"), total)

        return function

    def _stationary(self, r: Array, order: int) -> Array:
        """The derivative of $k(r)$, by Leibniz' rule for the envelope times the cosine."""
        pulse = 2 * math.pi * self.frequency
        cos, sin = jnp.cos(pulse * r), jnp.sin(pulse * r)
        wave = (cos, -sin, -cos, sin)
        envelope = self._envelope(r, order)
        terms = [
            math.comb(order, j) * envelope[j] * pulse ** (order - j) * wave[(order - j) % 4] for j in range(order + 1)
        ]
        return jnp.sum(self.weight * functools.reduce(jnp.add, terms))


@keepable("spectral_pde.SpectralMixture")
class SpectralMixture(SpectralKernel):
    r"""A kernel whose spectrum is a mixture of normal densities.

    $$k(r) = \sum_q w_q\, e^{-r^2 / 2 \ell_q^2} \cos(2 \pi \mu_q r), \qquad
    S(s) = \sum_q \frac{w_q}{2} \bigl(N(s; \mu_q, \sigma_q^2) + N(s; -\mu_q, \sigma_q^2)\bigr), \quad
    \sigma_q = \frac{1}{2 \pi \ell_q}.$$

    It has derivatives of every order. Sums and products are those of tinygp.

    Args:
        weight: $w_q \ge 0$, shape `(q,)`; a number is one component.
        frequency: $\mu_q \ge 0$, in cycles per unit of $x$, shape `(q,)`.
        lengthscale: $\ell_q > 0$, shape `(q,)`.

    Raises:
        DataError: as said by :class:`SpectralKernel`.

    Example:
        >>> import jax.numpy as jnp
        >>> import tinygp
        >>> kernel = SpectralMixture(weight=[1.0, 0.5], frequency=[0.0, 3.0], lengthscale=[1.0, 2.0])
        >>> gp = tinygp.GaussianProcess(kernel, jnp.linspace(0.0, 1.0, 5), diag=0.1)
        >>> gp.log_probability(jnp.zeros(5)).shape
        ()

    Source: Wilson and Adams (2013), "Gaussian process kernels for pattern discovery and extrapolation", equations 11
    and 12.
    """

    most_derivatives: ClassVar[int | None] = None

    def _envelope(self, r: Array, order: int) -> list[Array]:
        # beyond 40 the exponential is zero in every precision, and powers of z must not become infinite
        z = jnp.clip(r / self.lengthscale, -40.0, 40.0)
        bell = jnp.exp(-0.5 * z**2)
        hermite = [jnp.ones_like(z), z]
        for n in range(1, order):
            hermite.append(z * hermite[n] - n * hermite[n - 1])
        return [(-1 / self.lengthscale) ** n * hermite[n] * bell for n in range(order + 1)]


@keepable("spectral_pde.StudentT")
class StudentT(SpectralKernel):
    r"""A kernel whose spectrum is a mixture of Student's t densities with five degrees of freedom.

    $$k(r) = \sum_q w_q \Bigl(1 + a_q + \frac{a_q^2}{3}\Bigr) e^{-a_q} \cos(2 \pi \mu_q r), \qquad
    a_q = \sqrt{5}\, |r| / \ell_q,$$

    Matérn's kernel of smoothness 5/2 times a cosine. Its spectrum is that of :class:`SpectralMixture` with
    $t_5(s; \pm\mu_q, \sigma_q)$, of scale $\sigma_q = 1 / 2 \pi \ell_q$, in place of the normal densities: heavy tails
    find frequencies from afar.

    It has four continuous derivatives at $r = 0$; the fifth jumps there, and the automatic derivative of the fourth is
    the mean of both sides. All automatic derivatives up to the fourth are right at $r = 0$.

    Args:
        weight: $w_q \ge 0$, shape `(q,)`; a number is one component.
        frequency: $\mu_q \ge 0$, in cycles per unit of $x$, shape `(q,)`.
        lengthscale: $\ell_q > 0$, shape `(q,)`.

    Raises:
        DataError: as said by :class:`SpectralKernel`.

    Example:
        >>> import jax.numpy as jnp
        >>> kernel = StudentT(weight=1.5, frequency=2.0, lengthscale=0.5)
        >>> print(kernel.evaluate(jnp.array(0.1), jnp.array(0.1)))
        1.5
        >>> kernel.derivative(3, 2)
        Traceback (most recent call last):
            ...
        bayeskit.errors.MethodError: StudentT has 4 continuous derivatives at equal points, ...

    Source: Fang et al. (2024), "Solving high frequency and multi-scale PDEs with Gaussian processes".
    """

    most_derivatives: ClassVar[int | None] = 4

    def _envelope(self, r: Array, order: int) -> list[Array]:
        rate = math.sqrt(5) / self.lengthscale
        # beyond 800 the exponential is zero in every precision, and powers must not become infinite
        z = jnp.clip(r * rate, -800.0, 800.0)
        return [rate**n * matern(n, z) for n in range(order + 1)]


@keepable("spectral_pde.Product")
class Product(Kernel):
    r"""A kernel of points of shape `(d,)`: the product of one kernel a coordinate.

    Args:
        kernels: one :class:`SpectralMixture` or :class:`StudentT` a coordinate.

    Raises:
        DataError: no kernel, or another kind of kernel.

    Example:
        >>> import jax.numpy as jnp
        >>> kernel = Product([SpectralMixture(1.0, 0.0, 0.5), StudentT(2.0, 3.0, 0.5)])
        >>> here = jnp.array([0.2, 0.7])
        >>> print(kernel.evaluate(here, here), kernel.derivative((1, 0), (1, 0))(here, here))
        2.0 8.0
    """

    kernels: tuple[SpectralKernel, ...]

    def __init__(self, kernels: Sequence[SpectralKernel]):
        self.kernels = tuple(kernels)
        if not self.kernels:
            raise DataError("kernels is empty; give one kernel a coordinate")
        for place, kernel in enumerate(self.kernels):
            if not isinstance(kernel, SpectralKernel):
                raise DataError(
                    f"kernels[{place}] must be a SpectralMixture or a StudentT, got {type(kernel).__name__}"
                )

    def evaluate(self, X1: ArrayLike, X2: ArrayLike) -> Array:
        """The covariance of one pair of points, for tinygp."""
        none = (0,) * len(self.kernels)
        return self.derivative(none, none)(X1, X2)

    def derivative(self, orders1: Sequence[int], orders2: Sequence[int]) -> PairFunction:
        r"""The function $(x, x') \mapsto \prod_c \partial_{x_c}^{i_c} \partial_{x'_c}^{j_c} k_c(x_c, x'_c)$.

        It takes one pair of points of shape `(d,)` and gives one number.

        Args:
            orders1: $i_1, \dots, i_d$, of derivatives by the first point.
            orders2: $j_1, \dots, j_d$, of those by the second.

        Raises:
            MethodError: not one order a coordinate, or orders that the kernel of that coordinate does not have.
        """
        size = len(self.kernels)
        for orders, name in ((orders1, "orders1"), (orders2, "orders2")):
            if not isinstance(orders, Sequence) or len(orders) != size:
                raise MethodError(f"{name} must have one order for each of the {size} coordinates, got {orders!r}")
        functions = [kernel.derivative(i, j) for kernel, i, j in zip(self.kernels, orders1, orders2, strict=True)]

        def function(x1: ArrayLike, x2: ArrayLike) -> Array:
            one, two = point(x1, "x1", size), point(x2, "x2", size)
            return functools.reduce(jnp.multiply, (part(one[c], two[c]) for c, part in enumerate(functions)))

        return function
