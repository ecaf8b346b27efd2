"""`Bridge`: a Schrödinger bridge whose adjusted potential is a Gaussian mixture, with everything in closed form."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, TypeVar, cast

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from bayeskit._keepable import keepable
from bayeskit._typing import Array, ArrayLike, Key
from bayeskit.errors import DataError
from bayeskit.models.schrodinger_bridge.checks import as_key, finite, points
from bayeskit.numerics.gaussian_mixture import GaussianMixture, mixture_moments
from bayeskit.numerics.gaussian_mixture_covariance import Covariance, Diagonal, full_covariance
from bayeskit.xla.miscompilation import safe_jit

__all__ = ["Bridge", "Estimate"]

Method = TypeVar("Method", bound=Callable[..., Any])


def one_program(method: Method) -> Method:
    """The method as one compiled program, and not one for each of its operations; within a trace, a part of that."""
    program = safe_jit(method, compile=eqx.filter_jit)

    @functools.wraps(method)
    def call(*args: Any, **kwargs: Any) -> Any:
        traced = any(isinstance(leaf, jax.core.Tracer) for leaf in jax.tree.leaves((args, kwargs)))
        return (method if traced else program)(*args, **kwargs)

    return cast(Method, call)


def of_points(method: Method) -> Method:
    """`one_program` of points, the first argument, which are checked before; a seed becomes a key."""
    program, name = one_program(method), list(inspect.signature(method).parameters)[1]

    @functools.wraps(method)
    def call(self: Bridge, x: ArrayLike, **kwargs: Any) -> Any:
        if "key" in kwargs:
            kwargs["key"] = as_key(kwargs["key"])
        return program(self, self._points(x, name), **kwargs)

    return cast(Method, call)


class Estimate(NamedTuple):
    """A Monte Carlo mean with its standard error."""

    value: Array
    standard_error: Array


@keepable("schrodinger_bridge.Bridge")
class Bridge(eqx.Module):
    r"""A Schrödinger bridge between two distributions, given by its adjusted potential.

    The potential $v(y) = \sum_k \alpha_k N(y \mid r_k, \varepsilon S_k)$ determines the plan

    $$\pi(y \mid x) = \frac{e^{x^\top y / \varepsilon} v(y)}{c(x)}
      = \sum_k w_k(x) N(y \mid r_k + S_k x, \varepsilon S_k), \qquad
      c(x) = \sum_k \alpha_k \exp \frac{x^\top S_k x + 2 r_k^\top x}{2 \varepsilon},$$

    with $w_k(x)$ proportional to the terms of $c$, and the drift of the diffusion
    $dX_t = g(X_t, t)\, dt + \sqrt\varepsilon\, dW_t$ that has this plan. Points are rows: ``x0``, ``x1`` and ``x`` have
    shape `(n, d)`.

    Attributes:
        epsilon: $\varepsilon$, the variance of the reference Wiener process at time one.
        log_alpha: $\log \alpha_k$, shape `(k,)`.
        r: shape `(k, d)`.
        S: $S_k$: ``Full``, ``Diagonal`` or ``LowRank`` of :mod:`bayeskit.numerics.gaussian_mixture_covariance`.
        tau: the mass parameter of an unbalanced bridge, or ``None``.

    Source: Korotin, Gushchin and Burnaev (2024), "Light Schrödinger Bridge", ICLR, propositions 3.1 to 3.3.

    Example:
        >>> import jax.numpy as jnp
        >>> from bayeskit.models import schrodinger_bridge
        >>> from bayeskit.numerics.gaussian_mixture_covariance import Diagonal
        >>> bridge = schrodinger_bridge.Bridge(
        ...     0.5, jnp.zeros(2), jnp.array([[-1.0], [1.0]]), Diagonal(jnp.full((2, 1), 0.4))
        ... )
        >>> x0 = jnp.array([[-2.0], [0.0], [2.0]])
        >>> bridge.sample(x0, key=0).shape, bridge.sample_path(x0, [0.0, 0.5, 1.0], key=0).shape
        ((3, 1), (3, 3, 1))
        >>> abs(bridge.mean(x0)[1, 0]) < 1e-6
        Array(True, dtype=bool)
    """

    epsilon: Array = eqx.field(converter=jnp.asarray)
    log_alpha: Float[Array, " k"]
    r: Float[Array, "k d"]
    S: Covariance
    tau: Array | None = None

    @classmethod
    def from_potential(cls, mixture: GaussianMixture, epsilon: float) -> Bridge:
        r"""The bridge whose plan is $\pi(y \mid x) \propto N(y \mid x, \varepsilon I)\, p(y)$ for a mixture $p$.

        $S_k = (I + \varepsilon \Sigma_k^{-1})^{-1}$, $r_k = \varepsilon S_k \Sigma_k^{-1} \mu_k = (I - S_k) \mu_k$ and
        $\log \alpha_k = \log p_k - \frac12 \log |\Sigma_k + \varepsilon I|
        - \frac12 \mu_k^\top (\Sigma_k + \varepsilon I)^{-1} \mu_k$: a pair of distributions with a known bridge.
        """
        epsilon_of_type = jnp.asarray(epsilon, mixture.means.dtype)
        return cls(epsilon_of_type, *_parameters(mixture, epsilon_of_type))

    @one_program
    def translated(self, a: Float[Array, " d"], b: Float[Array, " d"]) -> Bridge:
        r"""The bridge of the same points after $a$ is added to the starts and $b$ to the ends.

        $r_k + b - S_k a$ and $\log \alpha_k + (a^\top S_k a - 2 r_k^\top a - |a|^2) / 2 \varepsilon$.
        """
        constant = self.S.quadratic(a[None])[0] - 2 * self.r @ a - jnp.sum(a**2)
        log_alpha = self.log_alpha + constant / (2 * self.epsilon)
        return Bridge(self.epsilon, log_alpha, self.r + b - self.S.times(a[None])[0], self.S, self.tau)

    @property
    def potential(self) -> GaussianMixture:
        r"""The adjusted potential $v$."""
        return GaussianMixture(self.log_alpha, self.r, self.S.affine(self.epsilon, 0.0))

    def log_terms(self, x0: Float[Array, "n d"]) -> Float[Array, "n k"]:
        r"""The logarithms of the terms of $c(x)$."""
        return self.log_alpha + (self.S.quadratic(x0) + 2 * x0 @ self.r.T) / (2 * self.epsilon)

    @of_points
    def log_normaliser(self, x0: ArrayLike) -> Float[Array, " n"]:
        r"""$\log c(x)$."""
        return jax.nn.logsumexp(self.log_terms(self._points(x0, "x0")), axis=-1)

    def log_density(self, x1: ArrayLike, x0: ArrayLike) -> Float[Array, " n"]:
        r"""$\log \pi(x_1 \mid x_0)$, row by row.

        Raises:
            DataError: wrong shapes, or NaN.
        """
        x0, x1 = self._points(x0, "x0"), self._points(x1, "x1")
        if x0.shape != x1.shape:
            raise DataError(f"x1 has {x1.shape[0]} rows and x0 has {x0.shape[0]}; give one x0 for each x1")
        return self._log_density(x1, x0)

    @one_program
    def _log_density(self, x1: Float[Array, "n d"], x0: Float[Array, "n d"]) -> Float[Array, " n"]:
        # by component, so that the large exponents of v and c cancel before and not after the sum
        gap = x1[:, None] - (self.r + self.S.times(x0))
        constant = self.S.log_det() + x0.shape[-1] * jnp.log(2 * jnp.pi * self.epsilon)
        terms = -(jnp.sum(gap * self.S.solve(gap), axis=-1) / self.epsilon + constant) / 2
        return jax.nn.logsumexp(jax.nn.log_softmax(self.log_terms(x0), axis=-1) + terms, axis=-1)

    @of_points
    def moments(self, x0: ArrayLike) -> tuple[Float[Array, "n d"], Float[Array, "n d d"]]:
        r"""Mean and covariance of $\pi(\cdot \mid x_0)$."""
        x0 = self._points(x0, "x0")
        weights = jax.nn.softmax(self.log_terms(x0), axis=-1)
        return mixture_moments(weights, self.r + self.S.times(x0), self.epsilon * self.S.dense())

    @of_points
    def mean(self, x0: ArrayLike) -> Float[Array, "n d"]:
        r"""The conditional mean $E[x_1 \mid x_0]$ (the barycentric projection of the plan)."""
        x0 = self._points(x0, "x0")
        weights = jax.nn.softmax(self.log_terms(x0), axis=-1)
        return jnp.einsum("nk,nkd->nd", weights, self.r + self.S.times(x0))

    def covariance(self, x0: ArrayLike) -> Float[Array, "n d d"]:
        r"""The conditional covariance of $x_1$ given $x_0$."""
        return self.moments(x0)[1]

    @of_points
    def sample(self, x0: ArrayLike, *, key: Key) -> Float[Array, "n d"]:
        r"""One draw of $\pi(\cdot \mid x_0)$ for each row of ``x0``."""
        x0 = self._points(x0, "x0")
        choose, colour = jax.random.split(as_key(key))
        component = jax.random.categorical(choose, self.log_terms(x0), axis=-1)

        def move(out: Array, item: tuple[Array, Covariance, Array]) -> tuple[Array, None]:
            k, own, r = item
            single = jax.tree.map(lambda leaf: leaf[None], own)
            return jnp.where((component == k)[:, None], r + single.times(x0)[:, 0], out), None

        items = (jnp.arange(len(self.log_alpha)), self.S, self.r)
        centre = jax.lax.scan(move, jnp.zeros_like(x0), items)[0]
        return centre + jnp.sqrt(self.epsilon) * self.S.noise(colour, component)

    def sample_path(self, x0: ArrayLike, times: Sequence[float] | ArrayLike, *, key: Key) -> Float[Array, "n t d"]:
        r"""Paths of the bridge from ``x0``, at increasing times in $[0, 1]$.

        The end is drawn from the plan; between the ends a path is a Brownian bridge, at one time
        $x_t = t y + (1 - t) x + \sqrt{\varepsilon t (1 - t)}\, z$, and from each time to the next likewise.

        Raises:
            DataError: times that are not increasing, or outside $[0, 1]$.
        """
        x0 = self._points(x0, "x0")
        grid = np.asarray(times, float)
        if grid.ndim != 1 or grid.size == 0 or grid.min() < 0 or grid.max() > 1 or (np.diff(grid) <= 0).any():
            raise DataError(f"times must be increasing numbers from 0 to 1, got {times!r}")
        return self._path(x0, jnp.asarray(grid, x0.dtype), as_key(key))

    @one_program
    def _path(self, x0: Float[Array, "n d"], times: Float[Array, " t"], key: Array) -> Float[Array, "n t d"]:
        of_end, of_path = jax.random.split(key)
        end = self.sample(x0, key=of_end)

        def step(carry: tuple[Array, Array], item: tuple[Array, Array]) -> tuple[tuple[Array, Array], Array]:
            x, now = carry
            t, key = item
            left = jnp.where(now < 1, 1 - now, 1.0)
            share = (t - now) / left
            spread = jnp.sqrt(self.epsilon * (t - now) * (1 - t) / left)
            x = x + share * (end - x) + spread * jax.random.normal(key, x.shape, x.dtype)
            return (x, t), x

        keys = jax.random.split(of_path, times.shape[0])
        path = jax.lax.scan(step, (x0, jnp.zeros((), x0.dtype)), (times, keys))[1]
        return jnp.swapaxes(path, 0, 1)

    def drift(self, x: ArrayLike, t: Array | float) -> Float[Array, "n d"]:
        r"""$g(x, t) = (E[X_1 \mid X_t = x] - x) / (1 - t)$, without that division.

        With $G_k = (1 - t) I + t S_k$ the drift is $\sum_k w_k(x, t)\, G_k^{-1} ((S_k - I) x + r_k)$ with weights
        proportional to $\alpha_k |G_k|^{-1/2} \exp \frac{1}{2 \varepsilon}
        (x^\top G_k^{-1} (S_k - I) x + 2 r_k^\top G_k^{-1} x - t\, r_k^\top G_k^{-1} r_k)$, up to and including $t = 1$.

        Raises:
            DataError: a time outside $[0, 1]$.
        """
        x = self._points(x, "x")
        if not isinstance(t, jax.core.Tracer) and not 0 <= float(t) <= 1:
            raise DataError(f"t must be a time from 0 to 1, got {t}")
        return self._drift(x, jnp.asarray(t, x.dtype))

    @one_program
    def _drift(self, x: Float[Array, "n d"], t: Float[Array, ""]) -> Float[Array, "n d"]:
        inner = self.S.affine(t, 1 - t)
        push = self.S.times(x) - x[:, None] + self.r
        by_component = inner.solve(push)
        of_r = inner.solve(jnp.broadcast_to(self.r, push.shape))
        # x' G^-1 (S - I) x + 2 r' G^-1 x - t r' G^-1 r = x' G^-1 push + r' G^-1 (x - t r)
        exponent = jnp.einsum("nd,nkd->nk", x, by_component) + jnp.sum(of_r * (x[:, None] - t * self.r), axis=-1)
        weights = jax.nn.softmax(self.log_alpha - inner.log_det() / 2 + exponent / (2 * self.epsilon), axis=-1)
        return jnp.einsum("nk,nkd->nd", weights, by_component)

    @of_points
    def mass(self, x0: ArrayLike) -> Float[Array, " n"]:
        r"""By how much the mass at $x_0$ grows or shrinks: $C(x)^{\varepsilon / (\varepsilon + \tau)}$ with
        $C(x) = c(x) e^{-|x|^2 / 2\varepsilon}$; one for a balanced bridge.
        """
        x0 = self._points(x0, "x0")
        if self.tau is None:
            return jnp.ones(x0.shape[0], x0.dtype)
        log_c = self.log_normaliser(x0) - jnp.sum(x0**2, axis=-1) / (2 * self.epsilon)
        return jnp.exp(self.epsilon / (self.epsilon + self.tau) * log_c)

    @of_points
    def transport_cost(self, x0: ArrayLike) -> Estimate:
        r"""$E\, \frac12 |x_1 - x_0|^2$ under the plan; exact in $x_1$, averaged over the rows of ``x0``."""
        x0 = self._points(x0, "x0")
        mean, spread = self.moments(x0)
        cost = (jnp.sum((mean - x0) ** 2, axis=-1) + jnp.trace(spread, axis1=1, axis2=2)) / 2
        return _estimate(cost)

    @of_points
    def energy(self, x0: ArrayLike, *, key: Key) -> Estimate:
        r"""$\frac12 E \int_0^1 |g(X_t, t)|^2 dt = \varepsilon\, E\, \mathrm{KL}(\pi(\cdot \mid x_0)\, \|\,
        N(x_0, \varepsilon I))$, the entropic transport cost up to the entropy of the start; one draw a row.
        """
        x0 = self._points(x0, "x0")
        x1 = self.sample(x0, key=key)
        size = x0.shape[-1] * jnp.log(2 * jnp.pi * self.epsilon)
        reference = -(jnp.sum((x1 - x0) ** 2, axis=-1) / self.epsilon + size) / 2
        return _estimate(self.epsilon * (self.log_density(x1, x0) - reference))

    def _points(self, x: object, name: str) -> Array:
        return finite(points(x, name, self.r.shape[-1], self.r.dtype), name)


@functools.partial(safe_jit, compile=eqx.filter_jit)
def _parameters(mixture: GaussianMixture, epsilon: Array) -> tuple[Array, Array, Covariance]:
    wide = mixture.covariance.affine(1.0, epsilon)
    whitened = wide.solve(mixture.means[None])[0]
    if isinstance(mixture.covariance, Diagonal):
        maps: Covariance = Diagonal(mixture.covariance.variance / (mixture.covariance.variance + epsilon))
    else:
        maps = full_covariance(jnp.linalg.solve(wide.dense(), mixture.covariance.dense()))
    log_alpha = mixture.log_weights - (wide.log_det() + jnp.sum(mixture.means * whitened, axis=-1)) / 2
    return log_alpha, epsilon * whitened, maps


def _estimate(values: Array) -> Estimate:
    return Estimate(jnp.mean(values), jnp.std(values, ddof=1) / jnp.sqrt(values.shape[0]))
