"""What an agent minimises: losses of a prediction and targets, all of one form."""

from __future__ import annotations

import abc
import dataclasses
from typing import ClassVar, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Float

from bayeskit._settings import Settings, check_choice, is_number, part, require
from bayeskit._typing import Array, ArrayLike
from bayeskit.errors import DataError, MethodError
from bayeskit.models.td_error.checks import finite
from bayeskit.models.td_error.losses import gaussian, generalized_gaussian, squared_error, weighted
from bayeskit.models.td_error.noise import excess_kurtosis, spread
from bayeskit.models.td_error.weights import inverse_error_variance, risk_averse_weights

__all__ = ["Gaussian", "GeneralizedGaussian", "InverseErrorVariance", "SquaredError", "ValueLoss", "ValuePrediction"]


class ValuePrediction(NamedTuple):
    """What value heads say of a batch of states.

    Attributes:
        mean: the value, by every head, shape `(heads, batch)`.
        scale: of the law of the TD error, shape `(batch,)`: the standard deviation for a normal law.
        shape: of that law, shape `(batch,)`.
    """

    mean: Float[Array, "heads batch"]
    scale: Float[Array, " batch"]
    shape: Float[Array, " batch"]


class ValueLoss(Settings, abc.ABC):
    r"""A loss of value heads.

    With TD errors $\delta_{ij}$ of sample $i$ and head $j$ it is the mean of $w_i (u_i\, m_{ij} + \ell_{ij})$: $m$ is
    what moves the mean, and $\ell$ what moves scale and shape. Of targets and weights nothing is differentiated.
    """

    room: ClassVar[str] = "loss"
    such_as: ClassVar[str] = "td_error.GeneralizedGaussian()"

    @abc.abstractmethod
    def mean_loss(self, errors: Array, prediction: ValuePrediction) -> Float[Array, "heads batch"]:
        """$m$; scale and shape are not differentiated."""

    @abc.abstractmethod
    def noise_loss(self, errors: Array, prediction: ValuePrediction) -> Float[Array, "heads batch"]:
        r"""$\ell$; errors are not differentiated."""

    def weights(self, prediction: ValuePrediction) -> Float[Array, " batch"]:
        """$w$, of mean one."""
        return jnp.ones_like(prediction.scale)

    def mean_weights(self, errors: Array, prediction: ValuePrediction) -> Float[Array, " batch"]:
        """$u$, of mean one."""
        del errors
        return jnp.ones_like(prediction.scale)

    def __call__(self, prediction: ValuePrediction, targets: ArrayLike) -> Float[Array, ""]:
        """The loss.

        Args:
            prediction: of a batch of states.
            targets: the bootstrapped returns, shape `(batch,)`, or `(heads, batch)` where every head has its own.

        Raises:
            DataError: shapes that do not fit; and what the parts of the loss refuse.
        """
        if not isinstance(prediction, ValuePrediction):
            raise DataError(f"prediction must be a ValuePrediction, got {type(prediction).__name__}")
        names = (f"prediction.{name}" for name in ValuePrediction._fields)
        prediction = ValuePrediction(*map(finite, prediction, names))
        fixed = jax.lax.stop_gradient(finite(targets, "targets", prediction.mean.dtype))
        _check_shapes(prediction, fixed)
        errors = fixed - prediction.mean
        detached = jax.lax.stop_gradient(prediction)
        known = jax.lax.stop_gradient(errors)
        of_mean = weighted(
            lambda given: self.mean_loss(jnp.asarray(given), detached), self.mean_weights(known, detached)
        )
        return jnp.mean(self.weights(detached) * (of_mean(errors) + self.noise_loss(known, prediction)))


@dataclasses.dataclass(frozen=True)
class SquaredError(ValueLoss):
    r"""Half of the mean squared TD error, $\delta^2 / 2$; scale and shape are not learned.

    Example:
        >>> import jax.numpy as jnp
        >>> from bayeskit.models import td_error
        >>> prediction = td_error.ValuePrediction(jnp.zeros((1, 2)), jnp.ones(2), jnp.full(2, 2.0))
        >>> float(td_error.SquaredError()(prediction, jnp.array([1.0, 3.0])))
        2.5
    """

    kind: ClassVar[str] = "squared_error"

    def mean_loss(self, errors: Array, prediction: ValuePrediction) -> Array:
        """$m$."""
        del prediction
        return squared_error()(errors)

    def noise_loss(self, errors: Array, prediction: ValuePrediction) -> Array:
        """Nothing."""
        del prediction
        return jnp.zeros_like(errors)


@dataclasses.dataclass(frozen=True)
class Gaussian(ValueLoss):
    r"""TD errors are normal with the predicted scale as standard deviation.

    The gradient is that of the negative log density; the value has $\delta^2 / 2 \sigma^2$ in it twice.

    Example:
        >>> import jax.numpy as jnp
        >>> from bayeskit.models import td_error
        >>> prediction = td_error.ValuePrediction(jnp.zeros((1, 2)), jnp.ones(2), jnp.full(2, 2.0))
        >>> round(float(td_error.Gaussian()(prediction, jnp.array([1.0, 3.0]))), 4)  # 2.5 + 2.5 + log(2 pi) / 2
        5.9189
    """

    kind: ClassVar[str] = "gaussian"

    def mean_loss(self, errors: Array, prediction: ValuePrediction) -> Array:
        """$m$."""
        return squared_error()(errors / prediction.scale)

    def noise_loss(self, errors: Array, prediction: ValuePrediction) -> Array:
        r"""$\ell$."""
        return gaussian(prediction.scale)(errors)


@dataclasses.dataclass(frozen=True)
class GeneralizedGaussian(ValueLoss):
    r"""TD errors have the predicted scale and shape.

    Args:
        risk_averse: weight samples by their shape.
        location: what moves the mean: ``"mean"``, the squared error, which is right whatever the law is; or ``"mode"``,
            the negative log density, which has less variance where errors are symmetric and a wrong limit where they
            are not.
        by_variance: divide the squared error by the variance of the law, as the normal law does. States whose values
            are still far off have large errors, and are then learned slowly.

    Raises:
        MethodError: an impossible setting.

    Example:
        >>> import jax.numpy as jnp
        >>> from bayeskit.models import td_error
        >>> prediction = td_error.ValuePrediction(jnp.zeros((1, 2)), jnp.full(2, 2**0.5), jnp.full(2, 2.0))
        >>> round(float(td_error.GeneralizedGaussian()(prediction, jnp.array([1.0, 3.0]))), 4)  # as the normal law
        5.9189
    """

    kind: ClassVar[str] = "generalized_gaussian"

    risk_averse: bool = True
    location: str = "mean"
    by_variance: bool = False

    def __post_init__(self) -> None:
        require(isinstance(self.risk_averse, bool), "risk_averse", self.risk_averse, "True or False")
        require(isinstance(self.by_variance, bool), "by_variance", self.by_variance, "True or False")
        check_choice("location", self.location, ("mean", "mode"))

    def mean_loss(self, errors: Array, prediction: ValuePrediction) -> Array:
        """$m$."""
        if self.location == "mode":
            return generalized_gaussian(prediction.scale, prediction.shape)(errors)
        units = jnp.sqrt(spread(prediction.scale, prediction.shape)) if self.by_variance else 1.0
        return squared_error()(errors / units)

    def noise_loss(self, errors: Array, prediction: ValuePrediction) -> Array:
        r"""$\ell$."""
        return generalized_gaussian(prediction.scale, prediction.shape)(errors)

    def weights(self, prediction: ValuePrediction) -> Array:
        """$w$."""
        return risk_averse_weights(prediction.shape) if self.risk_averse else super().weights(prediction)


@dataclasses.dataclass(frozen=True)
class InverseErrorVariance(ValueLoss):
    """Another loss, in which samples on which the heads agree move the mean more.

    Args:
        loss: the other one.
        min_effective_size: of the weights, as in :func:`inverse_error_variance`.
        use_shape: take the excess kurtosis of the heads for that of the predicted shape, as that of TD errors is.

    Raises:
        MethodError: an impossible setting.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from bayeskit.models import td_error
        >>> means = jax.random.normal(jax.random.key(0), (5, 32))
        >>> prediction = td_error.ValuePrediction(means, jnp.ones(32), jnp.full(32, 2.0))
        >>> loss = td_error.InverseErrorVariance(td_error.SquaredError())
        >>> bool(loss(prediction, jnp.zeros(32)) < td_error.SquaredError()(prediction, jnp.zeros(32)))
        True
    """

    kind: ClassVar[str] = "inverse_error_variance"

    loss: ValueLoss = dataclasses.field(default_factory=GeneralizedGaussian, metadata=part(ValueLoss))
    min_effective_size: float = 16
    use_shape: bool = False

    def __post_init__(self) -> None:
        if not isinstance(self.loss, ValueLoss) or isinstance(self.loss, InverseErrorVariance):
            raise MethodError(f"loss must be another loss, such as {self.such_as}, got {self.loss!r}")
        size = self.min_effective_size
        require(is_number(size) and size >= 1, "min_effective_size", size, "a number of at least 1")
        require(isinstance(self.use_shape, bool), "use_shape", self.use_shape, "True or False")

    def mean_loss(self, errors: Array, prediction: ValuePrediction) -> Array:
        """$m$, of the other loss."""
        return self.loss.mean_loss(errors, prediction)

    def noise_loss(self, errors: Array, prediction: ValuePrediction) -> Array:
        r"""$\ell$, of the other loss."""
        return self.loss.noise_loss(errors, prediction)

    def weights(self, prediction: ValuePrediction) -> Array:
        """$w$, of the other loss."""
        return self.loss.weights(prediction)

    def mean_weights(self, errors: Array, prediction: ValuePrediction) -> Array:
        """$u$."""
        kurtosis = excess_kurtosis(prediction.shape) if self.use_shape else 0.0
        return inverse_error_variance(errors, self.min_effective_size, kurtosis)


def _check_shapes(prediction: ValuePrediction, targets: Array) -> None:
    if prediction.mean.ndim != 2 or not prediction.mean.size:
        raise DataError(
            f"prediction.mean must have shape (heads, batch), with some of each; got {prediction.mean.shape}"
        )
    batch = prediction.mean.shape[1:]
    for name, array in (("prediction.scale", prediction.scale), ("prediction.shape", prediction.shape)):
        if array.shape != batch:
            raise DataError(f"{name} must have shape {batch}, as the batch of prediction.mean; got {array.shape}")
    if targets.shape not in (batch, prediction.mean.shape):
        raise DataError(f"targets must have shape {batch} or {prediction.mean.shape}, got {targets.shape}")
