r"""The variational law of a sparse scale mixture, and the bound it maximises.

Model: $\sigma^2 \sim H$, and for each class $c$ independently $f_c \mid \sigma^2 \sim GP(0, \sigma^2 K)$. Inducing
values are whitened, $w_c = L^{-1} f_c(Z)$ with $K_{ZZ} = L L^\top$, so that $w_c \mid \sigma^2 \sim N(0, \sigma^2 I)$.

Guide: $\sigma^2 \sim \mathrm{LogNormal}$ and $w_c \mid \sigma^2 \sim N(\sigma^r \mu_c, \sigma^2 S_c)$. With $r = 0$ the
mean does not depend on the scale, as in regression with noise inside; but a likelihood of classes, which tells little
but which function is largest, moves the mean with the scale, up to $r = 1$. So $r$ is learned. Everything but
$\sigma^2$ is in closed form, with $a_i = L^{-1} k(Z, x_i)$:

$$f_{ic} \mid \sigma^2 \sim N\bigl(\sigma^r a_i^\top \mu_c, \;
\sigma^2 (k_{ii} - a_i^\top a_i + a_i^\top S_c a_i)\bigr), \qquad
2\, \mathrm{KL}(\sigma^2) = \sum_c \mathrm{tr}\, S_c + \sigma^{2 r - 2} |\mu_c|^2 - m - \log |S_c| .$$
"""

from __future__ import annotations

import math
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpyro
import numpyro.distributions as dist

from bayeskit._keepable import keepable
from bayeskit._typing import Array
from bayeskit.models.nngp.classification.scale import ClassifierScale
from bayeskit.program import average, draw, minibatch
from bayeskit.program.weights import number_of

__all__ = ["Rows", "SparseGuide", "bound"]


class Rows(NamedTuple):
    """What the bound needs of the data: weights $a_i$, shape `(n, m)`; what is left of the variance; labels."""

    weights: Array
    left: Array
    labels: Array


@keepable("nngp.SparseGuide")
class SparseGuide(eqx.Module):
    r"""Parameters of the variational law.

    Attributes:
        mean: $\mu_c$, shape `(c, m)`.
        log_diagonal: of the Cholesky factor of $S_c$, shape `(c, m)`.
        lower: what is below the diagonal of that factor, shape `(c, m, m)`; the rest of it is not looked at.
        exponent: $r$.
        scale_loc: mean of $\log \sigma^2$.
        log_scale_sd: log of its standard deviation.
    """

    mean: Array
    log_diagonal: Array
    lower: Array
    exponent: Array
    scale_loc: Array
    log_scale_sd: Array

    @classmethod
    def start(cls, classes: int, points: int, scale_loc: float, scale_sd: float) -> SparseGuide:
        """The prior given the scale, whose log has this mean and standard deviation."""
        mean = jnp.zeros((classes, points))
        number = jnp.zeros(())
        lower = jnp.zeros((classes, points, points))
        return cls(mean, mean, lower, number, number + scale_loc, number + math.log(scale_sd))

    @property
    def scale(self) -> dist.LogNormal:
        """The law of the scale."""
        return dist.LogNormal(self.scale_loc, jnp.exp(self.log_scale_sd))

    @property
    def factor(self) -> Array:
        """Lower Cholesky factors of $S_c$, shape `(c, m, m)`."""
        diagonal = jax.vmap(jnp.diag)(jnp.exp(self.log_diagonal))
        return jnp.tril(self.lower, -1) + diagonal

    def at_rows(self, weights: Array, left: Array) -> tuple[Array, Array]:
        r"""Means and variances of $f_{ic}$ for $\sigma = 1$, shapes `(n, c)`."""
        spread = jnp.einsum("nm,cmk->nck", weights, self.factor)
        return weights @ self.mean.T, left[:, None] + jnp.sum(spread**2, axis=-1)

    def divergence(self, sigma: Array) -> Array:
        """From the prior of the inducing values to their law, given the scale."""
        trace = jnp.sum(jnp.tril(self.lower, -1) ** 2) + jnp.sum(jnp.exp(2.0 * self.log_diagonal))
        square = sigma ** (2.0 * self.exponent - 2.0) * jnp.sum(self.mean**2)
        return 0.5 * (trace + square - self.mean.size) - jnp.sum(self.log_diagonal)


def bound(guide: SparseGuide, prior_scale: ClassifierScale, data: Rows, batch_size: int, num_particles: int) -> Array:
    r"""An objective: its expectation is a lower bound of $\log p(y)$.

    The scale and $f_{ic}$ are drawn, the divergence of the inducing values is in closed form. A batch of the rows
    stands for all of them.
    """
    drawn, times = minibatch(tuple(data), batch_size)
    batch = Rows(*drawn)
    mean, variance = guide.at_rows(batch.weights, batch.left)

    def one() -> Array:
        scale, log_ratio = prior_scale.draw(guide.scale)
        sigma = jnp.sqrt(scale)
        law = dist.Normal(sigma**guide.exponent * mean, sigma * jnp.sqrt(variance))
        f = draw(lambda: numpyro.sample("f", law))[0]["f"]
        likelihood = dist.Categorical(logits=f).log_prob(batch.labels)
        return log_ratio - guide.divergence(sigma) + times * jnp.sum(likelihood)

    return number_of(average(num_particles, one))
