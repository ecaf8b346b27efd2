"""`ScaleMixture`: a Gaussian process whose scale is random."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import equinox as eqx
import numpyro.distributions as dist

from bayeskit._keepable import keepable
from bayeskit._keys import as_key
from bayeskit._typing import Array, ArrayLike, Key
from bayeskit.errors import ModelError
from bayeskit.models.nngp.mixtures.conditioning import log_evidence
from bayeskit.models.nngp.mixtures.ensembles import FullyTrainedEnsemble, ReadoutTrainedEnsemble
from bayeskit.models.nngp.mixtures.importance import ImportancePosterior, sample_importance
from bayeskit.models.nngp.mixtures.noise import Noise, as_noise_variance, check_place, noise_of
from bayeskit.models.nngp.mixtures.posterior import MixturePosterior
from bayeskit.models.nngp.mixtures.prior import ScaleMixturePrior
from bayeskit.models.nngp.mixtures.regression_data import inputs, responses
from bayeskit.models.nngp.mixtures.scale import Scale
from bayeskit.models.nngp.mixtures.scale_prior import as_scale
from bayeskit.models.nngp.mixtures.status import raise_unless_fine
from bayeskit.models.nngp.tracing import is_traced
from bayeskit.xla.precision import to_default

__all__ = ["ScaleMixture"]

Kernel: TypeAlias = Callable[..., Array]


@keepable("nngp.ScaleMixture", in_double=True)
class ScaleMixture(eqx.Module):
    r"""A Gaussian process with a random scale: $\sigma^2 \sim H$, $f \mid \sigma^2 \sim GP(0, \sigma^2 K)$.

    The last layer of an infinitely wide network has variance $\sigma^2$, drawn once for the whole function. Noise
    *inside* the scale is $y \mid \sigma^2 \sim N(0, \sigma^2 (K + \tau^2 I))$, *outside* it
    $N(0, \sigma^2 K + \tau^2 I)$. With noise inside and an inverse gamma $(\alpha, \beta)$, $y$ is multivariate
    Student-t with $2\alpha$ degrees of freedom and scale $\tfrac\beta\alpha (K + \tau^2 I)$, and everything is closed.
    Any other law is integrated over $\log \sigma^2$ by the trapezoidal rule, to about ten digits, after one Cholesky
    factorisation (inside) or one eigendecomposition (outside).

    The kernel, the parameters of the law and the noise variance are leaves of the pytree and may be traced: draw them
    in a NumPyro model and pass ``mixture.prior(x)`` to ``numpyro.sample``. The linear algebra is done in float64,
    whatever the default of the process is.

    Args:
        kernel: `kernel(x1, x2)` is a matrix and `kernel(x)` the diagonal: a network, or any tinygp kernel.
        scale_prior: a NumPyro distribution of $\sigma^2$ on the positive numbers; or a positive number: the Gaussian
            process with that scale.
        noise: ``"inside"`` or ``"outside"``.
        noise_variance: $\tau^2 \ge 0$.

    Raises:
        ModelError: an impossible setting.

    Source: Lee, Yun, Yang and Lee (2022), "Scale Mixtures of Neural Network Gaussian Processes".

    Example:
        >>> import numpy as np, tinygp, numpyro.distributions as dist
        >>> from bayeskit.models import nngp
        >>> x = np.linspace(0.0, 1.0, 10)[:, None]
        >>> mixture = nngp.ScaleMixture(
        ...     tinygp.kernels.ExpSquared(0.3), dist.InverseGamma(2.0, 2.0), noise_variance=0.01
        ... )
        >>> posterior = mixture.condition(x, np.sin(6 * x[:, 0]))
        >>> posterior.predict(np.array([[0.55]])).mean.round(2)
        Array([-0.16], dtype=...)
    """

    kernel: Kernel
    _scale: Scale
    noise: str = eqx.field(static=True)
    noise_variance: Array

    def __init__(
        self,
        kernel: Kernel,
        scale_prior: dist.Distribution | ArrayLike,
        *,
        noise: str = "inside",
        noise_variance: ArrayLike = 0.0,
    ):
        if not callable(kernel):
            raise ModelError(f"kernel must be called as kernel(x1, x2) and kernel(x), got {type(kernel).__name__}")
        self.noise = check_place(noise)
        self.kernel = kernel
        self._scale = as_scale(scale_prior)
        self.noise_variance = as_noise_variance(noise_variance)

    @property
    def scale_prior(self) -> dist.Distribution | Array:
        r"""The law of $\sigma^2$, or its value."""
        return self._scale.as_given

    @property
    def _noise(self) -> Noise:
        return noise_of(self.noise, self.noise_variance)

    def prior(self, x: ArrayLike) -> ScaleMixturePrior:
        r"""The law of the responses $y$ at `x` before data, noise included: for `numpyro.sample("y", ..., obs=y)`.

        Raises:
            DataError: bad inputs.
        """
        return ScaleMixturePrior(self.kernel, self._scale, self._noise, inputs(x))

    def log_marginal_likelihood(self, x: ArrayLike, y: ArrayLike) -> Array:
        r"""$\log p(y) = \log \int p(y \mid \sigma^2)\, dH(\sigma^2)$.

        Raises:
            DataError: bad inputs or responses.
            ModelError: a covariance that is not positive definite, or an integral that is not resolved. In a compiled
                function, where nothing can be raised, the value is NaN.
        """
        points = inputs(x)
        noise = self._noise
        value, status = log_evidence(self.kernel, self._scale, noise, points, responses(y, points))
        raise_unless_fine(status, noise.covariance, len(points))
        return to_default(value)

    def condition(self, x: ArrayLike, y: ArrayLike) -> MixturePosterior:
        """Everything given responses: the law of the scale and of the function at new inputs.

        The factorisation is done once, here, and kept.

        Raises:
            DataError: bad inputs or responses.
            ModelError: as `log_marginal_likelihood`.
        """
        points = inputs(x)
        return MixturePosterior.of(self.kernel, self._scale, self._noise, points, responses(y, points))

    def importance(self, x: ArrayLike, y: ArrayLike, *, num_draws: int = 1000, key: Key) -> ImportancePosterior:
        """As the paper does it: draws of the scale from its prior, weighted by the likelihood. For comparison only.

        Warns when the effective sample size is below 100, as it is for more than a few hundred responses.

        Raises:
            DataError: bad inputs or responses.
            MethodError: a fixed scale, or fewer than two draws.
            ModelError: a covariance that is not positive definite.
        """
        points = inputs(x)
        given = responses(y, points)
        return sample_importance(self.kernel, self._scale, self._noise, points, given, num_draws, as_key(key))

    def readout_trained(self, x: ArrayLike, y: ArrayLike) -> ReadoutTrainedEnsemble:
        """The law of networks whose last layer alone is trained to interpolate the responses.

        Raises:
            DataError: bad inputs or responses.
            ModelError: noise, or a covariance that is not positive definite.
        """
        self._check_noiseless()
        points = inputs(x)
        return ReadoutTrainedEnsemble.of(self.kernel, self._scale, points, responses(y, points))

    def fully_trained(self, x: ArrayLike, y: ArrayLike) -> FullyTrainedEnsemble:
        """The law of networks all of whose layers are trained to interpolate the responses.

        Raises:
            DataError: bad inputs or responses.
            ModelError: noise, a kernel that is no network, or a tangent kernel that is not positive definite.
        """
        self._check_noiseless()
        points = inputs(x)
        return FullyTrainedEnsemble.of(self.kernel, self._scale, points, responses(y, points))

    def _check_noiseless(self) -> None:
        if is_traced(self.noise_variance) or float(self.noise_variance) != 0:
            raise ModelError(
                "noise_variance must be 0 for a trained ensemble: a member is trained to zero loss and interpolates "
                "the responses; condition() has noise"
            )
