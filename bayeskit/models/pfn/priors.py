r"""Priors to train on, and to copy from. Each is a NumPyro model with its settings: a call draws `x` and `y`.

.. math::

    \text{GP:}\quad & x \sim U(0, 1)^d,\; y \sim N(0, a\, k(x, x') + \sigma^2 I) \\
    \text{Ridge:}\quad & x \sim N(0, 1)^d,\; w \sim N(0, s^2 I),\; y \sim N(x^\top w, \sigma^2)

Where the posterior predictive is known, `exact` gives it, and training shows how far the network is from it.
"""

from __future__ import annotations

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpyro
import numpyro.distributions as dist

from bayeskit._settings import check_choice, require
from bayeskit._typing import Array
from bayeskit.models.pfn.table_prior import Table

__all__ = ["GP", "BayesianNetwork", "Curve", "HierarchicalGP", "Ridge", "Strokes", "Table"]

_JITTER = 1e-4
"""The least noise variance, as a share of the variance: below it float32 cannot factorise the covariance."""


def _unit_kernel(kernel: str, distance: Array) -> Array:
    if kernel == "rbf":
        return jnp.exp(-0.5 * distance**2)
    scaled = jnp.sqrt(5.0) * distance
    return (1 + scaled + scaled**2 / 3) * jnp.exp(-scaled)


def _distances(a: Array, b: Array) -> Array:
    squares = jnp.sum((a[:, None, :] - b[None, :, :]) ** 2, axis=-1)
    apart = squares > 0  # the slope of a root at 0 is infinite
    return jnp.where(apart, jnp.sqrt(jnp.where(apart, squares, 1.0)), 0.0)


@dataclass(frozen=True)
class GP:
    r"""A Gaussian process with given hyperparameters.

    Args:
        lengthscale: in units of the inputs, which are uniform on $(0, 1)$.
        scale: variance $a$ of the process.
        noise: variance $\sigma^2$ of the noise.
        kernel: ``"rbf"`` or ``"matern52"``.
        num_rows: rows of a data set.
        num_features: inputs of a row.

    Example:
        >>> import jax
        >>> from bayeskit.models.pfn import priors
        >>> from numpyro import handlers
        >>> draw = lambda key: handlers.trace(handlers.seed(priors.GP(num_rows=5), key)).get_trace()["y"]["value"]
        >>> jax.jit(draw)(jax.random.key(0)).shape
        (5,)
    """

    lengthscale: float = 0.3
    scale: float = 1.0
    noise: float = 0.01
    kernel: str = "rbf"
    num_rows: int = 33
    num_features: int = 1

    def __post_init__(self) -> None:
        check_choice("kernel", self.kernel, ("rbf", "matern52"))
        for name in ("lengthscale", "scale", "noise"):
            require(getattr(self, name) > 0, name, getattr(self, name), "positive")

    def __call__(self) -> None:
        """Draw a data set: sites `x` and `y`, and what is latent."""
        shape = (self.num_rows, self.num_features)
        x = numpyro.sample("x", dist.Uniform(0.0, 1.0).expand(shape).to_event(2))
        _process(x, self.kernel, self.lengthscale, self.scale, self.noise)

    def cover(self, a: Array, b: Array) -> Array:
        """The covariance of the process between points."""
        return self.scale * _unit_kernel(self.kernel, _distances(a, b) / self.lengthscale)

    def exact(self, x: Array, y: Array, exists: Array, x_new: Array) -> dist.Normal:
        """The posterior predictive of outputs at `x_new`, given the rows that exist; traced."""
        cover = self.cover
        keep = exists[:, None] & exists[None, :]
        gram = jnp.where(keep, cover(x, x), 0.0) + jnp.diag(jnp.where(exists, self.noise, 1.0))
        root = jnp.linalg.cholesky(gram)
        across = jnp.where(exists[:, None], cover(x, x_new), 0.0)
        white = jax.scipy.linalg.solve_triangular(root, across, lower=True)
        mean = white.T @ jax.scipy.linalg.solve_triangular(root, jnp.where(exists, y, 0.0), lower=True)
        return dist.Normal(mean, jnp.sqrt(self.scale + self.noise - jnp.sum(white**2, axis=0)))


def _process(x: Array, kernel: str, lengthscale: Array | float, scale: Array | float, noise: Array | float) -> None:
    gram = scale * _unit_kernel(kernel, _distances(x, x) / lengthscale)
    gram = gram + jnp.maximum(noise, _JITTER * scale) * jnp.eye(len(x))
    numpyro.sample("y", dist.MultivariateNormal(0.0, gram))


@dataclass(frozen=True)
class HierarchicalGP:
    r"""A Gaussian process whose hyperparameters have priors; the defaults are those of Müller et al. (2022).

    `lengthscale`, `scale` and `noise` are the concentration and rate of gamma priors; scale and noise are variances. A
    noise below $10^{-4}$ of the scale is taken as that: float32 could not factorise the covariance.

    Args:
        lengthscale: of the length scale.
        scale: of the variance of the process.
        noise: of the variance of the noise.
        kernel: ``"matern52"`` or ``"rbf"``.
        num_rows: rows of a data set.
        num_features: inputs of a row.
    """

    lengthscale: tuple[float, float] = (3.0, 6.0)
    scale: tuple[float, float] = (2.0, 0.15)
    noise: tuple[float, float] = (1e-4, 1.0)
    kernel: str = "matern52"
    num_rows: int = 33
    num_features: int = 1

    def __post_init__(self) -> None:
        check_choice("kernel", self.kernel, ("rbf", "matern52"))

    def __call__(self) -> None:
        """Draw a data set: sites `x` and `y`, and what is latent."""
        lengthscale = numpyro.sample("lengthscale", dist.Gamma(*self.lengthscale))
        scale = numpyro.sample("scale", dist.Gamma(*self.scale))
        noise = numpyro.sample("noise", dist.Gamma(*self.noise))
        shape = (self.num_rows, self.num_features)
        x = numpyro.sample("x", dist.Uniform(0.0, 1.0).expand(shape).to_event(2))
        _process(x, self.kernel, lengthscale, scale, noise)


@dataclass(frozen=True)
class Curve:
    r"""Smooth curves of one input with noise, in units in which outputs have about mean 0 and variance 1.

    $y \propto N(w (x - \tfrac12),\; (1 - s)\, k(x, x') + s I)$: a straight line with $w \sim N(0, 1.5^2)$, beside a
    process whose kernel is a squared exponential or a Matérn-5/2, with length scale $\ell$,
    $\log \ell \sim N(\log 0.25, 0.7^2)$, and noise whose share $s \sim \mathrm{Beta}(0.6, 2.4)$ is anything from nearly
    none to all. For data that are standardised.

    Args:
        num_rows: rows of a data set.
    """

    num_rows: int = 101

    def __call__(self) -> None:
        """Draw a data set: sites `x` and `y`, and what is latent."""
        lengthscale = numpyro.sample("lengthscale", dist.LogNormal(jnp.log(0.25), 0.7))
        smooth = numpyro.sample("smooth", dist.Bernoulli(0.5))
        share = numpyro.sample("share", dist.Beta(0.6, 2.4))
        slope = numpyro.sample("slope", dist.Normal(0.0, 1.5))
        x = numpyro.sample("x", dist.Uniform(0.0, 1.0).expand((self.num_rows, 1)).to_event(2))
        scaled = _distances(x, x) / lengthscale
        gram = jnp.where(smooth == 1, _unit_kernel("rbf", scaled), _unit_kernel("matern52", scaled))
        noise = jnp.maximum(share, 1e-3)
        total = (1 - noise) * gram + noise * jnp.eye(self.num_rows)
        # a line of slope w adds w^2 / 12 to the variance of the outputs
        size = jnp.sqrt(1 + slope**2 / 12)
        numpyro.sample("y", dist.MultivariateNormal(slope * (x[:, 0] - 0.5) / size, total / size**2))


@dataclass(frozen=True)
class Ridge:
    r"""Linear regression: $w \sim N(0, s^2 I)$ and normal noise.

    Args:
        sd: $s$, of each weight.
        noise_sd: of the noise.
        num_rows: rows of a data set.
        num_features: inputs of a row.
    """

    sd: float = 1.0
    noise_sd: float = 0.3
    num_rows: int = 33
    num_features: int = 3

    def __call__(self) -> None:
        """Draw a data set: sites `x` and `y`, and what is latent."""
        w = numpyro.sample("w", dist.Normal(0.0, self.sd).expand([self.num_features]).to_event(1))
        with numpyro.plate("rows", self.num_rows):
            x = numpyro.sample("x", dist.Normal(0.0, 1.0).expand([self.num_features]).to_event(1))
            numpyro.sample("y", dist.Normal(x @ w, self.noise_sd))

    def exact(self, x: Array, y: Array, exists: Array, x_new: Array) -> dist.Normal:
        """The posterior predictive of outputs at `x_new`, given the rows that exist; traced."""
        rows = jnp.where(exists[:, None], x, 0.0)
        precision = rows.T @ rows / self.noise_sd**2 + jnp.eye(self.num_features) / self.sd**2
        root = jnp.linalg.cholesky(precision)
        solve = lambda b: jax.scipy.linalg.cho_solve((root, True), b)  # noqa: E731
        mean = x_new @ solve(rows.T @ jnp.where(exists, y, 0.0)) / self.noise_sd**2
        return dist.Normal(mean, jnp.sqrt(self.noise_sd**2 + jnp.sum(x_new * solve(x_new.T).T, axis=1)))


@dataclass(frozen=True)
class BayesianNetwork:
    r"""A neural network with normal weights, and normal noise: $y \sim N(w_2^\top \phi(W_1 x + b_1) + b_2, \sigma^2)$.

    Args:
        hidden: units of the hidden layer, or of each hidden layer.
        num_layers: hidden layers. With `vary`, the most.
        activation: of ``jax.nn`` or ``jax.numpy``, by name.
        noise_sd: $\sigma$.
        vary: draw for each data set how many layers and units there are, uniformly up to these numbers.
        num_rows: rows of a data set.
        num_features: inputs of a row.
    """

    hidden: int = 5
    num_layers: int = 1
    activation: str = "tanh"
    noise_sd: float = 0.1
    vary: bool = False
    num_rows: int = 33
    num_features: int = 3

    def __call__(self) -> None:
        """Draw a data set: sites `x` and `y`, and what is latent."""
        phi = getattr(jnp, self.activation, None) or getattr(jax.nn, self.activation)
        layers, units = self.num_layers, jnp.ones(self.hidden, bool)
        if self.vary:
            layers = 1 + numpyro.sample("num_layers", dist.DiscreteUniform(0, self.num_layers - 1))
            units = jnp.arange(self.hidden) <= numpyro.sample("num_units", dist.DiscreteUniform(0, self.hidden - 1))
        with numpyro.plate("rows", self.num_rows):
            x = numpyro.sample("x", dist.Normal(0.0, 1.0).expand([self.num_features]).to_event(1))
        rows = x
        for at in range(self.num_layers):
            size, inputs = self.hidden, rows.shape[-1]
            live = self.num_features if at == 0 else jnp.maximum(units.sum(), 1)
            w = numpyro.sample(f"w{at}", dist.Normal(0.0, 1.0).expand([inputs, size]).to_event(2))
            b = numpyro.sample(f"b{at}", dist.Normal(0.0, 1.0).expand([size]).to_event(1))
            # the first layer as it is; later ones keep the size of what comes in
            after = phi(rows @ w * (1.0 if at == 0 else 1 / jnp.sqrt(live)) + b) * units
            rows = after if at == 0 else jnp.where(at < layers, after, rows)
        w = numpyro.sample("w", dist.Normal(0.0, 1.0).expand([self.hidden]).to_event(1))
        b = numpyro.sample("b", dist.Normal(0.0, 1.0))
        with numpyro.plate("rows", self.num_rows):
            numpyro.sample("y", dist.Normal(rows @ (w * units) + b, self.noise_sd))


@dataclass(frozen=True)
class Strokes:
    r"""Pictures of written characters: few-shot classification of what has been seen some times.

    A class is a few strokes, each a quadratic Bézier curve between random points. A row is a class, drawn with a pen of
    width $w$ by a hand that shakes: every point moves by $N(0, \text{jitter}^2)$, the whole by $N(0, \text{shift}^2)$.
    The darkness of a pixel at distance $d$ from the nearest point of a stroke is $e^{-d^2 / 2 w^2}$.

    Args:
        num_rows: pictures of a data set.
        num_classes: characters.
        size: pixels a side; a row has `size ** 2` inputs.
        num_strokes: of a character.
        jitter: as a share of the side.
        shift: likewise.
        width: of the pen, likewise.

    Source: Müller et al. (2022), section 7, for the idea of a prior over strokes.
    """

    num_rows: int = 33
    num_classes: int = 5
    size: int = 12
    num_strokes: int = 3
    jitter: float = 0.03
    shift: float = 0.04
    width: float = 0.06

    def __call__(self) -> None:
        """Draw a data set: sites `x` and `y`, and what is latent."""
        points = (self.num_strokes, 3, 2)
        law = dist.Uniform(0.15, 0.85).expand((self.num_classes, *points)).to_event(4)
        characters = numpyro.sample("characters", law)
        with numpyro.plate("rows", self.num_rows):
            y = numpyro.sample("y", dist.Categorical(jnp.ones(self.num_classes) / self.num_classes))
            shaking = numpyro.sample("shaking", dist.Normal(0.0, self.jitter).expand(points).to_event(3))
            moved = numpyro.sample("moved", dist.Normal(0.0, self.shift).expand((2,)).to_event(1))
            written = characters[y] + shaking + moved[:, None, None, :]
            numpyro.deterministic("x", self.picture(written))

    def picture(self, written: Array) -> Array:
        """Pixels of characters, from `(rows, strokes, 3, 2)` to `(rows, size ** 2)`."""
        t = jnp.linspace(0.0, 1.0, 12)[:, None]
        weights = jnp.concatenate([(1 - t) ** 2, 2 * t * (1 - t), t**2], axis=1)
        path = jnp.einsum("tk,rskd->rstd", weights, written).reshape(len(written), -1, 2)
        centres = (jnp.arange(self.size) + 0.5) / self.size
        grid = jnp.stack(jnp.meshgrid(centres, centres, indexing="ij"), axis=-1).reshape(-1, 2)
        squares = jnp.sum((grid[None, :, None] - path[:, None]) ** 2, axis=-1).min(axis=-1)
        return jnp.exp(-0.5 * squares / self.width**2)
