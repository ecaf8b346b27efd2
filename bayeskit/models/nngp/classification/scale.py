r"""The scale $\sigma^2$ of a classifier: random, known, or the value with the largest bound."""

# ruff: noqa: D102, ARG002  (methods are described by the abstract class)

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Mapping
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
from numpyro.distributions import constraints

from bayeskit._keepable import keepable
from bayeskit._typing import Array
from bayeskit.errors import ModelError
from bayeskit.models.nngp.mixtures.scale_prior import as_scale
from bayeskit.program import draw, log_density
from bayeskit.program.weights import number_of

__all__ = ["BestScale", "ClassifierScale", "KnownScale", "RandomScale", "classifier_scale", "model_scale"]

WIDEST = 0.4
"""At the start; a wide law of the scale makes the first gradients noisy."""
SCALE_NODES = 30
"""Gauss-Hermite nodes over the logarithm of the scale, at most."""


class ClassifierScale(eqx.Module):
    """In its methods `guide` is the log-normal law that is learned along with the functions."""

    @abstractmethod
    def start(self) -> tuple[float, float]:
        """Mean and standard deviation of the log of the scale to start from."""

    @abstractmethod
    def draw(self, guide: dist.LogNormal) -> tuple[Array, Array]:
        """A scale, and the log of the density of the prior over that of the guide, zero for a number."""

    @abstractmethod
    def given_labels(self, guide: dist.LogNormal) -> dist.Distribution:
        """Its approximate law given the labels."""

    @abstractmethod
    def rule(self, guide: dist.LogNormal) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Nodes and weights for expectations over `given_labels`, and the log ratio of `draw` at the nodes."""


class ModelScale(ClassifierScale):
    """One that a model without an approximation can have too."""

    @abstractmethod
    def sample_site(self) -> Array:
        """A statement of NumPyro: the scale in the model without an approximation."""

    @abstractmethod
    def of_draws(self, post: Mapping[str, Any], shape: tuple[int, ...]) -> np.ndarray:
        """The scale of each draw of that model."""


@keepable("nngp.RandomScale")
class RandomScale(ModelScale):
    r"""$\sigma^2 \sim H$."""

    prior: dist.Distribution

    def start(self) -> tuple[float, float]:
        """The prior's median and the spread of its middle half, of a thousand draws, but no wider than needed."""
        draws = np.log(np.asarray(self.prior.sample(jax.random.key(0), (1001,)), np.float64))
        low, middle, high = np.quantile(draws, [0.25, 0.5, 0.75])
        return float(middle), float(np.minimum((high - low) / 1.35, WIDEST))

    def draw(self, guide: dist.LogNormal) -> tuple[Array, Array]:
        choices, log_q = draw(lambda: numpyro.sample("scale", guide))
        log_p = log_density(lambda: numpyro.sample("scale", self.prior), choices)
        return choices["scale"], number_of(log_p - log_q)

    def given_labels(self, guide: dist.LogNormal) -> dist.Distribution:
        return guide

    def rule(self, guide: dist.LogNormal) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        sd = float(guide.scale)
        z, weights = np.polynomial.hermite_e.hermegauss(min(3 + math.ceil(12 * sd), SCALE_NODES))
        nodes = np.exp(float(guide.loc) + sd * z)
        return nodes, weights / weights.sum(), np.asarray(self.prior.log_prob(nodes) - guide.log_prob(nodes))

    def sample_site(self) -> Array:
        return numpyro.sample("scale", self.prior)

    def of_draws(self, post: Mapping[str, Any], shape: tuple[int, ...]) -> np.ndarray:
        return np.asarray(post["posterior/scale"], np.float64)


@keepable("nngp.KnownScale")
class KnownScale(ModelScale):
    r"""$\sigma^2$ is a number: the guide has no law of it, and all draws are the same."""

    value: float

    def start(self) -> tuple[float, float]:
        return math.log(self.value), WIDEST

    def draw(self, guide: dist.LogNormal) -> tuple[Array, Array]:
        return jnp.asarray(self.value, guide.loc.dtype), jnp.zeros(())

    def given_labels(self, guide: dist.LogNormal) -> dist.Distribution:
        return dist.Delta(jnp.asarray(self.value, float))

    def rule(self, guide: dist.LogNormal) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        return np.array([self.value]), np.ones(1), np.zeros(1)

    def sample_site(self) -> Array:
        return jnp.asarray(self.value, float)

    def of_draws(self, post: Mapping[str, Any], shape: tuple[int, ...]) -> np.ndarray:
        return np.full(shape, self.value, np.float64)


class BestScale(ClassifierScale):
    """The number with the largest bound: the median of the guide, whose width is not used."""

    def start(self) -> tuple[float, float]:
        return 0.0, WIDEST

    def draw(self, guide: dist.LogNormal) -> tuple[Array, Array]:
        return jnp.exp(guide.loc), jnp.zeros(())

    def given_labels(self, guide: dist.LogNormal) -> dist.Distribution:
        return self._found(guide).given_labels(guide)

    def rule(self, guide: dist.LogNormal) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        return self._found(guide).rule(guide)

    def _found(self, guide: dist.LogNormal) -> KnownScale:
        return KnownScale(float(jnp.exp(guide.loc)))


def classifier_scale(scale_prior: object) -> ClassifierScale:
    """The scale with this law; `None` is the value with the largest bound.

    Raises:
        ModelError: as `model_scale`.
    """
    return BestScale() if scale_prior is None else model_scale(scale_prior)


def model_scale(scale_prior: object) -> ModelScale:
    """The law of one positive number, which may be any of them; or a positive number.

    Raises:
        ModelError: neither.
    """
    scale = as_scale(scale_prior)
    if scale.known is not None:
        return KnownScale(float(scale.known))
    prior = scale.law
    support = prior.support
    from_zero = np.all(np.asarray(getattr(support, "lower_bound", 1.0)) == 0) and not hasattr(support, "upper_bound")
    if support not in (constraints.positive, constraints.nonnegative) and not from_zero:
        raise ModelError(
            f"scale_prior must have all positive numbers as its support, which is that of the guide; got "
            f"{type(prior).__name__} with {support}"
        )
    return RandomScale(prior)
