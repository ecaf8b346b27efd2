r"""The scale $\sigma^2$ of a mixture: a number, a law of a conjugate family, or any other law, which is integrated.

| | given data | $N(\mu, \sigma^2 \Sigma)$ with the scale integrated out |
|---|---|---|
| `FixedScale` | the same | normal |
| `ConjugateScale`, noise inside | of the same family | what the family says |
| `IntegratedScale`; and `ConjugateScale`, noise outside | `QuadratureScale` | `NormalScaleMixture` |

Another conjugate family is one subclass of `ConjugateScale` in a file of its own, and one row of
`bayeskit.models.nngp.mixtures.scale_prior.CONJUGATE`.
"""

# ruff: noqa: D102, ARG002  (methods are described by the abstract class)

from __future__ import annotations

from abc import abstractmethod
from typing import NamedTuple

import equinox as eqx
import jax.numpy as jnp
import numpyro.distributions as dist
from jaxtyping import Float, Int

from bayeskit._keepable import keepable
from bayeskit._typing import Array
from bayeskit.models.nngp.mixtures.likelihood import FactoredLikelihood, Likelihood, NoData
from bayeskit.models.nngp.mixtures.predictive import NormalScaleMixture
from bayeskit.models.nngp.mixtures.quadrature_scale import QuadratureScale
from bayeskit.models.nngp.mixtures.scale_integral import ScaleGrid, on_grid, predictive_grid
from bayeskit.models.nngp.mixtures.status import FINE, UNRESOLVED, nan_unless_fine, status_of
from bayeskit.xla.precision import in_double, to_default

__all__ = ["ConjugateScale", "FixedScale", "IntegratedScale", "Scale", "ScaleGivenData", "ScaleNodes", "scaled_root"]


class ScaleNodes(NamedTuple):
    """A law of the scale as finitely many values and the logarithms of their probabilities."""

    scales: Float[Array, " k"]
    log_weights: Float[Array, " k"]


class ScaleGivenData(NamedTuple):
    """What data say about the scale.

    Attributes:
        scale: given them.
        log_evidence: the log density of the data, NaN where it cannot be had.
        status: how the computation went.
    """

    scale: Scale
    log_evidence: Float[Array, ""]
    status: Int[Array, ""]


class Scale(eqx.Module):
    r"""$\sigma^2$, before data or given data."""

    @property
    def known(self) -> Float[Array, ""] | None:
        """Its value, where it is not random."""
        return None

    @property
    @abstractmethod
    def as_given(self) -> dist.Distribution | Array:
        """What the user has given: a distribution or a number."""

    @property
    @abstractmethod
    def law(self) -> dist.Distribution:
        """Its law, as a distribution."""

    @abstractmethod
    def given(self, likelihood: Likelihood) -> ScaleGivenData:
        """Given data; within a computation in float64."""

    def before_data(self) -> tuple[Scale, Int[Array, ""]]:
        """The same scale, ready for `normal_mixture`, and how the computation went."""
        return self, jnp.asarray(FINE)

    @abstractmethod
    def normal_mixture(self, mean: Float[Array, " n"], root: Array) -> dist.Distribution:
        r"""$N(\mu, \sigma^2 \Sigma)$ with the scale integrated out, in the default precision.

        Args:
            mean: $\mu$.
            root: a Cholesky factor of $\Sigma$, for one vector; or the square roots of its diagonal, for a batch of
                numbers, each by itself.
        """

    @abstractmethod
    def nodes(self, size: int) -> ScaleNodes:
        """Its law as a sum that stays right when it is multiplied by the density of `size` numbers."""


@keepable("nngp.FixedScale")
class FixedScale(Scale):
    """A known number: a plain Gaussian process."""

    value: Float[Array, ""]

    @property
    def known(self) -> Float[Array, ""]:
        return self.value

    @property
    def as_given(self) -> Array:
        return self.value

    @property
    def law(self) -> dist.Distribution:
        return dist.Delta(to_default(self.value))

    def given(self, likelihood: Likelihood) -> ScaleGivenData:
        status = status_of(likelihood.is_definite(self.value))
        return ScaleGivenData(self, nan_unless_fine(status, likelihood.log_likelihood(self.value[None])[0]), status)

    def normal_mixture(self, mean: Float[Array, " n"], root: Array) -> dist.Distribution:
        mean, scaled = to_default((mean, scaled_root(self.value, root)))
        return dist.Normal(mean, scaled) if root.ndim == 1 else dist.MultivariateNormal(mean, scale_tril=scaled)

    def nodes(self, size: int) -> ScaleNodes:
        return ScaleNodes(self.value[None], jnp.zeros(1))


class ConjugateScale(Scale):
    """A law whose family is closed under data with noise inside the scale. With noise outside it is integrated.

    A family says three things: its member given data (`posterior`), the density of the data (`log_evidence`), and what
    a normal law becomes when the scale is integrated out (`normal_mixture`). All that it needs of the data are
    `likelihood.size` $n$, `likelihood.quadratic` $q = y^T C^{-1} y$ and `likelihood.log_determinant`.

    Attributes:
        distribution: the member of the family.
    """

    distribution: dist.Distribution

    @abstractmethod
    def posterior(self, likelihood: FactoredLikelihood) -> ConjugateScale:
        r"""Given $y \mid \sigma^2 \sim N(0, \sigma^2 C)$."""

    @abstractmethod
    def log_evidence(self, likelihood: FactoredLikelihood) -> Float[Array, ""]:
        r"""$\log \int N(y; 0, \sigma^2 C)\, dH(\sigma^2)$."""

    @property
    def as_given(self) -> dist.Distribution:
        return self.distribution

    @property
    def law(self) -> dist.Distribution:
        return to_default(self.distribution)

    def given(self, likelihood: Likelihood) -> ScaleGivenData:
        factored = likelihood.factored
        if factored is None:
            return self._integrated().given(likelihood)
        status = status_of(factored.is_definite(jnp.ones(())))
        value = nan_unless_fine(status, self.log_evidence(factored))
        return ScaleGivenData(self.posterior(factored), value, status)

    def nodes(self, size: int) -> ScaleNodes:
        return self._integrated().before_data()[0].nodes(size)

    def _integrated(self) -> IntegratedScale:
        return IntegratedScale(self.distribution)


@keepable("nngp.IntegratedScale")
class IntegratedScale(Scale):
    r"""Any law, by quadrature over $\log \sigma^2$.

    Attributes:
        prior: before data.
        likelihood: of the data.
        grid: the integral of the one over the other, once it is computed.
    """

    prior: dist.Distribution
    likelihood: Likelihood = NoData()
    grid: ScaleGrid | None = None

    @property
    def as_given(self) -> dist.Distribution:
        return self.prior

    @property
    def law(self) -> dist.Distribution:
        return QuadratureScale(self.prior, self.likelihood, self._grid) if self.likelihood.has_data else self.prior

    def given(self, likelihood: Likelihood) -> ScaleGivenData:
        grid = on_grid(self.prior, likelihood)
        status = status_of(likelihood.is_definite(grid.mode), grid.resolved)
        trusted = grid._replace(log_weights=nan_unless_fine(status, grid.log_weights))  # or predictions are NaN too
        scale = IntegratedScale(self.prior, likelihood, trusted)
        return ScaleGivenData(scale, nan_unless_fine(status, grid.log_evidence), status)

    def before_data(self) -> tuple[Scale, Int[Array, ""]]:
        grid = _integrate(self.prior)
        return IntegratedScale(self.prior, NoData(), grid), jnp.where(grid.resolved, FINE, UNRESOLVED)

    def normal_mixture(self, mean: Float[Array, " n"], root: Array) -> dist.Distribution:
        return NormalScaleMixture(*to_default((mean, root)), self.law, self.prior, self.likelihood, self._grid)

    def nodes(self, size: int) -> ScaleNodes:
        grid = predictive_grid(self.prior, self.likelihood, self._grid, size)
        return ScaleNodes(grid.scales, grid.log_weights)

    @property
    def _grid(self) -> ScaleGrid:
        assert self.grid is not None
        return self.grid


@in_double
def _integrate(prior: dist.Distribution) -> ScaleGrid:
    return on_grid(prior, NoData())


@in_double
def scaled_root(scale: Array, root: Array) -> Array:
    r"""$\sigma R$, a square root of $\sigma^2 R R^\top$."""
    return jnp.sqrt(scale) * root
