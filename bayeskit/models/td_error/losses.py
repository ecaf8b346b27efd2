"""Losses of TD errors: each is made of its parameters, and is then a pure function of errors."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import jax
import jax.numpy as jnp
from jaxtyping import Float

from bayeskit._typing import Array, ArrayLike
from bayeskit.distributions import GeneralizedNormal
from bayeskit.errors import DataError
from bayeskit.models.td_error.checks import finite, positive, within

__all__ = ["Loss", "gaussian", "generalized_gaussian", "squared_error", "weighted"]

Loss: TypeAlias = Callable[[ArrayLike], Float[Array, "..."]]
"""From TD errors to one number an error."""


def squared_error() -> Loss:
    r"""Half of the square, $\delta^2 / 2$.

    Raises:
        DataError: the loss, of errors that are not finite.

    Example:
        >>> from bayeskit.models import td_error
        >>> float(td_error.squared_error()(3.0))
        4.5
    """
    return lambda errors: finite(errors, "errors") ** 2 / 2


def gaussian(scale: ArrayLike) -> Loss:
    r"""The negative log density of a normal law, $\delta^2 / 2 \sigma^2 + \log \sigma + \frac12 \log 2 \pi$.

    Args:
        scale: the standard deviation $\sigma > 0$, a number or one an error.

    Raises:
        DataError: a scale that is not positive; and the loss, errors of another shape or not finite.

    Example:
        >>> from bayeskit.models import td_error
        >>> round(float(td_error.gaussian(1.0)(0.0)), 4)
        0.9189
    """
    sd = positive(scale, "scale")

    def loss(errors: ArrayLike) -> Array:
        return (_fitting(errors, scale=sd) / sd) ** 2 / 2 + jnp.log(sd) + 0.5 * jnp.log(2 * jnp.pi)

    return loss


def generalized_gaussian(scale: ArrayLike, shape: ArrayLike) -> Loss:
    r"""The negative log density of a generalised Gaussian,

    $$\left(\frac{|\delta|}{a}\right)^b - \log \frac ba + \log 2 + \log \Gamma(1/b).$$

    Args:
        scale: $a > 0$, a number or one an error; $\sqrt 2$ standard deviations where $b = 2$.
        shape: $b > 0$, likewise; 2 for normal errors, 1 for those of Laplace.

    Raises:
        DataError: a scale or a shape that is not positive; and the loss, errors of another shape or not finite.

    Example:
        >>> from bayeskit.models import td_error
        >>> round(float(td_error.generalized_gaussian(scale=2.0, shape=1.0)(3.0)), 4)  # 3 / 2 + log 4
        2.8863
    """
    a, b = positive(scale, "scale"), positive(shape, "shape")
    return lambda errors: (
        -GeneralizedNormal(0.0, a, b, validate_args=False).log_prob(_fitting(errors, scale=a, shape=b))
    )


def weighted(loss: Loss, weights: ArrayLike) -> Loss:
    """The same loss times weights, which are not differentiated through.

    Args:
        loss: any of these, or a function of your own.
        weights: a number or one an error, not negative.

    Raises:
        DataError: negative weights; and the loss, errors of another shape.

    Example:
        >>> import jax.numpy as jnp
        >>> from bayeskit.models import td_error
        >>> loss = td_error.weighted(td_error.squared_error(), jnp.array([2.0, 0.5]))
        >>> loss(jnp.array([1.0, 4.0])).tolist()
        [1.0, 4.0]
    """
    factors = jax.lax.stop_gradient(within(weights, "weights", 0.0, float("inf")))
    return lambda errors: factors * loss(_fitting(errors, weights=factors))


def _fitting(errors: ArrayLike, **parameters: Array) -> Array:
    """Errors, each with its own parameters: these may be fewer dimensions, but make no more numbers of the errors."""
    given = finite(errors, "errors")
    for name, parameter in parameters.items():
        try:
            fits = jnp.broadcast_shapes(given.shape, parameter.shape) == given.shape
        except ValueError:
            fits = False
        if not fits:
            raise DataError(f"{name} has shape {parameter.shape}, which does not fit errors of shape {given.shape}")
    return given
