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
from bayeskit.models.nngp.mixtures.conditioning import log_evidence
from bayeskit.models.nngp.mixtures.noise import Noise
from bayeskit.models.nngp.mixtures.scale import Scale
from bayeskit.models.nngp.mixtures.status import nan_unless_fine, raise_unless_fine, status_of
from bayeskit.xla.precision import in_double, to_default

__all__ = ["ScaleMixturePrior"]


class ScaleMixturePrior(dist.Distribution):
    r"""The law of responses at inputs: $\int N(0, \sigma^2 K + \ldots)\, dH(\sigma^2)$, made by `ScaleMixture.prior`.

    The log density has derivatives with respect to everything that the mixture is made of. A draw first draws
    $\sigma^2$, then the responses, so all of them share one scale.
    """

    support = constraints.real_vector
    pytree_data_fields = ("kernel", "scale", "noise", "x")

    def __init__(
        self,
        kernel: Callable[..., Array],
        scale: Scale,
        noise: Noise,
        x: Array,
        *,
        validate_args: bool | None = None,
    ):
        self.kernel, self.scale, self.noise, self.x = kernel, scale, noise, x
        super().__init__(batch_shape=(), event_shape=(x.shape[0],), validate_args=validate_args)

    def sample(self, key: Array, sample_shape: tuple[int, ...] = ()) -> Float[Array, "*s n"]:
        r"""Responses, each draw with a $\sigma^2$ of its own."""
        for_scale, for_noise, for_function = jax.random.split(key, 3)
        size = self.event_shape[0]
        root, status = _prior_root(self.kernel, self.noise, self.x)
        raise_unless_fine(status, self.noise.covariance, size)
        scale = self.scale.law.sample(for_scale, sample_shape)[..., None]
        normal = jax.random.normal(for_function, (*sample_shape, size))
        return self.noise.added(for_noise, jnp.sqrt(scale) * (normal @ to_default(root).T))

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
            result, status = self._log_prob(array)
        else:
            result, status = jax.vmap(self._log_prob)(array.reshape(-1, array.shape[-1]))
        raise_unless_fine(jnp.max(status), self.noise.covariance, self.event_shape[0])
        return to_default(result).reshape(array.shape[:-1])

    def _log_prob(self, y: Float[Array, " n"]) -> tuple[Array, Array]:
        return log_evidence(self.kernel, self.scale, self.noise, self.x, y)

    @property
    def mean(self) -> Float[Array, " n"]:
        """Zero: a process of this family has no mean function."""
        return jnp.zeros(self.event_shape)

    @property
    def variance(self) -> Float[Array, " n"]:
        r"""$E[\sigma^2]\, K_{ii}$ and the noise."""
        return self.noise.response_variance(self.scale.law.mean, to_default(_diagonal(self.kernel, self.x)))


@in_double
def _diagonal(kernel: Callable[..., Array], x: Array) -> Array:
    return kernel(x)


@in_double
def _prior_root(kernel: Callable[..., Array], noise: Noise, x: Array) -> tuple[Array, Array]:
    root, definite = noise.prior_root(kernel(x, x))
    status = status_of(definite)
    return nan_unless_fine(status, root), status
