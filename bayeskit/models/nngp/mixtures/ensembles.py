"""The laws of ensembles of infinitely wide networks that are trained by gradient descent."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
import numpyro.distributions as dist
from jaxtyping import Bool, Float, Int

from bayeskit._keepable import keepable
from bayeskit._typing import Array, ArrayLike
from bayeskit.errors import ModelError
from bayeskit.models.nngp.mixtures.conditionals import in_blocks
from bayeskit.models.nngp.mixtures.regression_data import new_inputs
from bayeskit.models.nngp.mixtures.scale import Scale
from bayeskit.models.nngp.mixtures.status import raise_singular, raise_unless_fine, status_of
from bayeskit.models.nngp.tracing import is_traced
from bayeskit.numerics.positive_definite import factor, whiten
from bayeskit.xla.precision import in_double

__all__ = ["FullyTrainedEnsemble", "ReadoutTrainedEnsemble"]

Kernel = Callable[..., Array]


class _TrainedEnsemble(eqx.Module):
    """Normal laws of members given the scale, and the scale as it was before training."""

    kernel: Kernel
    scale: Scale
    x: Array

    @abstractmethod
    def _joint(self, points: Array) -> tuple[Array, Array, Int[Array, ""]]:
        """Mean, Cholesky factor of the covariance, and how the computation went, for a scale of one."""

    @abstractmethod
    def _each(self, points: Array) -> tuple[Array, Array]:
        """Means and standard deviations for a scale of one."""

    def predict(self, x_new: ArrayLike) -> dist.Distribution:
        """The joint law of a member at new inputs.

        Raises:
            DataError: bad inputs.
            ModelError: a joint covariance that is not positive definite, as at the inputs of the data.
        """
        points = new_inputs(x_new, self.x)
        mean, root, status = self._joint(points)
        raise_singular(status, len(points))
        return self.scale.normal_mixture(mean, root)

    def predict_each(self, x_new: ArrayLike) -> dist.Distribution:
        """The law of a member at each new input by itself, with batch shape `(points,)`.

        Raises:
            DataError: bad inputs.
        """
        return self.scale.normal_mixture(*self._each(new_inputs(x_new, self.x)))


@keepable("nngp.ReadoutTrainedEnsemble", in_double=True)
class ReadoutTrainedEnsemble(_TrainedEnsemble):
    r"""Networks whose last layer alone is trained, made by `ScaleMixture.readout_trained`.

    A member starts from a draw $f_0$ of the prior, with a scale $\sigma$ that multiplies the output and is not trained.
    Gradient descent on the weights of the last layer ends at the interpolation nearest to the start,
    $f_0(x_*) + K_* K^{-1} (y - f_0(x))$. So given $\sigma^2$

    $$f_* \sim N(K_* K^{-1} y,\; \sigma^2 (K_{**} - K_* K^{-1} K_*^\top)),$$

    with $\sigma^2$ from its prior: nothing is learned about it, and this is no posterior. Under the inverse gamma the
    law is $\mathrm{MVT}(2 \alpha, K_* K^{-1} y, \tfrac\beta\alpha \Sigma)$.

    Source: Lee, Yun, Yang and Lee (2022), "Scale Mixtures of Neural Network Gaussian Processes", theorem 3.2.
    """

    _root: Float[Array, "n n"]
    _whitened: Float[Array, " n"]

    @classmethod
    def of(cls, kernel: Kernel, scale: Scale, x: Array, y: Array) -> ReadoutTrainedEnsemble:
        """Factor the covariance, once.

        Raises:
            ModelError: it is not positive definite.
        """
        root, whitened, good = _factor_readout(kernel, x, y)
        _raise_indefinite(good, len(x), "the covariance kernel(x, x)")
        return cls(kernel, _before_data(scale), x, root, whitened)

    def _joint(self, points: Array) -> tuple[Array, Array, Int[Array, ""]]:
        return _joint_readout(self.kernel, self._root, self._whitened, self.x, points)

    def _each(self, points: Array) -> tuple[Array, Array]:
        return _each_readout(self.kernel, self._root, self._whitened, self.x, points)


@keepable("nngp.FullyTrainedEnsemble", in_double=True)
class FullyTrainedEnsemble(_TrainedEnsemble):
    r"""Networks all of whose layers are trained, in the limit of infinite width, made by `ScaleMixture.fully_trained`.

    A member starts from a draw $f_0$ of the prior with scale $\sigma$, and ends at
    $f_0(x_*) + \Theta_* \Theta^{-1} (y - f_0(x))$ with the tangent kernel $\Theta$. (The scale multiplies $\Theta$ too,
    and cancels.) So with $A = \Theta_* \Theta^{-1}$, given $\sigma^2$

    $$f_* \sim N(A y,\; \sigma^2 (K_{**} + A K A^\top - A K_*^\top - K_* A^\top)),$$

    with $\sigma^2$ from its prior: nothing is learned about it, and this is no posterior.

    Sources: Jacot, Gabriel and Hongler (2018), "Neural Tangent Kernel"; Lee, Xiao, Schoenholz, Bahri, Novak,
    Sohl-Dickstein and Pennington (2019), "Wide Neural Networks of Any Depth Evolve as Linear Models", equation 16; Lee,
    Yun, Yang and Lee (2022), "Scale Mixtures of Neural Network Gaussian Processes", theorem 3.3.
    """

    _root: Float[Array, "n n"]
    _covariance: Float[Array, "n n"]
    _solution: Float[Array, " n"]

    @classmethod
    def of(cls, kernel: Kernel, scale: Scale, x: Array, y: Array) -> FullyTrainedEnsemble:
        """Factor the tangent kernel, once.

        Raises:
            ModelError: a kernel without a tangent kernel, or one that is not positive definite.
        """
        if not (callable(getattr(kernel, "ntk", None)) and callable(getattr(kernel, "nngp", None))):
            raise ModelError(
                f"kernel must be a network with methods nngp and ntk to be trained in all layers, "
                f"got {type(kernel).__name__}; a kernel alone has readout_trained"
            )
        root, covariance, solution, good = _factor_tangent(kernel, x, y)
        _raise_indefinite(good, len(x), "the tangent kernel kernel.ntk(x)")
        return cls(kernel, _before_data(scale), x, root, covariance, solution)

    def _joint(self, points: Array) -> tuple[Array, Array, Int[Array, ""]]:
        return _joint_tangent(self.kernel, self._root, self._covariance, self._solution, self.x, points)

    def _each(self, points: Array) -> tuple[Array, Array]:
        return _each_tangent(self.kernel, self._root, self._covariance, self._solution, self.x, points)


def _before_data(scale: Scale) -> Scale:
    ready, status = scale.before_data()
    raise_unless_fine(status, "σ² K", 0)
    return ready


def _raise_indefinite(good: Bool[Array, ""], size: int, what: str) -> None:
    if not is_traced(good) and not bool(good):
        raise ModelError(
            f"{what} of the {size} points of x is not positive definite in float64, so no member interpolates: remove "
            "equal or nearly equal inputs, or take a kernel with more features than there are points"
        )


@in_double
def _factor_readout(kernel: Kernel, x: Array, y: Array) -> tuple[Array, Array, Bool[Array, ""]]:
    root = factor(kernel(x, x))
    return root, whiten(root, y), jnp.isfinite(root[-1, -1])


@in_double
def _joint_readout(
    kernel: Kernel, root: Array, whitened: Array, x: Array, x_new: Array
) -> tuple[Array, Array, Int[Array, ""]]:
    half = whiten(root, kernel(x_new, x).T)
    new = factor(kernel(x_new, x_new) - half.T @ half)
    return half.T @ whitened, new, status_of(jnp.isfinite(new[-1, -1]))


@in_double
def _each_readout(kernel: Kernel, root: Array, whitened: Array, x: Array, x_new: Array) -> tuple[Array, Array]:
    def of_block(block: Array) -> tuple[Array, Array]:
        before, half = kernel(block), whiten(root, kernel(block, x).T)
        left = before - jnp.sum(half**2, axis=0)
        return half.T @ whitened, jnp.sqrt(jnp.maximum(left, jnp.finfo(left.dtype).eps * before))

    return in_blocks(of_block, x_new)


@in_double
def _factor_tangent(kernel: Kernel, x: Array, y: Array) -> tuple[Array, Array, Array, Bool[Array, ""]]:
    root = factor(kernel.ntk(x))  # type: ignore[attr-defined]
    solution = jax.scipy.linalg.cho_solve((root, True), y)
    return root, kernel.nngp(x), solution, jnp.isfinite(root[-1, -1])  # type: ignore[attr-defined]


def _tangent_weights(kernel: Kernel, root: Array, x: Array, x_new: Array) -> tuple[Array, Array, Array]:
    r"""$\Theta_*$, $A = \Theta_* \Theta^{-1}$ and $K_*$."""
    tangent = kernel.ntk(x_new, x)  # type: ignore[attr-defined]
    return tangent, jax.scipy.linalg.cho_solve((root, True), tangent.T).T, kernel(x_new, x)


@in_double
def _joint_tangent(
    kernel: Kernel, root: Array, covariance: Array, solution: Array, x: Array, x_new: Array
) -> tuple[Array, Array, Int[Array, ""]]:
    tangent, weights, cross = _tangent_weights(kernel, root, x, x_new)
    mixed = weights @ cross.T
    new = factor(kernel(x_new, x_new) + weights @ covariance @ weights.T - mixed - mixed.T)
    return tangent @ solution, new, status_of(jnp.isfinite(new[-1, -1]))


@in_double
def _each_tangent(
    kernel: Kernel, root: Array, covariance: Array, solution: Array, x: Array, x_new: Array
) -> tuple[Array, Array]:
    def of_block(block: Array) -> tuple[Array, Array]:
        tangent, weights, cross = _tangent_weights(kernel, root, x, block)
        before = kernel(block)
        left = before + jnp.sum(weights * (weights @ covariance - 2 * cross), axis=1)
        return tangent @ solution, jnp.sqrt(jnp.maximum(left, jnp.finfo(left.dtype).eps * before))

    return in_blocks(of_block, x_new)
