"""`MixturePosterior`: a scale mixture given responses."""

from __future__ import annotations

from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
import numpyro.distributions as dist
from jaxtyping import Float, Int

from bayeskit._errors import ModelError
from bayeskit._typing import Array, ArrayLike
from bayeskit.distributions import MultivariateStudentT
from bayeskit.models.nngp.evidence_integral import closed_evidence, likelihood_of
from bayeskit.models.nngp.likelihood import FactoredLikelihood, Likelihood
from bayeskit.models.nngp.mixture_moments import each_moments, joint_moments
from bayeskit.models.nngp.regression_data import new_inputs
from bayeskit.models.nngp.scale_law import ScaleGrid, ScalePrior, on_grid, thinned
from bayeskit.models.nngp.scale_posterior import QuadratureScale
from bayeskit.models.nngp.trouble import nan_if, raise_trouble, trouble_of
from bayeskit.numerics.double import in_double, to_default

__all__ = ["MixturePosterior"]


class MixturePosterior(eqx.Module):
    r"""The law of the scale and of the function given responses, made by `ScaleMixture.condition`.

    With noise inside and an inverse gamma law, $\sigma^2 \mid y$ is inverse gamma and predictions are Student-t; with a
    fixed scale they are normal; else they are finite mixtures of normals, one for each node of the integral over
    $\log \sigma^2$ (only as many as that integral needs to ten digits).
    """

    kernel: Callable[..., Array]
    scale_prior: ScalePrior
    noise_variance: Array
    x: Array
    likelihood: Likelihood
    grid: ScaleGrid | None
    _log_evidence: Float[Array, ""]
    noise: str = eqx.field(static=True)

    @classmethod
    def of(
        cls,
        kernel: Callable[..., Array],
        scale_prior: ScalePrior,
        noise_variance: Array,
        x: Array,
        y: Array,
        noise: str,
    ) -> MixturePosterior:
        """Factor the covariance and integrate over the scale, once.

        Raises:
            ModelError: a covariance that is not positive definite, or an integral that is not resolved.
        """
        likelihood, grid, value, trouble = _condition(kernel, scale_prior, noise_variance, x, y, noise=noise)
        raise_trouble(trouble, noise, len(x))
        grid = None if grid is None else thinned(grid)
        return cls(kernel, scale_prior, noise_variance, x, likelihood, grid, value, noise)

    @property
    def log_marginal_likelihood(self) -> Float[Array, ""]:
        """The log density of the responses."""
        return to_default(self._log_evidence)

    @property
    def scale(self) -> dist.Distribution:
        r"""The law of $\sigma^2$ given the responses: inverse gamma, from the integral, or a point for a fixed scale."""
        if not isinstance(self.scale_prior, dist.Distribution):
            return dist.Delta(to_default(self.scale_prior))
        if self.grid is None:
            return dist.InverseGamma(*to_default(_inverse_gamma(self.scale_prior, self.likelihood)))
        return QuadratureScale(self.scale_prior, self.likelihood, self.grid)

    def predict(self, x_new: ArrayLike, *, include_noise: bool = False) -> dist.Distribution:
        """The joint law of the function (with `include_noise`, of responses) at new inputs.

        Raises:
            DataError: bad inputs.
            ModelError: a joint covariance that is not positive definite, as without noise at the inputs of the data.
        """
        points = new_inputs(x_new, self.x)
        scales, log_weights = self._components()
        mean, root, trouble = joint_moments(
            self.kernel, self.likelihood, self.noise_variance, self.x, points, scales,
            noise=self.noise, include_noise=include_noise,
        )  # fmt: skip
        if not isinstance(trouble, jax.core.Tracer) and int(trouble):
            raise ModelError(
                f"the joint law at the {len(points)} points of x_new has a covariance that is not positive definite in "
                "float64, as it is where points are nearly equal or the function is already known; use predict_each, "
                "or include_noise=True"
            )
        mean, root, log_weights = to_default((mean, root, log_weights))
        if log_weights is not None:
            return dist.MixtureSameFamily(
                dist.Categorical(logits=log_weights), dist.MultivariateNormal(mean, scale_tril=root)
            )
        degrees = self._degrees_of_freedom()
        if degrees is None:
            return dist.MultivariateNormal(mean[0], scale_tril=root[0])
        return MultivariateStudentT(degrees, mean[0], root[0])

    def predict_each(self, x_new: ArrayLike, *, include_noise: bool = False) -> dist.Distribution:
        """The law of the function (with `include_noise`, of a response) at each new input by itself.

        The batch shape is `(points,)`. No joint covariance is made, and the points are worked through in blocks.

        Raises:
            DataError: bad inputs.
        """
        points = new_inputs(x_new, self.x)
        scales, log_weights = self._components()
        mean, deviation = to_default(
            each_moments(
                self.kernel, self.likelihood, self.noise_variance, self.x, points, scales,
                noise=self.noise, include_noise=include_noise,
            )
        )  # fmt: skip
        if log_weights is not None:
            weights = jnp.broadcast_to(to_default(log_weights), mean.shape)
            return dist.MixtureSameFamily(dist.Categorical(logits=weights), dist.Normal(mean, deviation))
        degrees = self._degrees_of_freedom()
        if degrees is None:
            return dist.Normal(mean[:, 0], deviation[:, 0])
        return dist.StudentT(degrees, mean[:, 0], deviation[:, 0])

    def _components(self) -> tuple[Float[Array, " m"], Float[Array, " m"] | None]:
        """Scales to predict at, and the log weights of a mixture if it is one."""
        if not isinstance(self.scale_prior, dist.Distribution):
            return jnp.reshape(self.scale_prior, (1,)), None
        if self.grid is None:
            return _student_scale(self.scale_prior, self.likelihood)[None], None
        return self.grid.scales, self.grid.log_weights

    def _degrees_of_freedom(self) -> Array | None:
        if not isinstance(self.scale_prior, dist.Distribution):
            return None
        shape, _ = to_default(_inverse_gamma(self.scale_prior, self.likelihood))
        return 2 * shape


@in_double
def _condition(
    kernel: Callable[..., Array], prior: ScalePrior, noise_variance: Array, x: Array, y: Array, *, noise: str
) -> tuple[Likelihood, ScaleGrid | None, Float[Array, ""], Int[Array, ""]]:
    likelihood = likelihood_of(kernel, prior, noise_variance, x, y, noise=noise)
    if not isinstance(prior, dist.Distribution):
        value, trouble = likelihood.log_likelihood(prior[None])[0], trouble_of(likelihood.is_definite(prior))
        return likelihood, None, nan_if(trouble, value), trouble
    if isinstance(prior, dist.InverseGamma) and isinstance(likelihood, FactoredLikelihood):
        trouble = trouble_of(likelihood.is_definite(jnp.ones(())))
        return likelihood, None, nan_if(trouble, closed_evidence(prior, likelihood)), trouble
    grid = on_grid(prior, likelihood)
    trouble = trouble_of(likelihood.is_definite(grid.mode), grid.resolved)
    grid = grid._replace(log_weights=nan_if(trouble, grid.log_weights))  # so that predictions are NaN with trouble
    return likelihood, grid, nan_if(trouble, grid.log_evidence), trouble


@in_double
def _inverse_gamma(prior: dist.InverseGamma, likelihood: FactoredLikelihood) -> tuple[Array, Array]:
    r"""$(\alpha + n / 2, \beta + q / 2)$."""
    return prior.concentration + len(likelihood.whitened) / 2, prior.rate + likelihood.quadratic / 2


@in_double
def _student_scale(prior: dist.InverseGamma, likelihood: FactoredLikelihood) -> Array:
    r"""$(2 \beta + q) / (2 \alpha + n)$."""
    size = len(likelihood.whitened)
    return (2 * prior.rate + likelihood.quadratic) / (2 * prior.concentration + size)
