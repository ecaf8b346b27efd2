"""What a network says of an unknown number or class: a histogram, a mixture of normals, or probabilities."""

from __future__ import annotations

import functools
from abc import abstractmethod
from typing import ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist

from bayeskit._keepable import keepable
from bayeskit._typing import Array
from bayeskit.distributions.histogram import Histogram
from bayeskit.models.pfn.normal_mixture import NormalMixture

__all__ = ["ClassHead", "Head", "HistogramHead", "MixtureHead"]

_LOG_SCALE = 7.0
"""Scales of components are kept within exp(+-7) standard deviations of the prior."""


class Head(eqx.Module):
    """How the numbers that a network puts out for a query become a distribution.

    Attributes:
        kind: its name, for `bayeskit.models.pfn.train`.
        is_discrete: whether it is for classes.
    """

    kind: ClassVar[str]
    is_discrete: ClassVar[bool] = False

    @property
    @abstractmethod
    def size(self) -> int:
        """How many numbers it takes for a query."""

    def numbers(self, output: Array) -> Array:
        """What the distribution is made of, shape `(..., numbers)`: to be computed in the program of the network."""
        return output

    @abstractmethod
    def law(self, numbers: Array) -> dist.Distribution:
        """The distribution that is made of them, of batch shape `numbers.shape[:-1]`."""

    def distribution(self, output: Array) -> dist.Distribution:
        """That of what a network puts out, of batch shape `output.shape[:-1]`."""
        return self.law(self.numbers(output))

    @abstractmethod
    def standardise(self, y: Array) -> Array:
        """What of observed values goes into the network, shape `(..., num_inputs)`."""

    @property
    @abstractmethod
    def num_inputs(self) -> int:
        """How many numbers those are for a row."""

    def log_prob(self, output: Array, y: Array) -> Array:
        """Log densities (of classes: probabilities) of values."""
        return self.distribution(output).log_prob(y)


class _Continuous(Head):
    mean: Array
    sd: Array

    @property
    def num_inputs(self) -> int:
        """One."""
        return 1

    def standardise(self, y: Array) -> Array:
        """In units of the prior."""
        return ((y - self.mean) / self.sd)[..., None]

    def _normals(self, output: Array) -> tuple[Array, Array, Array]:
        """Log weights, means and log scales of components, in units of the prior's standard deviation."""
        logits, means, log_scales = jnp.split(output, 3, axis=-1)
        # far smaller and larger ones would overflow where a step was too large
        return jax.nn.log_softmax(logits, axis=-1), means, _LOG_SCALE * jnp.tanh(log_scales / _LOG_SCALE)


@keepable("pfn.HistogramHead")
class HistogramHead(_Continuous):
    r"""Bars of equal mass under the prior, with half-normal tails.

    The logits are those of a mixture of normal densities at the middles of the bars, times the widths, and a
    free number for each bar, which is 0 before training: so a network need not learn anew, bar by bar, what a narrow
    peak is.

    Args:
        edges: of the bars, shape `(K + 1,)`.
        mean: of outputs under the prior.
        sd: likewise.
        num_components: of the mixture.
    """

    kind: ClassVar[str] = "histogram"
    edges: Array
    num_components: int = 2

    @property
    def size(self) -> int:
        """A free number for each bar, and those of the mixture."""
        return self.edges.size - 1 + 3 * self.num_components

    def numbers(self, output: Array) -> Array:
        """Log masses of the bars, up to a constant."""
        weights, means, log_scales = self._normals(output[..., : 3 * self.num_components])
        edges = (self.edges - self.mean) / self.sd
        middles = (edges[1:] + edges[:-1]) / 2
        free = output[..., 3 * self.num_components :] + jnp.log(jnp.diff(edges))
        z = (middles - means[..., None]) * jnp.exp(-log_scales)[..., None]
        # a normal density falls so fast that a bar of some widths off would never be tried: beyond three standard
        # deviations it falls like an exponential
        far = jnp.abs(z) > 3.0
        falls = jnp.where(far, 3.0 * jnp.abs(z) - 4.5, 0.5 * z**2)
        parts = (weights - log_scales)[..., None] - falls
        # pair by pair, which takes half the time of a sum over an axis as short as this
        return functools.reduce(jnp.logaddexp, jnp.unstack(parts, axis=-2)) + free

    def law(self, numbers: Array) -> Histogram:
        """Over the bars."""
        return Histogram(self.edges, numbers, validate_args=False)


@keepable("pfn.MixtureHead")
class MixtureHead(_Continuous):
    r"""A mixture of normal densities, $\sum_j w_j N(m_j, s_j^2)$.

    Args:
        mean: of outputs under the prior.
        sd: likewise.
        num_components: how many.
    """

    kind: ClassVar[str] = "mixture"
    num_components: int = 3

    @property
    def size(self) -> int:
        """A weight, a mean and a scale for each component."""
        return 3 * self.num_components

    def law(self, numbers: Array) -> dist.Distribution:
        """In the units of the outputs."""
        weights, means, log_scales = self._normals(numbers)
        return NormalMixture(weights, self.mean + self.sd * means, self.sd * jnp.exp(log_scales))


@keepable("pfn.ClassHead")
class ClassHead(Head):
    """Probabilities of classes.

    Args:
        num_classes: how many there are, named 0, 1, ...
    """

    kind: ClassVar[str] = "classes"
    is_discrete: ClassVar[bool] = True
    num_classes: int

    @property
    def size(self) -> int:
        """A logit for each class."""
        return self.num_classes

    @property
    def num_inputs(self) -> int:
        """One for each class."""
        return self.num_classes

    def standardise(self, y: Array) -> Array:
        """One-hot."""
        return jax.nn.one_hot(jnp.asarray(y).astype(jnp.int32), self.num_classes)

    def law(self, numbers: Array) -> dist.Distribution:
        """Over the classes."""
        return dist.Categorical(logits=numbers)


def scale_of(draws: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation of draws, from their middle 98%: heavy tails would make everything else small."""
    low, high = np.quantile(draws, (0.01, 0.99), axis=0)
    middle = np.clip(draws, low, high)
    return middle.mean(axis=0), middle.std(axis=0)
