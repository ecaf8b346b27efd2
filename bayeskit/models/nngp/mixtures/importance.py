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

from bayeskit._typing import Array, ArrayLike
from bayeskit.errors import MethodError
from bayeskit.models.nngp.mixtures.conditionals import each_moments
from bayeskit.models.nngp.mixtures.conditioning import likelihood_of
from bayeskit.models.nngp.mixtures.likelihood import DataLikelihood
from bayeskit.models.nngp.mixtures.regression_data import new_inputs
from bayeskit.models.nngp.mixtures.scale_integral import at_largest
from bayeskit.models.nngp.mixtures.status import raise_trouble, trouble_of
from bayeskit.xla.precision import in_double, to_default

__all__ = ["ImportancePosterior", "sample_importance"]

FEW = 100


class ImportancePosterior(eqx.Module):
    r"""Draws of $\sigma^2$ from its prior, weighted by $p(y \mid \sigma^2)$; see `ScaleMixture.importance`.

    The weights concentrate on the draws that lie where the posterior is, whose width falls like $1 / \sqrt n$.
    `ScaleMixture.condition` integrates instead, and has no such error.
    """

    kernel: Callable[..., Array]
    noise_variance: Array
    x: Array
    likelihood: DataLikelihood
    _scales: Float[Array, " draw"]
    _log_weights: Float[Array, " draw"]
    _log_evidence: Float[Array, ""]
    noise: str = eqx.field(static=True)

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
        mean, deviation = to_default(
            each_moments(
                self.kernel, self.likelihood, self.noise_variance, self.x, new_inputs(x_new, self.x), self._scales,
                noise=self.noise, include_noise=include_noise,
            )
        )  # fmt: skip
        weights = jnp.broadcast_to(self.log_weights, mean.shape)
        return dist.MixtureSameFamily(dist.Categorical(logits=weights), dist.Normal(mean, deviation))


def sample_importance(
    kernel: Callable[..., Array],
    prior: object,
    noise_variance: Array,
    x: Array,
    y: Array,
    noise: str,
    num_draws: int,
    key: Array,
) -> ImportancePosterior:
    """Draw and weight; warns when few draws carry the weight.

    Raises:
        MethodError: a fixed scale, or fewer than two draws.
        ModelError: a covariance that is not positive definite.
    """
    if not isinstance(prior, dist.Distribution):
        raise MethodError("scale_prior is a number: with a fixed scale there is nothing to sample; use condition")
    if isinstance(num_draws, bool) or num_draws < 2:
        raise MethodError(f"num_draws must be at least 2, got {num_draws}")
    scales = jax.lax.stop_gradient(prior.sample(key, (num_draws,)))
    likelihood, log_weights, value, trouble = _weigh(kernel, prior, noise_variance, x, y, scales, noise=noise)
    raise_trouble(trouble, noise, len(x))
    posterior = ImportancePosterior(kernel, noise_variance, x, likelihood, scales, log_weights, value, noise)
    size = posterior.effective_sample_size
    if not isinstance(size, jax.core.Tracer) and size < FEW:
        warnings.warn(
            f"importance sampling from scale_prior has an effective sample size of {float(size):.1f} of {num_draws} "
            f"draws: the likelihood of {len(x)} responses is much narrower than the prior of σ². Use condition(), "
            "which integrates over σ² instead of sampling, or more draws",
            stacklevel=3,
        )
    return posterior


@in_double
def _weigh(
    kernel: Callable[..., Array],
    prior: dist.Distribution,
    noise_variance: Array,
    x: Array,
    y: Array,
    scales: Float[Array, " draw"],
    *,
    noise: str,
) -> tuple[DataLikelihood, Float[Array, " draw"], Float[Array, ""], Int[Array, ""]]:
    likelihood = likelihood_of(kernel, prior, noise_variance, x, y, noise=noise)
    log_likelihood = likelihood.log_likelihood(scales)
    total = logsumexp(log_likelihood)
    trouble = trouble_of(likelihood.is_definite(at_largest(log_likelihood, scales)))
    return likelihood, log_likelihood - total, total - jnp.log(len(scales)), trouble
