"""`ImportancePosterior`: a scale mixture given responses by importance sampling from the prior, for comparison."""

from __future__ import annotations

import warnings
from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
import numpyro.distributions as dist
from jax.scipy.special import logsumexp
from jaxtyping import Float, Int

from bayeskit._keepable import keepable
from bayeskit._typing import Array, ArrayLike
from bayeskit.errors import MethodError
from bayeskit.models.nngp.mixtures.conditionals import each_conditional
from bayeskit.models.nngp.mixtures.likelihood import DataLikelihood
from bayeskit.models.nngp.mixtures.noise import Noise
from bayeskit.models.nngp.mixtures.regression_data import new_inputs
from bayeskit.models.nngp.mixtures.scale import Scale
from bayeskit.models.nngp.mixtures.scale_integral import at_largest
from bayeskit.models.nngp.mixtures.status import raise_unless_fine, status_of
from bayeskit.models.nngp.tracing import is_traced
from bayeskit.xla.precision import in_double, to_default

__all__ = ["ImportancePosterior", "sample_importance"]

FEW = 100


@keepable("nngp.ImportancePosterior", in_double=True)
class ImportancePosterior(eqx.Module):
    r"""Draws of $\sigma^2$ from its prior, weighted by $p(y \mid \sigma^2)$; see `ScaleMixture.importance`.

    The weights concentrate on the draws that lie where the posterior is, whose width falls like $1 / \sqrt n$.
    `ScaleMixture.condition` integrates instead, and has no such error.
    """

    kernel: Callable[..., Array]
    x: Array
    likelihood: DataLikelihood
    _noise: Noise
    _scales: Float[Array, " draw"]
    _log_weights: Float[Array, " draw"]
    _log_evidence: Float[Array, ""]

    @property
    def scales(self) -> Float[Array, " draw"]:
        r"""The draws of $\sigma^2$."""
        return to_default(self._scales)

    @property
    def log_weights(self) -> Float[Array, " draw"]:
        """The log of the weights, which sum to one."""
        return to_default(self._log_weights)

    @property
    def log_marginal_likelihood(self) -> Float[Array, ""]:
        """The log of the mean likelihood, an unbiased estimate before the log."""
        return to_default(self._log_evidence)

    @property
    def effective_sample_size(self) -> Float[Array, ""]:
        r"""$1 / \sum w^2$."""
        return jnp.exp(-logsumexp(2 * self.log_weights))

    @property
    def scale_mean(self) -> Float[Array, ""]:
        r"""The weighted mean of $\sigma^2$."""
        return jnp.sum(jnp.exp(self.log_weights) * self.scales)

    def predict_each(self, x_new: ArrayLike, *, include_noise: bool = False) -> dist.MixtureSameFamily:
        """The law of the function (with `include_noise`, of a response) at each new input: one normal a draw.

        Raises:
            DataError: bad inputs.
        """
        added = self._noise.variance if include_noise else jnp.zeros(())
        points = new_inputs(x_new, self.x)
        mean, deviation = to_default(
            each_conditional(self.kernel, self.likelihood, self.x, points, added, self._scales)
        )
        weights = jnp.broadcast_to(self.log_weights, mean.shape)
        return dist.MixtureSameFamily(dist.Categorical(logits=weights), dist.Normal(mean, deviation))


def sample_importance(
    kernel: Callable[..., Array], scale: Scale, noise: Noise, x: Array, y: Array, num_draws: int, key: Array
) -> ImportancePosterior:
    """Draw and weight; warns when few draws carry the weight.

    Raises:
        MethodError: a fixed scale, or fewer than two draws.
        ModelError: a covariance that is not positive definite.
    """
    if scale.known is not None:
        raise MethodError("scale_prior is a number: with a fixed scale there is nothing to sample; use condition")
    if isinstance(num_draws, bool) or num_draws < 2:
        raise MethodError(f"num_draws must be at least 2, got {num_draws}")
    scales = jax.lax.stop_gradient(scale.law.sample(key, (num_draws,)))
    likelihood, log_weights, value, status = _weigh(kernel, noise, x, y, scales)
    raise_unless_fine(status, noise.covariance, len(x))
    posterior = ImportancePosterior(kernel, x, likelihood, noise, scales, log_weights, value)
    size = posterior.effective_sample_size
    if not is_traced(size) and size < FEW:
        warnings.warn(
            f"importance sampling from scale_prior has an effective sample size of {float(size):.1f} of {num_draws} "
            f"draws: the likelihood of {len(x)} responses is much narrower than the prior of σ². Use condition(), "
            "which integrates over σ² instead of sampling, or more draws",
            stacklevel=3,
        )
    return posterior


@in_double
def _weigh(
    kernel: Callable[..., Array], noise: Noise, x: Array, y: Array, scales: Float[Array, " draw"]
) -> tuple[DataLikelihood, Float[Array, " draw"], Float[Array, ""], Int[Array, ""]]:
    likelihood = noise.likelihood(kernel(x, x), y)
    log_likelihood = likelihood.log_likelihood(scales)
    total = logsumexp(log_likelihood)
    status = status_of(likelihood.is_definite(at_largest(log_likelihood, scales)))
    return likelihood, log_likelihood - total, total - jnp.log(len(scales)), status
