"""`MixturePosterior`: a scale mixture given responses."""

from __future__ import annotations

from collections.abc import Callable

import equinox as eqx
import jax.numpy as jnp
import numpyro.distributions as dist
from jaxtyping import Float

from bayeskit._keepable import keepable
from bayeskit._typing import Array, ArrayLike
from bayeskit.models.nngp.mixtures.conditionals import each_conditional, joint_conditional
from bayeskit.models.nngp.mixtures.conditioning import condition
from bayeskit.models.nngp.mixtures.likelihood import DataLikelihood
from bayeskit.models.nngp.mixtures.noise import Noise
from bayeskit.models.nngp.mixtures.regression_data import new_inputs
from bayeskit.models.nngp.mixtures.scale import Scale
from bayeskit.models.nngp.mixtures.status import raise_singular, raise_unless_fine
from bayeskit.xla.precision import to_default

__all__ = ["MixturePosterior"]


@keepable("nngp.MixturePosterior", in_double=True)
class MixturePosterior(eqx.Module):
    r"""The law of the scale and of the function given responses, made by `ScaleMixture.condition`.

    With noise inside and an inverse gamma law, $\sigma^2 \mid y$ is inverse gamma and predictions are Student-t; with a
    fixed scale they are normal. For another law and noise inside they are normal with a random scale
    (`NormalScaleMixture`); with noise outside, a finite mixture of normals over nodes of the scale
    (`ScaleNodesMixture`).
    """

    kernel: Callable[..., Array]
    x: Array
    likelihood: DataLikelihood
    _noise: Noise
    _scale: Scale
    _log_evidence: Float[Array, ""]

    @classmethod
    def of(cls, kernel: Callable[..., Array], scale: Scale, noise: Noise, x: Array, y: Array) -> MixturePosterior:
        """Factor the covariance and integrate over the scale, once.

        Raises:
            ModelError: a covariance that is not positive definite, or an integral that is not resolved.
        """
        simplified, likelihood, given = condition(kernel, scale, noise, x, y)
        raise_unless_fine(given.status, noise.covariance, len(x))
        return cls(kernel, x, likelihood, simplified, given.scale, given.log_evidence)

    @property
    def log_marginal_likelihood(self) -> Float[Array, ""]:
        """The log density of the responses."""
        return to_default(self._log_evidence)

    @property
    def scale(self) -> dist.Distribution:
        r"""The law of $\sigma^2$ given the responses: inverse gamma, from the integral, or a point (a fixed scale)."""
        return self._scale.law

    def predict(self, x_new: ArrayLike, *, include_noise: bool = False) -> dist.Distribution:
        """The joint law of the function (with `include_noise`, of responses) at new inputs.

        Raises:
            DataError: bad inputs.
            ModelError: a joint covariance that is not positive definite, as without noise at the inputs of the data.
        """
        points = new_inputs(x_new, self.x)

        def conditional(scales: Float[Array, " m"]) -> tuple[Array, Array]:
            mean, root, status = joint_conditional(*self._given(points, include_noise), scales)
            raise_singular(status, len(points))
            return mean, root

        return self._noise.predictive(self._scale, conditional, len(self.x) + len(points), axis=0)

    def predict_each(self, x_new: ArrayLike, *, include_noise: bool = False) -> dist.Distribution:
        """The law of the function (with `include_noise`, of a response) at each new input by itself.

        The batch shape is `(points,)`. No joint covariance is made, and the points are worked through in blocks.

        Raises:
            DataError: bad inputs.
        """
        given = self._given(new_inputs(x_new, self.x), include_noise)
        return self._noise.predictive(
            self._scale, lambda scales: each_conditional(*given, scales), len(self.x) + 1, axis=1
        )

    def _given(
        self, points: Array, include_noise: bool
    ) -> tuple[Callable[..., Array], DataLikelihood, Array, Array, Array]:
        added = self._noise.variance if include_noise else jnp.zeros(())
        return self.kernel, self.likelihood, self.x, points, added
