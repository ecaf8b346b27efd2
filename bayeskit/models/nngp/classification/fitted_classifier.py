"""`FittedClassifier`: what a fit knows, and predicts."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
from jaxtyping import Float, Int

from bayeskit._keepable import keepable
from bayeskit._typing import ArrayLike
from bayeskit.models.nngp.classification.inducing import InducingPoints, inputs
from bayeskit.models.nngp.classification.labels import class_labels
from bayeskit.models.nngp.classification.scale import ClassifierScale, classifier_scale
from bayeskit.models.nngp.classification.softmax import expected_log_sum_exp, expected_softmax
from bayeskit.models.nngp.classification.sparse import Rows, SparseGuide
from bayeskit.train import Training

if TYPE_CHECKING:
    import xarray as xr

__all__ = ["FittedClassifier", "bound_by_quadrature"]


@keepable("nngp.FittedClassifier")
@dataclasses.dataclass(frozen=True)
class FittedClassifier:
    r"""A sparse variational classifier after its fit.

    Attributes:
        points: the inducing points.
        scale_prior: $H$, the scale that was given, or `None`.
        guide: parameters of the variational law.
        training: how the fit went; its losses are minus the bound, for a row.
        num_rows: how many rows it had.
        bound: the lower bound of $\log p(y)$ at the end, all rows, by quadrature.
    """

    points: InducingPoints
    scale_prior: dist.Distribution | float | None
    guide: SparseGuide
    training: Training
    num_rows: int
    bound: float

    @property
    def bounds(self) -> np.ndarray:
        """Estimates of the bound at every step, all rows, shape `(step,)`."""
        return -self.training.losses * self.num_rows

    @property
    def tree(self) -> xr.DataTree:
        """The record of the fit, for :func:`bayeskit.check`: the loss of a row at every step."""
        settings = {"inducing": len(self.points.points), "num_rows": self.num_rows}
        return self.training.tree("SparseClassifier", settings, bound=self.bound)

    @property
    def scale(self) -> dist.Distribution:
        r"""The law of $\sigma^2$ given the labels: log-normal, or all at the number that was given or found."""
        return self._scale.given_labels(self.guide.scale)

    @property
    def _scale(self) -> ClassifierScale:
        return classifier_scale(self.scale_prior)

    def predict_proba(self, x: ArrayLike) -> Float[np.ndarray, "n classes"]:
        r"""Probabilities of the classes: $E_q\, \mathrm{softmax}(f(x))$.

        By quadrature over $\sigma^2$ (Gauss and Hermite's rule for its logarithm) and over $f(x)$ (to
        a relative error of $10^{-5}$ and an absolute one of $10^{-8}$).

        Args:
            x: inputs, shape `(n, ...)`.

        Raises:
            DataError: inputs that are not finite or do not fit those of the fit.
        """
        mean, variance = self._functions(x)
        nodes, weights, _ = self._scale.rule(self.guide.scale)
        return sum(
            weight * expected_softmax(*at_scale(self.guide, node, mean, variance))
            for node, weight in zip(nodes, weights, strict=True)
        )

    def predict(self, x: ArrayLike) -> Int[np.ndarray, " n"]:
        """The most probable class of each input; see :meth:`predict_proba`."""
        return np.argmax(self.predict_proba(x), axis=1)

    def log_loss(self, x: ArrayLike, labels: ArrayLike) -> float:
        """The mean of minus the log probability of the labels, in nats.

        Raises:
            DataError: as :meth:`predict_proba`; labels that are not integers, or of a class that the fit does not have.
        """
        probabilities = self.predict_proba(x)
        given = class_labels(labels, "labels", len(probabilities), probabilities.shape[1])
        return float(-np.mean(np.log(probabilities[np.arange(len(given)), given])))

    def _functions(self, x: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
        return unit_moments(self.guide, *self.points.project(inputs(x, "x", like=self.points.points)))


def bound_by_quadrature(guide: SparseGuide, scale: ClassifierScale, data: Rows) -> float:
    """The bound of all rows, without noise."""
    mean, variance = unit_moments(guide, np.asarray(data.weights), np.asarray(data.left))
    labels = np.asarray(data.labels)
    total = 0.0
    for node, weight, log_ratio in zip(*scale.rule(guide.scale), strict=True):
        at, spread = at_scale(guide, node, mean, variance)
        likelihood = np.sum(at[np.arange(len(labels)), labels] - expected_log_sum_exp(at, spread))
        total += weight * (likelihood - float(guide.divergence(jnp.sqrt(node))) + log_ratio)
    return float(total)


def unit_moments(guide: SparseGuide, weights: np.ndarray, left: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Means and variances of the functions for a scale of one, in float64 and a class at a time."""
    factor = np.asarray(guide.factor, np.float64)
    variance = np.stack([left + np.sum((weights @ lower) ** 2, axis=1) for lower in factor], axis=1)
    return weights @ np.asarray(guide.mean, np.float64).T, variance


def at_scale(guide: SparseGuide, scale: float, mean: np.ndarray, variance: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The means and variances at some scale."""
    return scale ** (0.5 * float(guide.exponent)) * mean, scale * variance
