"""`PFNRegressor`: a network with the methods of scikit-learn's estimators."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import numpyro.distributions as dist

from bayeskit._typing import ArrayLike
from bayeskit.errors import DataError, MethodError
from bayeskit.models.pfn.net import Context, Net
from bayeskit.models.pfn.rows import as_numbers

__all__ = ["PFNRegressor"]

MIN_P = 0.01


class PFNRegressor:
    """Regression by a trained network, used like an estimator of scikit-learn.

    Nothing is fitted in `fit`: the network reads the data once, and predicts from them.

    Args:
        net: trained by :func:`bayeskit.models.pfn.train` on a prior of real outputs.
        standardise: bring inputs and outputs to the mean and spread that they have under the prior. Without it the data
            must be in the prior's units.

    Example:
        >>> from bayeskit.models import pfn
        >>> net = pfn.pretrained("regression")
        >>> model = pfn.PFNRegressor(net, standardise=True).fit([[0.0], [1.0], [2.0]], [0.0, 0.9, 2.1])
        >>> mean, sd = model.predict([[0.5], [1.5]], return_std=True)
        >>> mean.shape, bool((sd > 0).all())
        ((2,), True)
    """

    _estimator_type = "regressor"

    def __init__(self, net: Net | None = None, *, standardise: bool = False):
        self.net, self.standardise = net, standardise

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """The arguments of the constructor."""
        del deep
        return {"net": self.net, "standardise": self.standardise}

    def set_params(self, **params: Any) -> PFNRegressor:
        """Change arguments of the constructor.

        Raises:
            MethodError: there is no such argument.
        """
        for name, value in params.items():
            if name not in self.get_params():
                raise MethodError(f"PFNRegressor has no parameter {name!r}; it has net and standardise")
            setattr(self, name, value)
        return self

    def __sklearn_tags__(self) -> Any:
        from sklearn.utils import InputTags, RegressorTags, Tags, TargetTags  # only scikit-learn asks

        return Tags(
            estimator_type="regressor",
            target_tags=TargetTags(required=True),
            regressor_tags=RegressorTags(),
            input_tags=InputTags(),
        )

    def fit(self, X: ArrayLike, y: ArrayLike) -> PFNRegressor:
        """Read data.

        Args:
            X: inputs, shape `(rows, features)`.
            y: outputs, shape `(rows,)`.

        Raises:
            MethodError: there is no network, or it predicts classes.
            DataError: as :meth:`Net.predict`; with `standardise`, an output that is constant.

        Warns:
            UserWarning: the data are unlike those that the network was trained on.
        """
        net = self.net
        if not isinstance(net, Net) or net.facts.num_classes:
            raise MethodError("PFNRegressor takes a network that was trained to predict numbers")
        x, outputs = net.checked(X, y)
        self._shift_x, self._scale_x, self._shift_y, self._scale_y = 0.0, 1.0, 0.0, 1.0
        if self.standardise:
            farthest = float(np.median(net.reference.extremes[-1]))
            self._shift_x, self._scale_x = _towards(x, np.asarray(net.centre), np.asarray(net.spread), farthest)
            head: Any = net.head
            if len(outputs) < 2 or np.ptp(outputs) == 0:
                raise DataError("y is constant, so it cannot be standardised; pass standardise=False")
            self._shift_y, self._scale_y = _towards(outputs, np.asarray(head.mean), np.asarray(head.sd))
            x, outputs = x * self._scale_x + self._shift_x, outputs * self._scale_y + self._shift_y
        self.p_value_ = net.p_value(x, outputs)
        if self.p_value_ < MIN_P:
            warnings.warn(
                f"the data are unlike those that the network was trained on (p = {self.p_value_:.3f}); do not rely on "
                "its predictions. Try standardise=True, or train on a prior that draws such data",
                stacklevel=2,
            )
        self.context_: Context = net.encode(x, outputs)
        self.n_features_in_ = net.facts.num_features
        return self

    def distribution(self, X: ArrayLike) -> dist.Distribution:
        """The predictive distributions, of batch shape `(rows,)`.

        Raises:
            MethodError: not fitted.
            DataError: as :meth:`Net.predict`.
        """
        if not hasattr(self, "context_"):
            raise MethodError("PFNRegressor has read no data yet; call fit(X, y) first")
        inputs = as_numbers("X", X)
        if inputs.ndim == 1 and self.n_features_in_ == 1:
            inputs = inputs[:, None]
        law = self.context_.predict(inputs * self._scale_x + self._shift_x if self.standardise else inputs)
        if not self.standardise:
            return law
        back = dist.transforms.AffineTransform(-self._shift_y / self._scale_y, 1 / self._scale_y)
        return dist.TransformedDistribution(law, back)

    def predict(self, X: ArrayLike, return_std: bool = False) -> Any:
        """Means, and with `return_std` standard deviations too.

        Raises:
            MethodError: not fitted.
            DataError: as :meth:`Net.predict`.
        """
        law: Any = self.distribution(X)
        base = law.base_dist if self.standardise else law
        mean = (np.asarray(base.mean, float) - self._shift_y) / self._scale_y
        return (mean, np.sqrt(np.asarray(base.variance, float)) / self._scale_y) if return_std else mean

    def score(self, X: ArrayLike, y: ArrayLike) -> float:
        """The coefficient of determination, $R^2$."""
        truth = np.asarray(y, float)
        return 1 - float(np.sum((truth - self.predict(X)) ** 2) / np.sum((truth - truth.mean()) ** 2))


def _towards(values: np.ndarray, mean: np.ndarray, sd: np.ndarray, farthest: float = np.inf) -> tuple[Any, Any]:
    """Shift and scale that give columns this mean and standard deviation; a constant column is only shifted.

    A column of which something would lie farther out, in standard deviations, gets a smaller one: the inputs of a
    prior may be bounded.
    """
    apart = values.astype(float) - np.nanmean(values.astype(float), axis=0)
    spread = np.nanstd(apart, axis=0)
    scale = sd / np.where(spread > 0, np.maximum(spread, np.nanmax(np.abs(apart), axis=0) / farthest), sd)
    return mean - np.nanmean(values.astype(float), axis=0) * scale, scale
