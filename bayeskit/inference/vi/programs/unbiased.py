r"""Arithmetic on expectations that are only estimated: sums, products and exponentials stay unbiased, the rest raises.

With $X, X'$ independent estimates of $\mu$ and $Y$ of $\nu$: $\mathrm E[X + Y] = \mu + \nu$, $\mathrm E[XY] = \mu\nu$,
$\mathrm E[X X'] = \mu^2$, and with $N \sim \mathrm{Poisson}(\lambda)$ estimates $X_1, \dots, X_N$,
$\mathrm E\, e^{\lambda} \prod_{i \le N} X_i / \lambda = e^{\mu}$. No such estimate of $\log \mu$ or $1 / \mu$ exists in
general.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp
import numpyro
import numpyro.distributions as dist

from bayeskit._settings import is_number
from bayeskit._typing import Array
from bayeskit.errors import ModelError
from bayeskit.inference.vi.estimators import Score
from bayeskit.program import LogWeight, draw, replicate

__all__ = ["Unbiased", "unbiased"]

TERMS = 32
"""The longest series; Poisson(8) exceeds it with probability 3e-11."""


@dataclass(frozen=True, eq=False)
class Unbiased:
    """The program that `unbiased` returns."""

    sample: Callable[[], Array]

    def __add__(self, other: object) -> Unbiased:
        return Unbiased(lambda: self.sample() + _sampled(other))

    def __mul__(self, other: object) -> Unbiased:
        return Unbiased(lambda: self.sample() * _sampled(other))

    __radd__, __rmul__ = __add__, __mul__

    def __neg__(self) -> Unbiased:
        return self * -1.0

    def __sub__(self, other: object) -> Unbiased:
        return self + (-other if isinstance(other, Unbiased) else -jnp.asarray(other))

    def __rsub__(self, other: object) -> Unbiased:
        return -self + other

    def __truediv__(self, divisor: object) -> Unbiased:
        if isinstance(divisor, Unbiased):
            raise _biased("a quotient by an estimate")
        return self * (1.0 / jnp.asarray(divisor))

    def __pow__(self, power: object) -> Unbiased:
        if isinstance(power, bool) or not isinstance(power, int) or power < 0:
            raise _biased(f"the power {power!r} of an estimate")

        def product() -> Array:
            number = jnp.ones(())
            for _ in range(power):
                number = number * self.sample()
            return number

        return Unbiased(product)

    def exp(self, rate: float = 1.0) -> Unbiased:
        r"""An unbiased estimate of :math:`e^{\mu}`, by a product of a Poisson number of estimates.

        Its variance is :math:`e^{\lambda + \mathrm E X^2 / \lambda} - e^{2\mu}`, least for
        :math:`\lambda = \sqrt{\mathrm E X^2}`.

        Args:
            rate: :math:`\lambda`, the mean number of estimates; at most 8.

        Reference: Fearnhead, Papaspiliopoulos and Roberts (2008), "Particle filters for partially observed
        diffusions", section 3 (the Poisson estimator).
        """
        if not is_number(rate) or not 0.0 < rate <= 8.0:
            raise ModelError(f"rate must be a number in (0, 8], got {rate!r}")

        def series() -> Array:
            law = dist.Poisson(rate)
            count = draw(lambda: numpyro.sample("number of factors", law, infer={"estimator": Score()}))[0]
            factors = replicate(TERMS, self.sample) / rate
            used = jnp.arange(TERMS) < count["number of factors"]
            return jnp.exp(rate) * jnp.prod(jnp.where(used, factors, 1.0))

        return Unbiased(series)

    def __rtruediv__(self, other: object) -> Unbiased:
        raise _biased("a quotient by an estimate")

    def __rpow__(self, other: object) -> Unbiased:
        raise _biased("a power with an estimate as exponent (other than .exp())")

    def __array__(self, *args: object, **kwargs: object) -> Any:
        raise _biased("a function (such as log) of an estimate")

    def __float__(self) -> float:
        raise _biased("a number made from an estimate")

    def __bool__(self) -> bool:
        raise _biased("a decision by an estimate")

    def __eq__(self, other: object) -> bool:
        raise _biased("a comparison with an estimate")

    __hash__ = object.__hash__

    def log(self) -> Unbiased:
        """Raises: no unbiased estimate is known."""
        raise _biased("the log of an estimate")

    __array_ufunc__ = None  # an array on the left leaves the operation to this class


def unbiased(f: Callable[..., object], *args: Any) -> Unbiased:
    r"""The expectation :math:`\mathrm E\, f`, to compute with inside the function given to :func:`expectation`.

    Sums, differences, products and whole powers of such numbers, and :meth:`Unbiased.exp`, are unbiased again: every
    use draws afresh and independently. A logarithm, a quotient, or any other function would be biased, and raises.

    Args:
        f: a function that draws from programs and returns a number.
        *args: its arguments.

    Returns:
        An :class:`Unbiased`, which :func:`bayeskit.expectation` takes in place of a number.

    Example:
        >>> import jax, numpyro, numpyro.distributions as dist
        >>> import bayeskit as bk
        >>> coin = lambda p: bk.draw(lambda: numpyro.sample("b", dist.Bernoulli(p)))[0]["b"]
        >>> squared_mean = bk.expectation(lambda p: bk.unbiased(coin, p) ** 2)
        >>> estimates = jax.vmap(squared_mean, (0, None))(jax.random.split(jax.random.key(0), 10_000), 0.3)
        >>> bool(abs(estimates.mean() - 0.09) < 0.02)
        True
    """

    def sample() -> Array:
        number = f(*args)
        if isinstance(number, Unbiased):
            return number.sample()
        array = None if isinstance(number, LogWeight) else jnp.asarray(number)
        if array is None or array.shape != ():
            raise ModelError(f"bayeskit.unbiased takes a function that returns a number, got {number!r}")
        return array

    return Unbiased(sample)


def _sampled(number: object) -> Array:
    return number.sample() if isinstance(number, Unbiased) else jnp.asarray(number)


def _biased(what: str) -> ModelError:
    return ModelError(
        f"{what} would be biased: sums, products, whole powers and .exp() of bayeskit.unbiased(...) stay unbiased; for "
        "the log of a mean of weights there is bayeskit.log_average_exp, a lower bound"
    )
