"""The inverse gamma family, which is conjugate: everything is a Student-t."""

from __future__ import annotations

import jax.numpy as jnp
import numpyro.distributions as dist
from jaxtyping import Float

from bayeskit._keepable import keepable
from bayeskit._typing import Array
from bayeskit.distributions import MultivariateStudentT
from bayeskit.models.nngp.mixtures.likelihood import FactoredLikelihood
from bayeskit.models.nngp.mixtures.scale import ConjugateScale, scaled_root
from bayeskit.numerics.log_gamma import log_gamma_ratio
from bayeskit.xla.precision import to_default

__all__ = ["InverseGammaScale"]


@keepable("nngp.InverseGammaScale")
class InverseGammaScale(ConjugateScale):
    r"""$\sigma^2 \sim \mathrm{IG}(\alpha, \beta)$."""

    distribution: dist.InverseGamma

    def posterior(self, likelihood: FactoredLikelihood) -> InverseGammaScale:
        r"""$\mathrm{IG}(\alpha + n / 2, \beta + q / 2)$."""
        prior = self.distribution
        return InverseGammaScale(
            dist.InverseGamma(prior.concentration + likelihood.size / 2, prior.rate + likelihood.quadratic / 2)
        )

    def log_evidence(self, likelihood: FactoredLikelihood) -> Float[Array, "*laws"]:
        r"""The log density of $\mathrm{MVT}(2\alpha, 0, \tfrac\beta\alpha C)$."""
        alpha, beta, half = self.distribution.concentration, self.distribution.rate, likelihood.size / 2
        return (
            # not a difference of two log gammas, which loses all digits where the law is nearly a point
            log_gamma_ratio(alpha, half)
            - half * jnp.log(2 * jnp.pi * beta)
            - 0.5 * likelihood.log_determinant
            - (alpha + half) * jnp.log1p(likelihood.quadratic / (2 * beta))
        )

    def normal_mixture(self, mean: Float[Array, " n"], root: Array) -> dist.Distribution:
        r"""$\mathrm{MVT}(2\alpha, \mu, \tfrac\beta\alpha \Sigma)$."""
        alpha, beta = self.distribution.concentration, self.distribution.rate
        degrees, mean, scaled = to_default((2 * alpha, mean, scaled_root(beta / alpha, root)))
        return dist.StudentT(degrees, mean, scaled) if root.ndim == 1 else MultivariateStudentT(degrees, mean, scaled)
