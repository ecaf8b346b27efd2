"""`SparseClassifier`: classification by a sparse variational scale mixture of Gaussian processes."""

from __future__ import annotations

import dataclasses
import functools
import warnings
from typing import Any

import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import optax

from bayeskit._keepable import keepable
from bayeskit._keys import as_key
from bayeskit._settings import is_number, is_whole, require
from bayeskit._typing import Array, ArrayLike, Key
from bayeskit.inference.vi.expectation import expectation
from bayeskit.models.nngp.classification.fitted_classifier import FittedClassifier, bound_by_quadrature
from bayeskit.models.nngp.classification.inducing import InducingPoints, at_points, chosen_points, inputs
from bayeskit.models.nngp.classification.labels import check_classes, class_labels
from bayeskit.models.nngp.classification.scale import ClassifierScale, classifier_scale
from bayeskit.models.nngp.classification.sparse import Rows, SparseGuide, bound
from bayeskit.train import minimise
from bayeskit.train.settling import falls, window

__all__ = ["SparseClassifier"]

BLOCK = 100
"""Steps that are compiled as one loop."""
RISE = 0.01
"""Nats a row."""


@dataclasses.dataclass(frozen=True)
class Loss:
    """What is minimised: minus the bound, for a row. Equal settings share their compiled program."""

    batch_size: int
    num_particles: int

    def __call__(self, guide: SparseGuide, key: Array, data: tuple[Rows, ClassifierScale]) -> Array:
        rows, scale = data
        return -expectation(bound)(key, guide, scale, rows, self.batch_size, self.num_particles) / len(rows.labels)


@functools.lru_cache(maxsize=16)
def adam(learning_rate: float, num_steps: int) -> optax.GradientTransformation:
    """The same object for the same settings."""
    return optax.adam(optax.cosine_decay_schedule(learning_rate, num_steps))


def warn_if_rising(losses: np.ndarray) -> None:
    """Warn at once of what `bayeskit.check` would find: a bound that rose between the last two quarters of the steps.

    By more than a hundredth of a nat a row, which is what a reader of log losses would notice.
    """
    quarter = len(losses) // 4
    if quarter < 2:
        return
    earlier, later = window(losses[-2 * quarter : -quarter]), window(losses[-quarter:])
    if falls(earlier, later, RISE):
        warnings.warn(
            f"the bound was still rising: by {earlier.mean - later.mean:.3f} nats a row from the third to the last "
            f"quarter of the {len(losses)} steps. Raise num_steps, or learning_rate",
            stacklevel=3,
        )


@keepable("nngp.SparseClassifier")
@dataclasses.dataclass(frozen=True)
class SparseClassifier:
    r"""A classifier: $\sigma^2 \sim H$, $f_c \mid \sigma^2 \sim GP(0, \sigma^2 K)$ for each class, softmax likelihood.

    $$y_i \sim \mathrm{Categorical}(\mathrm{softmax}(f_1(x_i), \dots, f_C(x_i)))$$

    One scale is shared by all classes; where $H$ is inverse gamma the functions are jointly a Student-t process, and
    where $\sigma^2$ is a number, Gaussian processes. The posterior is approximated by $q(\sigma^2)\, q(u \mid
    \sigma^2)$ at inducing values $u$: a log-normal law of the scale, and normal laws with full covariances whose spread
    is proportional to $\sigma$ and whose mean to a power of it, which is learned. They maximise the bound

    $$E_q \Bigl[\sum_i \log p(y_i \mid f(x_i)) - \mathrm{KL}(q(u \mid \sigma^2) \,\|\, p(u \mid \sigma^2))\Bigr]
      - \mathrm{KL}(q(\sigma^2) \,\|\, H) \le \log p(y),$$

    by Adam on batches, with draws of $\sigma^2$ and of $f(x_i)$ (an objective of :func:`bayeskit.expectation`). A fit
    whose bound still rises at the end warns.
    The kernel is not fitted: compare kernels by :attr:`FittedClassifier.bound`.

    Args:
        kernel: any tinygp kernel: an infinitely wide network, one of tinygp's, or what these add up to.
        scale_prior: $H$, a NumPyro distribution on the positive numbers; or a positive number; or ``None`` for the
            number that maximises the bound (Gaussian processes whose scale is fitted).
        inducing: their number, chosen from the data where most variance is left (pivoted Cholesky), which needs no more
            than the kernel and finds no input twice; or the points, shape `(m, ...)`. The number of inputs gives all of
            them, and then nothing is lost but what the normal law loses.
        num_classes: labels are 0 to `num_classes` - 1; by default as many as the largest label tells.

    Raises:
        MethodError: a setting that is impossible.
        ModelError: a scale that is neither a positive number nor a distribution on the positive numbers.
        DataError: inducing points that are not finite.

    Example:
        >>> import numpy as np, numpyro.distributions as dist
        >>> from tinygp import kernels
        >>> from bayeskit.models import nngp
        >>> x = np.random.default_rng(0).normal(size=(60, 2))
        >>> labels = (x[:, 0] > 0).astype(int)
        >>> classifier = nngp.SparseClassifier(kernels.ExpSquared(1.5), dist.InverseGamma(2.0, 2.0), inducing=15)
        >>> fit = classifier.fit(x, labels, key=0, num_steps=500, progress=False)
        >>> fit.predict(np.array([[-1.0, 0.0], [1.0, 0.0]]))
        array([0, 1])

    Sources: Lee, Yun, Yang and Lee (2022), "Scale Mixtures of Neural Network Gaussian Processes", section 4; Hensman,
    Matthews and Ghahramani (2015), "Scalable Variational Gaussian Process Classification".
    """

    kernel: Any
    scale_prior: dist.Distribution | float | None
    _: dataclasses.KW_ONLY
    inducing: int | ArrayLike
    num_classes: int | None = None

    def __post_init__(self) -> None:
        require(callable(self.kernel), "kernel", self.kernel, "a tinygp kernel")
        classifier_scale(self.scale_prior)  # so that an impossible law raises here
        if isinstance(self.inducing, int | float | str):
            whole = is_whole(self.inducing) and self.inducing >= 1
            require(whole, "inducing", self.inducing, "a positive integer, or an array of inputs")
        else:
            object.__setattr__(self, "inducing", inputs(self.inducing, "inducing"))
        known = self.num_classes is None or (is_whole(self.num_classes) and self.num_classes >= 2)
        require(known, "num_classes", self.num_classes, "an integer of at least 2, or None")

    def fit(
        self,
        x: ArrayLike,
        labels: ArrayLike,
        *,
        key: Key,
        num_steps: int = 2000,
        batch_size: int | None = None,
        learning_rate: float = 0.02,
        num_particles: int = 4,
        progress: bool = True,
    ) -> FittedClassifier:
        """Maximise the bound.

        Args:
            x: inputs, shape `(n, ...)`.
            labels: integers, shape `(n,)`.
            key: an integer seed or a JAX key.
            num_steps: steps of Adam.
            batch_size: rows in a step; by default 256, or all where there are fewer.
            learning_rate: at the start; it falls to zero along a cosine.
            num_particles: draws of the scale, and of the functions, in a step.
            progress: show a progress bar.

        Raises:
            DataError: inputs that are not finite or do not fit; labels that are not integers, out of range, or all
                equal; more inducing points than inputs, or equal ones.
            MethodError: a setting that is impossible.
            TrainingError: the bound is not finite.
        """
        at = inputs(x, "x")
        y = class_labels(labels, "labels", len(at), self.num_classes)
        check_classes(y)
        size = min(256, len(at)) if batch_size is None else batch_size
        for name, value in (("num_steps", num_steps), ("num_particles", num_particles)):
            require(is_whole(value) and value >= 1, name, value, "a positive integer")
        require(is_whole(size) and 1 <= size <= len(at), "batch_size", size, f"an integer from 1 to {len(at)}")
        require(is_number(learning_rate) and learning_rate > 0, "learning_rate", learning_rate, "a positive number")
        points = self._points(at)
        weights, left = points.project(at)
        data = Rows(jnp.asarray(weights, float), jnp.asarray(left, float), jnp.asarray(y))
        classes = self.num_classes or int(y.max()) + 1
        scale = classifier_scale(self.scale_prior)
        trained = minimise(
            Loss(size, num_particles),
            SparseGuide.start(classes, len(points.points), *scale.start()),
            key=as_key(key),
            optimizer=adam(learning_rate, num_steps),
            num_steps=num_steps,
            data=(data, scale),
            block=BLOCK,
            progress=progress,
        )
        warn_if_rising(trained.losses)
        final = bound_by_quadrature(trained.parameters, scale, data)
        return FittedClassifier(points, self.scale_prior, trained.parameters, trained.training, len(at), final)

    def _points(self, x: np.ndarray) -> InducingPoints:
        if isinstance(self.inducing, int):
            return chosen_points(self.kernel, x, self.inducing)
        given = inputs(self.inducing, "inducing", like=x)
        return at_points(self.kernel, given)
