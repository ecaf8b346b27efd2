"""The generalized normal distribution."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpyro.distributions as dist
from jax.scipy.special import gammaln
from numpyro.distributions import constraints
from numpyro.distributions.kl import kl_divergence
from numpyro.distributions.util import promote_shapes, validate_sample

from bayeskit._keepable import keepable
from bayeskit._typing import Array, ArrayLike
from bayeskit.errors import ModelError
from bayeskit.numerics.incomplete_gamma import gamma_tails, log_gamma_quantile
from bayeskit.numerics.shifted_moment import log_shifted_moment

__all__ = ["GeneralizedNormal"]


@keepable("distributions.GeneralizedNormal")
class GeneralizedNormal(dist.Distribution):
    r"""Tails like $e^{-|x|^p}$: the Laplace law for $p = 1$, the normal for $p = 2$, nearly uniform for large $p$.

    $$\log p(x) = -\left|\frac{x - \mu}{s}\right|^p - \log(2 s\, \Gamma(1 + 1 / p))$$

    With $G$ a gamma variable of shape $1 / p$ and a random sign, $x = \mu \pm s\, G^{1 / p}$. Draws are differentiable
    in all three parameters, at a fixed quantile of $|x - \mu|$. Everything is computed from $\log |x - \mu|$ and the
    logarithms of incomplete gamma functions, so that far tails keep their digits, in single precision too for powers
    from 0.1 to 20. The distribution functions, the quantiles and the derivatives of draws by the power are NaN for
    powers below 0.01; the log density, the draws and the moments have no such limit.

    At $x = \mu$ the slope of the log density is infinite for $p < 1$ and jumps for $p = 1$; its derivatives by $x$ and
    by $\mu$ are zero there, the middle of both sides. Where $|x - \mu|^p$ is larger than any number of its type, the
    log density is minus infinity and its derivatives are large and finite.

    Args:
        loc: $\mu$.
        scale: $s > 0$; not the standard deviation, which is $s / \sqrt2$ for $p = 2$ and $s \sqrt 2$ for $p = 1$.
        power: $p > 0$, the shape parameter (`beta` in SciPy; distributions of NumPyro have a method `shape`).

    Raises:
        ModelError: shapes that do not broadcast.

    Source: Subbotin (1923), "On the law of frequency of error"; Nadarajah (2005), "A generalized normal distribution".

    Example:
        >>> import jax.numpy as jnp
        >>> law = GeneralizedNormal(0.0, 1.0, jnp.array([1.0, 2.0]))
        >>> law.variance.round(3)
        Array([2. , 0.5], dtype=...)
        >>> GeneralizedNormal(0.0, 1.0, 1.0).log_survival(1000.0).round(1)  # the survival itself is zero as a float
        Array(-1000.7, dtype=...)
    """

    arg_constraints = {  # noqa: RUF012
        "loc": constraints.real,
        "scale": constraints.positive,
        "power": constraints.positive,
    }
    support = constraints.real
    reparametrized_params = ["loc", "scale", "power"]  # noqa: RUF012
    pytree_data_fields = ("loc", "scale", "power")

    def __init__(self, loc: ArrayLike, scale: ArrayLike, power: ArrayLike, *, validate_args: bool | None = None):
        shapes = jnp.shape(loc), jnp.shape(scale), jnp.shape(power)
        try:
            batch_shape = jnp.broadcast_shapes(*shapes)
        except ValueError:
            raise ModelError(
                f"loc, scale and power must broadcast, got shapes {shapes[0]}, {shapes[1]} and {shapes[2]}"
            ) from None
        self.loc, self.scale, self.power = promote_shapes(loc, scale, power)
        super().__init__(batch_shape=batch_shape, validate_args=validate_args)

    @property
    def _parameters(self) -> tuple[Array, Array, Array]:
        """Of the batch shape, and floating-point; impossible ones, which nothing refuses in a trace, are NaN."""
        loc, scale, power = (
            jnp.broadcast_to(jnp.asarray(item, float), self.batch_shape) for item in (self.loc, self.scale, self.power)
        )
        return loc, jnp.where(scale > 0, scale, jnp.nan), jnp.where(power > 0, power, jnp.nan)

    def sample(self, key: Array, sample_shape: tuple[int, ...] = ()) -> Array:
        """A random sign times a power of a gamma variable, by logarithms: of small shapes it may be below any float."""
        loc, scale, power = self._parameters
        for_size, for_sign = jax.random.split(key)
        shape = (*sample_shape, *self.batch_shape)
        log_z = jax.random.loggamma(for_size, jax.lax.stop_gradient(1 / power), shape, power.dtype)
        size = jnp.exp(_log_size(log_z, jnp.broadcast_to(power, shape)))
        return loc + scale * jax.random.rademacher(for_sign, shape, power.dtype) * size

    @validate_sample  # type: ignore[untyped-decorator]
    def log_prob(self, value: ArrayLike) -> Array:
        """The log density."""
        loc, scale, power = self._parameters
        distance = jnp.abs(jnp.asarray(value, float) - loc)
        away = ~(distance < jnp.finfo(distance.dtype).tiny)  # so that NaN stays what it is
        log_size = _log_ratio(jnp.where(away, distance, scale), scale)
        return -jnp.where(away, _exp(power * log_size), 0.0) - _log_normalizer(scale, power)

    def cdf(self, value: ArrayLike) -> Array:
        """The mass below a number; it is small without loss of digits."""
        return jnp.exp(self.log_cdf(value))

    def log_cdf(self, value: ArrayLike) -> Array:
        """The log of the mass below a number, also where the mass is no floating-point number."""
        loc, scale, power = self._parameters
        return _log_cdf(*jnp.broadcast_arrays(jnp.asarray(value, float) - loc, scale, power))

    def log_survival(self, value: ArrayLike) -> Array:
        """The log of the mass above a number, likewise: of an observation that is censored there."""
        loc, scale, power = self._parameters
        return _log_cdf(*jnp.broadcast_arrays(loc - jnp.asarray(value, float), scale, power))

    def icdf(self, q: ArrayLike) -> Array:
        """The inverse of `cdf`; infinite at 0 and 1, NaN beyond."""
        loc, scale, power = self._parameters
        return loc + scale * _standard_quantile(*jnp.broadcast_arrays(jnp.asarray(q, float), power))

    @property
    def mean(self) -> Array:
        r"""$\mu$, which is the median too."""
        return self._parameters[0]

    @property
    def mode(self) -> Array:
        r"""$\mu$."""
        return self._parameters[0]

    @property
    def variance(self) -> Array:
        r"""$s^2\, \Gamma(3 / p) / \Gamma(1 / p)$."""
        _, scale, power = self._parameters
        return scale**2 * jnp.exp(gammaln(1 + 3 / power) - gammaln(1 + 1 / power)) / 3

    @property
    def kurtosis(self) -> Array:
        r"""The excess kurtosis, $\Gamma(5 / p)\, \Gamma(1 / p) / \Gamma(3 / p)^2 - 3$; zero for the normal law."""
        _, _, power = self._parameters
        fifth, third, first = (gammaln(1 + degree / power) for degree in (5, 3, 1))
        return 1.8 * jnp.exp(fifth + first - 2 * third) - 3

    def entropy(self) -> Array:
        r"""$1 / p + \log(2 s\, \Gamma(1 + 1 / p))$."""
        _, scale, power = self._parameters
        return 1 / power + _log_normalizer(scale, power)


@kl_divergence.register(GeneralizedNormal, GeneralizedNormal)  # type: ignore[untyped-decorator]
def _divergence(p: GeneralizedNormal, q: GeneralizedNormal) -> Array:
    r"""$E_p |x - \mu_q|^{p_q} / s_q^{p_q} + \log(2 s_q \Gamma(1 + 1 / p_q)) - H(p)$.

    The moment is closed where both have one `loc`, and an integral otherwise
    (:func:`bayeskit.numerics.shifted_moment.log_shifted_moment`).
    """
    (loc, scale, power), (other_loc, other_scale, other_power) = p._parameters, q._parameters
    log_moment = log_shifted_moment(power, other_power, (loc - other_loc) / scale)
    energy = jnp.exp(log_moment + other_power * (jnp.log(scale) - jnp.log(other_scale)))
    return energy + _log_normalizer(other_scale, other_power) - p.entropy()


def _log_normalizer(scale: Array, power: Array) -> Array:
    return jnp.log(2.0) + jnp.log(scale) + gammaln(1 + 1 / power)


def _steepest(dtype: jnp.dtype) -> float:
    """What a derivative that overflows is taken for: so large that it can be multiplied by a few things yet."""
    return float(jnp.finfo(dtype).max) ** (2 / 3)


@jax.custom_jvp
def _exp(x: Array) -> Array:
    """With a derivative that stays finite."""
    return jnp.exp(x)


@_exp.defjvp
def _exp_jvp(primals: tuple[Array], tangents: tuple[Array]) -> tuple[Array, Array]:
    value = _exp(primals[0])
    return value, jnp.minimum(value, _steepest(value.dtype)) * tangents[0]


@jax.custom_jvp
def _log_ratio(a: Array, b: Array) -> Array:
    """Of positive numbers. The ratio has fewer errors than the logarithms, but it may overflow."""
    ratio, limits = a / b, jnp.finfo(jnp.result_type(a, b))
    is_number = (ratio >= limits.tiny) & (ratio <= limits.max)
    return jnp.where(is_number, jnp.log(jnp.where(is_number, ratio, 1.0)), jnp.log(a) - jnp.log(b))


@_log_ratio.defjvp
def _log_ratio_jvp(primals: tuple[Array, Array], tangents: tuple[Array, Array]) -> tuple[Array, Array]:
    return _log_ratio(*primals), tangents[0] / primals[0] - tangents[1] / primals[1]


def _log_size_by_power(log_z: Array, power: Array) -> Array:
    r"""The derivative of $t = \tfrac1p \log z$ by $p$, while $P(1 / p, z)$ stays the same.

    The tail that is used is the one that was computed first, for which both derivatives have their digits.
    """
    shape = 1 / power
    tails = gamma_tails(shape, log_z)
    by_shape = jnp.where(tails.is_near, tails.p_by_a, tails.q_by_a)
    by_log_z = jnp.where(tails.is_near, tails.p_by_log_z, tails.q_by_log_z)
    return -(log_z - shape * by_shape / by_log_z) * shape**2


@jax.custom_jvp
def _log_size(log_z: Array, power: Array) -> Array:
    r"""$\tfrac1p \log z$ of a draw $z$ from the gamma law of shape $1 / p$."""
    return log_z / power


@_log_size.defjvp
def _log_size_jvp(primals: tuple[Array, Array], tangents: tuple[Array, Array]) -> tuple[Array, Array]:
    return _log_size(*primals), _log_size_by_power(*primals) * tangents[1]


@jax.custom_jvp
def _log_cdf(difference: Array, scale: Array, power: Array) -> Array:
    """Of `scale` times a standard variable at `difference`."""
    _, log_size = _standardized(difference, scale)
    log_above = gamma_tails(1 / power, power * log_size).log_q
    return jnp.where(difference < 0, log_above - jnp.log(2.0), jnp.log1p(-0.5 * jnp.exp(log_above)))


@_log_cdf.defjvp
def _log_cdf_jvp(primals: tuple[Array, Array, Array], tangents: tuple[Array, Array, Array]) -> tuple[Array, Array]:
    difference, scale, power = primals
    size, log_size = _standardized(difference, scale)
    tails, log_cdf = gamma_tails(1 / power, power * log_size), _log_cdf(*primals)
    is_left = difference < 0

    # density over distribution function; out on the left both underflow
    log_density = -jnp.exp(power * log_size) - _log_normalizer(jnp.ones_like(power), power)
    is_far = is_left & ~tails.is_near
    by_size = jnp.where(
        is_far, -tails.q_by_log_z * power / size, jnp.exp(jnp.where(is_far, 0.0, log_density - log_cdf))
    )
    by_scale = -jnp.sign(difference) * size * by_size / scale

    above_by_power = tails.q_by_log_z * log_size - tails.q_by_a / power**2
    on_right = -0.5 * jnp.exp(tails.log_q - log_cdf)
    by_power = jnp.where(difference == 0, 0.0, jnp.where(is_left, 1.0, on_right) * above_by_power)
    return log_cdf, by_size / scale * tangents[0] + by_scale * tangents[1] + by_power * tangents[2]


def _standardized(difference: Array, scale: Array) -> tuple[Array, Array]:
    """The distance in units of the scale and its logarithm, neither of them infinite."""
    limits = jnp.finfo(difference.dtype)
    size = jnp.clip(jnp.abs(difference) / scale, limits.tiny, limits.max)
    return size, jnp.log(size)


@jax.custom_jvp
def _standard_quantile(q: Array, power: Array) -> Array:
    """For `loc` zero and `scale` one."""
    log_z = _quantile_log_z(q, power)
    size = jnp.where(q == 0.5, 0.0, jnp.exp(log_z / power))
    size = jnp.where((q == 0) | (q == 1), jnp.inf, size)
    return jnp.where((q >= 0) & (q <= 1) & ~jnp.isnan(power), jnp.sign(q - 0.5) * size, jnp.nan)


def _quantile_log_z(q: Array, power: Array) -> Array:
    inside = (q > 0) & (q < 1) & (q != 0.5)
    q = jnp.where(inside, q, 0.25)
    return log_gamma_quantile(1 / power, jnp.log(jnp.abs(1 - 2 * q)), jnp.log(2 * jnp.minimum(q, 1 - q)))


@_standard_quantile.defjvp
def _standard_quantile_jvp(primals: tuple[Array, Array], tangents: tuple[Array, Array]) -> tuple[Array, Array]:
    q, power = primals
    value, log_z = _standard_quantile(q, power), _quantile_log_z(q, power)
    size = jnp.abs(value)
    log_density = -(jnp.where(size > 0, size, 1.0) ** power * (size > 0)) - _log_normalizer(jnp.ones_like(q), power)
    by_q = jnp.minimum(jnp.exp(-log_density), _steepest(q.dtype))
    by_power = jnp.where(q == 0.5, 0.0, value * _log_size_by_power(log_z, power))
    return value, by_q * tangents[0] + by_power * tangents[1]
