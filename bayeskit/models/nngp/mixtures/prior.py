"""`ScaleMixturePrior`: the law of the responses under a scale mixture, as a NumPyro distribution."""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpyro.distributions as dist
from jaxtyping import Float
from numpyro.distributions import constraints
from numpyro.distributions.util import validate_sample

from bayeskit._typing import Array, ArrayLike
from bayeskit.errors import DataError
from bayeskit.models.nngp.mixtures.conditioning import evidence
from bayeskit.models.nngp.mixtures.scale_integral import ScalePrior
from bayeskit.models.nngp.mixtures.status import nan_if, raise_trouble, trouble_of
from bayeskit.numerics.positive_definite import factor
from bayeskit.xla.precision import in_double, to_default

__all__ = ["ScaleMixturePrior"]


class ScaleMixturePrior(dist.Distribution):
    r"""The law of responses at inputs: $\int N(0, \sigma^2 K + \ldots)\, dH(\sigma^2)$, made by `ScaleMixture.prior`.

    The log density has derivatives with respect to everything that the mixture is made of. A draw first draws
    $\sigma^2$, then the responses, so all of them share one scale.
    """

    support = constraints.real_vector
    pytree_data_fields = ("kernel", "scale_prior", "noise_variance", "x")
    pytree_aux_fields = ("noise",)

    def __init__(
        self,
        kernel: Callable[..., Array],
        scale_prior: ScalePrior,
        noise_variance: Array,
        x: Array,
        *,
        noise: str,
        validate_args: bool | None = None,
    ):
        self.kernel, self.scale_prior, self.noise_variance, self.x, self.noise = (
            kernel,
            scale_prior,
            noise_variance,
            x,
            noise,
        )
        super().__init__(batch_shape=(), event_shape=(x.shape[0],), validate_args=validate_args)

    def sample(self, key: Array, sample_shape: tuple[int, ...] = ()) -> Float[Array, "*s n"]:
        r"""Responses, each draw with a $\sigma^2$ of its own."""
        for_scale, for_noise, for_function = jax.random.split(key, 3)
        size = self.event_shape[0]
        root, trouble = _prior_factor(self.kernel, self.scale_prior, self.noise_variance, self.x, noise=self.noise)
        raise_trouble(trouble, self.noise, size)
        root = to_default(root)
        scale = _draw_scale(self.scale_prior, for_scale, sample_shape)[..., None]
        draws = jnp.sqrt(scale) * (jax.random.normal(for_function, (*sample_shape, size)) @ root.T)
        if self.noise == "outside":
            draws = draws + jnp.sqrt(self.noise_variance) * jax.random.normal(for_noise, draws.shape)
        return draws

    @validate_sample  # type: ignore[untyped-decorator]
    def log_prob(self, value: ArrayLike) -> Float[Array, "*b"]:
        """The log density of responses, in float64 inside.

        Raises:
            DataError: not one response for each input.
        """
        array = jnp.asarray(value)
        if array.shape[-1:] != self.event_shape:
            raise DataError(f"there must be one response for each of the {len(self.x)} inputs; got shape {array.shape}")
        if array.ndim == 1:
            result, trouble = self._log_prob(array)
        else:
            result, trouble = jax.vmap(self._log_prob)(array.reshape(-1, array.shape[-1]))
        raise_trouble(jnp.max(trouble), self.noise, self.event_shape[0])
        return to_default(result).reshape(array.shape[:-1])

    def _log_prob(self, y: Float[Array, " n"]) -> tuple[Array, Array]:
        return evidence(self.kernel, self.scale_prior, self.noise_variance, self.x, y, noise=self.noise)

    @property
    def mean(self) -> Float[Array, " n"]:
        """Zero."""
        return jnp.zeros(self.event_shape)

    @property
    def variance(self) -> Float[Array, " n"]:
        r"""$E[\sigma^2]\, K_{ii}$ and the noise."""
        scale = self.scale_prior.mean if isinstance(self.scale_prior, dist.Distribution) else self.scale_prior
        diagonal = to_default(_diagonal(self.kernel, self.x))
        inside = self.noise == "inside"
        return scale * (diagonal + self.noise_variance) if inside else scale * diagonal + self.noise_variance


def _draw_scale(prior: ScalePrior, key: Array, shape: tuple[int, ...]) -> Array:
    return prior.sample(key, shape) if isinstance(prior, dist.Distribution) else jnp.broadcast_to(prior, shape)


@in_double
def _diagonal(kernel: Callable[..., Array], x: Array) -> Array:
    return kernel(x)


@in_double
def _prior_factor(
    kernel: Callable[..., Array], prior: ScalePrior, noise_variance: Array, x: Array, *, noise: str
) -> tuple[Array, Array]:
    r"""A square root of $K + \tau^2 I$ with noise inside, of $K$ with noise outside, where $K$ may be singular."""
    del prior
    covariance = kernel(x, x)
    if noise == "inside":
        root = factor(covariance + noise_variance * jnp.eye(len(covariance)))
        trouble = trouble_of(jnp.isfinite(root[-1, -1]))
    else:
        values, vectors = jnp.linalg.eigh(covariance)
        root = vectors * jnp.sqrt(jnp.maximum(values, 0.0))
        trouble = trouble_of(values[0] >= -len(covariance) * jnp.finfo(values.dtype).eps * values[-1])
    return nan_if(trouble, root), trouble
