"""The multivariate Student-t distribution."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpyro.distributions as dist
from jaxtyping import Float
from numpyro.distributions import constraints
from numpyro.distributions.util import validate_sample

from bayeskit._keepable import keepable
from bayeskit._typing import Array, ArrayLike
from bayeskit.errors import ModelError
from bayeskit.numerics.log_gamma import log_gamma_ratio
from bayeskit.numerics.positive_definite import log_determinant

__all__ = ["MultivariateStudentT"]


@keepable("distributions.MultivariateStudentT")
class MultivariateStudentT(dist.Distribution):
    r"""A normal vector over one common divisor: $\mu + L z \sqrt{\nu / g}$, $z \sim N(0, I)$, $g \sim \chi^2_\nu$.

    $$\log p(x) = \log \frac{\Gamma(\frac{\nu + n}2)}{\Gamma(\frac\nu2)} - \frac n2 \log(\pi \nu) - \log |L|
        - \frac{\nu + n}2\, \mathrm{log1p} \frac{|L^{-1} (x - \mu)|^2}\nu$$

    with the ratio of gamma functions computed without cancellation, so that large $\nu$ recovers the normal law
    (NumPyro's own loses the ratio in rounding from $\nu \approx 10^{10}$ on).

    Args:
        df: $\nu > 0$; shape `batch`.
        loc: $\mu$, shape `(*batch, n)`.
        scale_tril: $L$, lower triangular, shape `(*batch, n, n)`; the scale matrix is $L L^\top$, the covariance
            $\tfrac\nu{\nu - 2} L L^\top$.

    Raises:
        ModelError: shapes that do not fit.

    Example:
        >>> import jax.numpy as jnp
        >>> MultivariateStudentT(4.0, jnp.zeros(2), jnp.eye(2)).variance
        Array([2., 2.], dtype=...)
    """

    arg_constraints = {  # noqa: RUF012
        "df": constraints.positive,
        "loc": constraints.real_vector,
        "scale_tril": constraints.lower_cholesky,
    }
    support = constraints.real_vector
    reparametrized_params = ["df", "loc", "scale_tril"]  # noqa: RUF012
    pytree_data_fields = ("df", "loc", "scale_tril")

    def __init__(self, df: ArrayLike, loc: ArrayLike, scale_tril: ArrayLike, *, validate_args: bool | None = None):
        of_df, of_loc, of_scale = jnp.shape(df), jnp.shape(loc), jnp.shape(scale_tril)
        if not of_loc or len(of_scale) < 2 or not of_loc[-1] == of_scale[-1] == of_scale[-2]:
            raise ModelError(
                f"loc and scale_tril must have shapes (..., n) and (..., n, n), got {of_loc} and {of_scale}"
            )
        batch_shape = jnp.broadcast_shapes(of_df, of_loc[:-1], of_scale[:-2])
        self.df = jnp.broadcast_to(jnp.asarray(df, jnp.result_type(float)), batch_shape)
        self.loc = jnp.broadcast_to(jnp.asarray(loc), (*batch_shape, of_loc[-1]))
        self.scale_tril = jnp.broadcast_to(jnp.asarray(scale_tril), (*batch_shape, *of_scale[-2:]))
        super().__init__(batch_shape=batch_shape, event_shape=of_loc[-1:], validate_args=validate_args)

    def sample(self, key: Array, sample_shape: tuple[int, ...] = ()) -> Float[Array, "*s n"]:
        r"""Draws whose coordinates share one divisor, and so their tails."""
        for_normal, for_divisor = jax.random.split(key)
        shape = (*sample_shape, *self.batch_shape)
        normal = jax.random.normal(for_normal, (*shape, *self.event_shape), self.scale_tril.dtype)
        # log: a gamma of small shape underflows, its square root in a denominator must not
        half = jax.random.loggamma(for_divisor, self.df / 2, shape)
        stretch = jnp.exp(0.5 * (jnp.log(self.df / 2) - half))
        return self.loc + stretch[..., None] * jnp.einsum("...ij,...j->...i", self.scale_tril, normal)

    @validate_sample  # type: ignore[untyped-decorator]
    def log_prob(self, value: ArrayLike) -> Float[Array, "*b"]:
        """The joint log density of a vector, by one solve with the root of the scale matrix."""
        size = self.event_shape[0]
        distance = _squared_distance(self.scale_tril, jnp.asarray(value) - self.loc)
        ratio = log_gamma_ratio(self.df / 2, size / 2) - size / 2 * jnp.log(jnp.pi * self.df)
        spread = (self.df + size) / 2 * jnp.log1p(distance / self.df)
        return ratio - 0.5 * log_determinant(self.scale_tril) - spread

    @property
    def mean(self) -> Float[Array, "*b n"]:
        r"""$\mu$; NaN where $\nu \le 1$: there is none."""
        return jnp.where(self.df[..., None] > 1, self.loc, jnp.nan)

    @property
    def variance(self) -> Float[Array, "*b n"]:
        r"""Of each coordinate; infinite where $1 < \nu \le 2$, NaN where there is no mean."""
        return self._stretch[..., None] * jnp.sum(self.scale_tril**2, axis=-1)

    @property
    def covariance_matrix(self) -> Float[Array, "*b n n"]:
        r"""$\tfrac\nu{\nu - 2} L L^\top$, with infinities and NaN as in `variance`."""
        matrix = self.scale_tril @ jnp.swapaxes(self.scale_tril, -1, -2)
        return self._stretch[..., None, None] * matrix

    @property
    def _stretch(self) -> Array:
        finite = self.df / jnp.where(self.df > 2, self.df - 2, 1.0)
        return jnp.where(self.df > 2, finite, jnp.where(self.df > 1, jnp.inf, jnp.nan))


def _squared_distance(root: Float[Array, "*b n n"], difference: Float[Array, "*c n"]) -> Float[Array, "*d"]:
    r"""$|L^{-1} v|^2$, with one triangular solution for all vectors that share a factor."""
    lead, size = jnp.broadcast_shapes(root.shape[:-2], difference.shape[:-1]), root.shape[-1]
    if root.ndim == 2:
        columns = difference.reshape(-1, size).T
        return jnp.sum(_solve(root, columns) ** 2, axis=0).reshape(difference.shape[:-1])
    full = jnp.broadcast_to(difference, (*lead, size))[..., None]
    return jnp.sum(_solve(jnp.broadcast_to(root, (*lead, size, size)), full)[..., 0] ** 2, axis=-1)


def _solve(root: Array, columns: Array) -> Array:
    return jax.scipy.linalg.solve_triangular(root, columns, lower=True)
