r"""$\log p(y)$ under a scale mixture."""

from __future__ import annotations

from collections.abc import Callable

import jax.numpy as jnp
import numpyro.distributions as dist
from jaxtyping import Float, Int

from bayeskit._typing import Array
from bayeskit.models.nngp.mixtures.likelihood import DataLikelihood, FactoredLikelihood, factored, spectral
from bayeskit.models.nngp.mixtures.scale_integral import ScalePrior, on_grid
from bayeskit.models.nngp.mixtures.status import nan_if, trouble_of
from bayeskit.numerics.log_gamma import log_gamma_ratio
from bayeskit.numerics.positive_definite import log_determinant
from bayeskit.xla.precision import in_double

__all__ = ["closed_evidence", "evidence", "likelihood_of"]


@in_double
def evidence(
    kernel: Callable[..., Array], prior: ScalePrior, noise_variance: Array, x: Array, y: Array, *, noise: str
) -> tuple[Float[Array, ""], Int[Array, ""]]:
    """The log evidence in float64, NaN with trouble, and what the trouble is."""
    likelihood = likelihood_of(kernel, prior, noise_variance, x, y, noise=noise)
    if not isinstance(prior, dist.Distribution):
        value = likelihood.log_likelihood(prior[None])[0]
        trouble = trouble_of(likelihood.is_definite(prior))
    elif isinstance(prior, dist.InverseGamma) and isinstance(likelihood, FactoredLikelihood):
        value = closed_evidence(prior, likelihood)
        trouble = trouble_of(likelihood.is_definite(jnp.ones(())))
    else:
        grid = on_grid(prior, likelihood)
        value = grid.log_evidence
        trouble = trouble_of(likelihood.is_definite(grid.mode), grid.resolved)
    return nan_if(trouble, value), trouble


def likelihood_of(
    kernel: Callable[..., Array], prior: ScalePrior, noise_variance: Array, x: Array, y: Array, *, noise: str
) -> DataLikelihood:
    """The factorisation that a mixture needs: a fixed scale needs no eigenvectors wherever the noise is."""
    covariance = kernel(x, x)
    if noise == "inside":
        return factored(covariance, noise_variance, y)
    if not isinstance(prior, dist.Distribution):
        return factored(covariance, noise_variance / prior, y)
    return spectral(covariance, noise_variance, y)


def closed_evidence(prior: dist.InverseGamma, likelihood: FactoredLikelihood) -> Float[Array, ""]:
    r"""The log density of $\mathrm{MVT}(2\alpha, 0, \tfrac\beta\alpha C)$."""
    alpha, beta, half = prior.concentration, prior.rate, len(likelihood.whitened) / 2
    return (
        log_gamma_ratio(alpha, half)
        - half * jnp.log(2 * jnp.pi * beta)
        - 0.5 * log_determinant(likelihood.root)
        - (alpha + half) * jnp.log1p(likelihood.quadratic / (2 * beta))
    )
