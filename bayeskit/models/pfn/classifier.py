"""`PFNClassifier`: a trained network as an estimator of scikit-learn, without scikit-learn."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np

from bayeskit._settings import is_whole, require
from bayeskit._spelling import did_you_mean
from bayeskit._typing import ArrayLike
from bayeskit.errors import DataError, MethodError
from bayeskit.models.pfn.net import Context, Net
from bayeskit.models.pfn.rows import as_numbers, check_finite

__all__ = ["PFNClassifier"]

_FARTHEST = 1e30
"""In units of a column: the network draws in far smaller numbers, and float32 ends at 3e38."""


class PFNClassifier:
    r"""Classification by one pass through a network that was trained on a prior of tables.

    Nothing is tuned: `fit` reads the rows once, and each prediction is the posterior predictive of the network's prior.
    Columns enter in units of the rows of `fit`, so that their own do not matter. The classes of `fit` share all of the
    probability, and take all places in turn, so that their order does not matter where there are up to three.
    Categories of a column must be numbers; one that `fit` has not seen is a number like any other.

    Args:
        net: trained on a prior with classes, with ``network="table"`` and ``missing=True``, such as
            :class:`bayeskit.models.pfn.priors.Table`. A network of another kind takes exactly as many columns as it was
            trained for.
        num_subsets: where there are more columns than the network takes, the mean of its predictions from this many
            random subsets of them.
        seed: of these subsets.

    Attributes:
        classes_: labels, sorted.
        n_features_in_: columns of `fit`.
        feature_names_in_: their names, where `fit` was given a table with names.
        subsets_: the columns that the network is shown, shape `(subsets, columns)`; those with a single value are not.

    Example:
        >>> from bayeskit.models import pfn
        >>> X, y = [[0.0, 1.0], [0.2, 0.8], [3.0, 1.1], [2.9, 1.0]], ["a", "a", "b", "b"]
        >>> model = pfn.PFNClassifier(pfn.pretrained("tables")).fit(X, y)
        >>> model.predict([[2.5, 1.0], [0.1, 0.9]]).tolist()
        ['b', 'a']
    """

    _estimator_type = "classifier"

    def __init__(self, net: Net, *, num_subsets: int | None = None, seed: int = 0):
        # as scikit-learn asks for: kept as they are, and looked at by `fit`
        self.net, self.num_subsets, self.seed = net, num_subsets, seed

    def __repr__(self) -> str:
        more = f", num_subsets={self.num_subsets}, seed={self.seed}" if self.num_subsets is not None else ""
        return f"PFNClassifier({self.net!r}{more})"

    def fit(self, X: ArrayLike, y: ArrayLike) -> PFNClassifier:
        """Read the rows of a table, and their labels.

        Args:
            X: numbers, shape `(rows, columns)`; NaN is a missing cell, where the network was trained with such.
            y: labels, shape `(rows,)`: numbers, text, or anything that can be sorted.

        Raises:
            DataError: what is not a table of numbers, more rows, columns or classes than the network takes, a single
                class, or labels that are missing.
            MethodError: an impossible setting.
        """
        self._check_settings()
        facts = self.net.facts
        names, x = _names(X), self._numbers(X)
        labels = _labels(y, len(x))
        if len(x) > facts.num_rows:
            raise DataError(
                f"X has {len(x)} rows and the network takes up to {facts.num_rows}; fit on a sample of them, or use "
                "a network that was trained for more"
            )
        classes, codes = np.unique(labels, return_inverse=True)
        if not 2 <= len(classes) <= facts.num_classes:
            few = "one class only" if len(classes) == 1 else f"{len(classes)} classes"
            raise DataError(f"y has {few}; the network tells 2 to {facts.num_classes} apart")
        subsets = self._subsets(x)
        self._lowest, self._reach = _units(x)
        self.classes_, self.n_features_in_, self.subsets_ = classes, x.shape[1], subsets
        vars(self).pop("feature_names_in_", None)
        if names is not None:
            self.feature_names_in_ = names
        self._orders = _orders(len(classes))
        of_rows = np.tile(self._orders[:, codes.ravel()], (len(subsets), 1))
        self._context: Context = self.net.encode(self._shown(x), of_rows)
        return self

    def predict_proba(self, X: ArrayLike) -> np.ndarray:
        """Probabilities of the classes, shape `(rows, classes)`, in the order of `classes_`.

        Raises:
            MethodError: not fitted.
            DataError: what is not a table of numbers, or other columns than those of `fit`.
        """
        if not self.__sklearn_is_fitted__():
            raise MethodError("this PFNClassifier has read no rows yet; call fit(X, y) first")
        x = self._numbers(X)
        if x.shape[1] != self.n_features_in_:
            raise DataError(f"X has {x.shape[1]} columns, and those of fit were {self.n_features_in_}")
        names, before = _names(X), getattr(self, "feature_names_in_", None)
        if names is not None and before is not None and not np.array_equal(names, before):
            at = int(np.flatnonzero(names != before)[0])
            raise DataError(
                f"column {at} of X is {names[at]!r}, and that of fit was {before[at]!r}; give them in that order"
            )
        if not len(x):
            return np.zeros((0, len(self.classes_)))
        probabilities: Any = self._context.predict(self._shown(x))
        found = np.asarray(probabilities.probs, np.float64)
        places = np.tile(self._orders, (len(self.subsets_), 1))[:, None, :]
        of_classes = np.take_along_axis(found, np.broadcast_to(places, (*found.shape[:2], places.shape[-1])), axis=-1)
        return np.mean(of_classes / of_classes.sum(axis=-1, keepdims=True), axis=0)

    def predict(self, X: ArrayLike) -> np.ndarray:
        """The most probable labels, shape `(rows,)`.

        Raises:
            MethodError: as :meth:`predict_proba`.
            DataError: likewise.
        """
        probabilities = self.predict_proba(X)
        return self.classes_[probabilities.argmax(axis=1)]

    def score(self, X: ArrayLike, y: ArrayLike) -> float:
        """The share of rows whose label is the most probable one; a label that `fit` has not seen is never right.

        Raises:
            DataError: as :meth:`predict_proba`; labels that are missing, or of another type than those of `fit`.
        """
        predicted = self.predict(X)
        labels = _labels(y, len(predicted))
        if not len(labels):
            raise DataError("X has no row to be scored on")
        text = [one.dtype.kind in "US" for one in (labels, self.classes_)]
        if "O" not in (labels.dtype.kind, self.classes_.dtype.kind) and text[0] != text[1]:
            raise DataError(f"y has labels of {labels.dtype}, and those of fit were of {self.classes_.dtype}")
        return float(np.mean(predicted == labels))

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """The arguments of the constructor, by name."""
        del deep  # a network is no estimator with arguments of its own
        return {"net": self.net, "num_subsets": self.num_subsets, "seed": self.seed}

    def set_params(self, **params: Any) -> PFNClassifier:
        """Set arguments of the constructor, by name.

        Raises:
            MethodError: one that it does not have.
        """
        for name in params:
            if name not in self.get_params():
                raise MethodError(
                    f"PFNClassifier has no argument {name!r}{did_you_mean(name, self.get_params(), 'it has')}"
                )
        for name, value in params.items():
            setattr(self, name, value)
        return self

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "_context")

    def __sklearn_tags__(self) -> Any:
        from sklearn.utils import ClassifierTags, InputTags, Tags, TargetTags

        return Tags(
            estimator_type="classifier",
            target_tags=TargetTags(required=True),
            classifier_tags=ClassifierTags(),
            input_tags=InputTags(allow_nan=self.net.facts.missing),
        )

    def _check_settings(self) -> None:
        if not isinstance(self.net, Net):
            raise MethodError(
                f"net must be a network of bayeskit.models.pfn, such as pfn.train returns, got {self.net!r}"
            )
        if not self.net.facts.num_classes:
            raise MethodError(f"net must be trained on a prior with classes; got {self.net!r}")
        if self.num_subsets is not None:
            good = is_whole(self.num_subsets) and self.num_subsets >= 1
            require(good, "num_subsets", self.num_subsets, "a positive integer")
        require(is_whole(self.seed) and self.seed >= 0, "seed", self.seed, "an integer of at least 0")

    def _numbers(self, X: ArrayLike) -> np.ndarray:
        """As float64, finite but for missing cells."""
        if hasattr(X, "toarray"):
            raise DataError("X is a sparse matrix; give X.toarray()")
        x = as_numbers("X", X)
        if x.ndim != 2 or not x.shape[1]:
            raise DataError(f"X must be a table of numbers, shape (rows, columns); got shape {x.shape}")
        check_finite("X", x, self.net.facts.missing)
        return x

    def _subsets(self, x: np.ndarray) -> np.ndarray:
        """The columns that the network is shown."""
        most, takes_fewer = self.net.facts.num_features, self.net.takes_fewer
        columns = np.arange(x.shape[1])
        if takes_fewer:
            # a column with one value says nothing, and would take the place of another; one has to be left
            varying = np.array([len(np.unique(column[~np.isnan(column)])) > 1 for column in x.T])
            columns = columns[varying] if varying.any() else columns[:1]
        if len(columns) == most or (takes_fewer and len(columns) < most):
            return columns[None]
        if len(columns) < most:
            raise DataError(f"X has {len(columns)} columns and the network takes {most}, neither more nor fewer")
        if self.num_subsets is None:
            raise DataError(
                f"X has {len(columns)} columns that vary and the network takes {most}; pass num_subsets=, such as "
                f"{max(2 * len(columns) // most, 4)}, to average over that many random subsets of the columns"
            )
        generator = np.random.default_rng(self.seed)
        return np.array([np.sort(generator.choice(columns, most, replace=False)) for _ in range(self.num_subsets)])

    def _shown(self, x: np.ndarray) -> np.ndarray:
        """In units of the rows of `fit`, shape `(subsets * orders, rows, columns)`."""
        if not self.net.network.columns_alike:
            shown = np.moveaxis(x[:, self.subsets_], 1, 0)  # in the units of the prior
            return np.repeat(shown, len(self._orders), axis=0)
        # in double precision, so that a large offset does not hide what differs
        z = np.clip((x / 2 - self._lowest / 2) / self._reach, -_FARTHEST, _FARTHEST)
        return np.repeat(np.moveaxis(z[:, self.subsets_], 1, 0), len(self._orders), axis=0)


def _orders(num_classes: int) -> np.ndarray:
    """The places that the classes take in turn: all orders of up to three of them, and rotations of more.

    The network does not know that classes could be named otherwise, and is a little uneven about them.
    """
    if num_classes <= 3:
        return np.array(list(itertools.permutations(range(num_classes))))
    return (np.arange(num_classes)[:, None] + np.arange(num_classes)) % num_classes


def _units(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Lowest known numbers of columns, and half of how far the others reach above them: all of it could overflow."""
    known = ~np.isnan(x)
    low = np.min(np.where(known, x, np.inf), axis=0, initial=np.inf)
    high = np.max(np.where(known, x, -np.inf), axis=0, initial=-np.inf)
    reach = np.where(high > low, high / 2, 0.0) - np.where(high > low, low / 2, 0.0)
    return np.where(reach > 0, low, 0.0), np.where(reach > 0, reach, 1.0)


def _names(X: Any) -> np.ndarray | None:
    """Of the columns of a table that has names, all of them text."""
    names = getattr(X, "columns", None)
    if names is None or not all(isinstance(name, str) for name in names):
        return None
    return np.asarray(names, object)


def _labels(y: ArrayLike, rows: int) -> np.ndarray:
    """One for each row, none of them missing.

    Raises:
        DataError: another shape, or a label that is missing.
    """
    labels = np.asarray(y)
    if labels.shape != (rows,):
        raise DataError(f"y must have one label for each row of X, shape ({rows},); got shape {labels.shape}")
    missing = np.array([label is None or label != label for label in labels.tolist()], bool)
    if missing.any():
        raise DataError(
            f"y is {labels[missing][0]} at {int(np.flatnonzero(missing)[0])}; leave out rows without a label"
        )
    if labels.dtype.kind == "O" and len({isinstance(label, str) for label in labels}) > 1:
        raise DataError("y mixes text with other labels")
    return labels
