"""`MixturePosterior`: a scale mixture given responses."""

from __future__ import annotations

from collections.abc import Callable

import equinox as eqx
import jax.numpy as jnp
import numpyro.distributions as dist
from jaxtyping import Float, Int

from bayeskit._typing import Array, ArrayLike
from bayeskit.distributions import MultivariateStudentT
from bayeskit.models.nngp.mixtures.conditionals import each_moments, joint_moments
from bayeskit.models.nngp.mixtures.conditioning import closed_evidence, likelihood_of
from bayeskit.models.nngp.mixtures.likelihood import DataLikelihood, FactoredLikelihood
from bayeskit.models.nngp.mixtures.predictive import NormalScaleMixture, ScaleNodesMixture
from bayeskit.models.nngp.mixtures.quadrature_scale import QuadratureScale
from bayeskit.models.nngp.mixtures.regression_data import new_inputs
from bayeskit.models.nngp.mixtures.scale_integral import ScaleGrid, ScalePrior, on_grid, predictive_grid
from bayeskit.models.nngp.mixtures.status import nan_if, raise_singular, raise_trouble, trouble_of
from bayeskit.xla.precision import in_double, to_default

__all__ = ["MixturePosterior"]


class MixturePosterior(eqx.Module):
    r"""The law of the scale and of the function given responses, made by `ScaleMixture.condition`.

    With noise inside and an inverse gamma law, $\sigma^2 \mid y$ is inverse gamma and predictions are Student-t; with a
    fixed scale they are normal. For another law and noise inside they are normal with a random scale
    (`NormalScaleMixture`); with noise outside, a finite mixture of normals over nodes of the scale
    (`ScaleNodesMixture`).
    """

    kernel: Callable[..., Array]
    scale_prior: ScalePrior
    noise_variance: Array
    x: Array
    likelihood: DataLikelihood
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
        return cls(kernel, scale_prior, noise_variance, x, likelihood, grid, value, noise)

    @property
    def log_marginal_likelihood(self) -> Float[Array, ""]:
        """The log density of the responses."""
        return to_default(self._log_evidence)

    @property
    def scale(self) -> dist.Distribution:
        r"""The law of $\sigma^2$ given the responses: inverse gamma, from the integral, or a point (a fixed scale)."""
        if not isinstance(self.scale_prior, dist.Distribution):
            return dist.Delta(to_default(self.scale_prior))
        if self.grid is None:
            return dist.InverseGamma(*to_default(_inverse_gamma(self.scale_prior, self._factored)))
        return QuadratureScale(self.scale_prior, self.likelihood, self.grid)

    def predict(self, x_new: ArrayLike, *, include_noise: bool = False) -> dist.Distribution:
        """The joint law of the function (with `include_noise`, of responses) at new inputs.

        Raises:
            DataError: bad inputs.
            ModelError: a joint covariance that is not positive definite, as without noise at the inputs of the data.
        """
        points = new_inputs(x_new, self.x)
        nodes = self._nodes(len(points))
        mean, root, trouble = joint_moments(
            self.kernel, self.likelihood, self.noise_variance, self.x, points, self._scales(nodes),
            noise=self.noise, include_noise=include_noise,
        )  # fmt: skip
        raise_singular(trouble, len(points))
        mean, root = to_default((mean, root))
        if nodes is not None:
            return ScaleNodesMixture(to_default(nodes.log_weights), mean, root, jnp.isfinite(self.scale.mean))
        if self.grid is not None:
            return NormalScaleMixture(mean[0], root[0], self.scale, self.scale_prior, self.likelihood, self.grid)
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
        nodes = self._nodes(1)
        mean, deviation = to_default(
            each_moments(
                self.kernel, self.likelihood, self.noise_variance, self.x, points, self._scales(nodes),
                noise=self.noise, include_noise=include_noise,
            )
        )  # fmt: skip
        if nodes is not None:
            return ScaleNodesMixture(to_default(nodes.log_weights), mean, deviation, jnp.isfinite(self.scale.mean))
        mean, deviation = mean[:, 0], deviation[:, 0]
        if self.grid is not None:
            return NormalScaleMixture(mean, deviation, self.scale, self.scale_prior, self.likelihood, self.grid)
        degrees = self._degrees_of_freedom()
        return dist.Normal(mean, deviation) if degrees is None else dist.StudentT(degrees, mean, deviation)

    def _nodes(self, num_new: int) -> ScaleGrid | None:
        """The nodes of a finite mixture, where a prediction is one: with noise outside and a random scale."""
        if self.grid is None or isinstance(self.likelihood, FactoredLikelihood):
            return None
        return predictive_grid(self.scale_prior, self.likelihood, self.grid, len(self.x) + num_new)

    def _scales(self, nodes: ScaleGrid | None) -> Float[Array, " k"]:
        r"""What multiplies the covariance: a fixed scale, that of the Student-t, one (of a random scale), or nodes."""
        if nodes is not None:
            return nodes.scales
        if not isinstance(self.scale_prior, dist.Distribution):
            return jnp.reshape(self.scale_prior, (1,))
        return jnp.ones(1) if self.grid is not None else _student_scale(self.scale_prior, self._factored)[None]

    @property
    def _factored(self) -> FactoredLikelihood:
        assert isinstance(self.likelihood, FactoredLikelihood)
        return self.likelihood

    def _degrees_of_freedom(self) -> Array | None:
        if not isinstance(self.scale_prior, dist.Distribution):
            return None
        shape, _ = to_default(_inverse_gamma(self.scale_prior, self._factored))
        return 2 * shape


@in_double
def _condition(
    kernel: Callable[..., Array], prior: ScalePrior, noise_variance: Array, x: Array, y: Array, *, noise: str
) -> tuple[DataLikelihood, ScaleGrid | None, Float[Array, ""], Int[Array, ""]]:
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
