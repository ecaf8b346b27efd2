"""`classification_model`: the whole model of a classifier, for MCMC on small data."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
from jaxtyping import Float

from bayeskit._keepable import keepable
from bayeskit._settings import is_whole, require
from bayeskit._typing import Array, ArrayLike
from bayeskit.errors import DataError
from bayeskit.models.nngp.classification.inducing import InducingPoints, at_points, inputs
from bayeskit.models.nngp.classification.labels import class_labels
from bayeskit.models.nngp.classification.scale import ModelScale, model_scale
from bayeskit.models.nngp.classification.softmax import expected_softmax

if TYPE_CHECKING:
    import xarray as xr

__all__ = ["ClassificationModel", "classification_model"]


@keepable("nngp.ClassificationModel")
@dataclasses.dataclass(frozen=True, eq=False)
class ClassificationModel:
    """See :func:`classification_model`, which makes it.

    Attributes:
        points: the inputs, with the Cholesky factor of the kernel.
        scale: the scale, with its law or as a number.
        num_classes: how many classes.
    """

    points: InducingPoints
    scale: ModelScale
    num_classes: int

    @property
    def __name__(self) -> str:
        return "classification_model"

    def __call__(self, factor: Array, labels: Any = None) -> None:
        """The NumPyro statements: sites ``scale``, ``whitened``, ``f`` and the observed ``labels``.

        The factor $L$ is an argument, not a constant of the compiled program: with large constants the CPU compiler of
        JAX 0.10 can abort the process.
        """
        scale = self.scale.sample_site()
        white = numpyro.sample("whitened", dist.Normal(0.0, 1.0).expand([len(factor), self.num_classes]).to_event(2))
        f = numpyro.deterministic("f", jnp.sqrt(scale) * (factor @ white))
        with numpyro.plate("row", len(factor)):
            numpyro.sample("labels", dist.Categorical(logits=f), obs=labels)

    def data(self, labels: ArrayLike | None) -> dict[str, Any]:
        """The data of :func:`bayeskit.infer`, or of :func:`bayeskit.predict` without labels.

        Raises:
            DataError: labels that are not integers from 0, or not one for each input.
        """
        given = labels
        if labels is not None:
            given = class_labels(labels, "labels", len(self.points.points), self.num_classes)
        return {"factor": self.points.factor, "labels": given}

    def predict_proba(self, post: xr.DataTree | Mapping[str, Any], x: ArrayLike) -> Float[np.ndarray, "n classes"]:
        """Probabilities of the classes at new inputs: the mean over the draws, given each of which it is by quadrature.

        Args:
            post: what :func:`bayeskit.infer` has returned.
            x: inputs, shape `(n, ...)`.

        Raises:
            DataError: inputs that are not finite or do not fit; draws of another model.
        """
        weights, left = self.points.project(inputs(x, "x", like=self.points.points))
        white = np.asarray(post["posterior/whitened"], np.float64)
        if white.shape[2:] != (len(self.points.factor), self.num_classes):
            raise DataError(f"post has draws of shape {white.shape[2:]} at 'whitened', so is of another model")
        scale = self.scale.of_draws(post, white.shape[:2])
        sigma = np.sqrt(scale.reshape(-1))[:, None, None]
        mean = sigma * np.einsum("im,smc->sic", weights, white.reshape(-1, *white.shape[2:]))
        variance = np.broadcast_to(sigma**2 * left[:, None], mean.shape)
        rows = expected_softmax(mean.reshape(-1, self.num_classes), variance.reshape(-1, self.num_classes))
        return rows.reshape(mean.shape).mean(axis=0)


def classification_model(
    kernel: Any, scale_prior: dist.Distribution | float, x: ArrayLike, *, num_classes: int
) -> ClassificationModel:
    r"""The model of :class:`SparseClassifier` without its approximation, as a NumPyro model of the labels.

    Its latent sites are $\sigma^2$ (``scale``) and standard normal numbers $w$ (``whitened``, shape `(n, c)`), from
    which $f = \sigma L w$ with $K = L L^\top$; its arguments are what :meth:`ClassificationModel.data` makes of the
    labels. For MCMC where $n$ is small, as the referee of the variational approximation.

    Args:
        kernel: a tinygp kernel.
        scale_prior: a NumPyro distribution on the positive numbers; or a positive number.
        x: inputs, shape `(n, ...)`.
        num_classes: labels are 0 to `num_classes` - 1.

    Raises:
        DataError: inputs that are not finite; a kernel matrix that is singular.
        MethodError: an impossible number of classes.
        ModelError: a scale that is neither a positive number nor a distribution on the positive numbers.

    Example:
        >>> import numpy as np, numpyro.distributions as dist
        >>> import bayeskit as bk
        >>> from tinygp import kernels
        >>> from bayeskit.models import nngp
        >>> x = np.array([-2.0, -1.0, 1.0, 2.0])
        >>> model = nngp.classification_model(kernels.Exp(1.0), dist.InverseGamma(2.0, 2.0), x, num_classes=2)
        >>> method = bk.HMC(num_chains=2, num_warmup=200, num_draws=200)
        >>> post = bk.infer(model, model.data(np.array([0, 0, 1, 1])), method, key=0, progress=False)
        >>> bool(model.predict_proba(post, np.array([1.5]))[0, 1] > 0.5)
        True
    """
    scale = model_scale(scale_prior)
    require(is_whole(num_classes) and num_classes >= 2, "num_classes", num_classes, "an integer of at least 2")
    return ClassificationModel(at_points(kernel, inputs(x, "x"), "x"), scale, num_classes)
