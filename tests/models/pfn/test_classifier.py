"""`PFNClassifier`: labels, columns and settings on their way to a network and back."""

from __future__ import annotations

import ast
import dataclasses
import inspect
import re

import numpy as np
import pandas as pd
import pytest

from bayeskit.errors import DataError, MethodError
from bayeskit.models.pfn import PFNClassifier, classifier

from .untrained import untrained

ROWS, FEATURES, CLASSES = 12, 3, 3
RNG = np.random.default_rng(3)
X, NEW = RNG.normal(size=(8, FEATURES)), RNG.normal(size=(6, FEATURES))
CODES = np.array([0, 1, 1, 0, 1, 0, 0, 1])
LABELS = np.array(["no", "yes"])[CODES]
WIDE, WIDE_NEW = RNG.normal(size=(8, 5)), RNG.normal(size=(6, 5))


@pytest.fixture(scope="module")
def net():
    return untrained(ROWS, FEATURES, CLASSES, num_layers=1)


def refuses(message, kind=DataError):
    return pytest.raises(kind, match=f"^{re.escape(message)}$")


def test_probabilities_are_those_of_the_network_among_the_classes_seen(net):
    model = PFNClassifier(net).fit(X, LABELS)
    one = np.asarray(net.predict(X, CODES, NEW).probs, float)[:, :2]
    other = np.asarray(net.predict(X, 1 - CODES, NEW).probs, float)[:, 1::-1]  # the classes have changed places
    both = [found / found.sum(axis=1, keepdims=True) for found in (one, other)]
    predicted = model.predict_proba(NEW)
    np.testing.assert_allclose(predicted, np.mean(both, axis=0), atol=1e-5)
    assert np.ptp(predicted[:, 0]) > 5e-3
    np.testing.assert_array_equal(model.classes_, ["no", "yes"])
    np.testing.assert_array_equal(model.predict(NEW), model.classes_[predicted.argmax(axis=1)])
    assert model.n_features_in_ == FEATURES
    truth = np.where(np.arange(len(NEW)) < 2, "maybe", model.predict(NEW))
    assert model.score(NEW, truth) == 4 / 6
    assert model.predict_proba(NEW[:0]).shape == (0, 2)


def test_the_order_of_classes_does_not_matter(net):
    codes = np.array([0, 1, 2, 0, 1, 2, 2, 1])[: len(X)]
    before = PFNClassifier(net).fit(X, codes).predict_proba(NEW)
    after = PFNClassifier(net).fit(X, np.array([2, 0, 1])[codes]).predict_proba(NEW)
    np.testing.assert_allclose(after[:, [2, 0, 1]], before, atol=1e-5)
    assert np.abs(before - 1 / 3).max() > 0.05


@pytest.mark.parametrize(
    "labels", [np.array([7, -2]), np.array([True, False]), np.array([1.5, 0.5]), np.array(["b", "a"], object)]
)
def test_labels_may_be_anything_that_sorts(net, labels):
    model = PFNClassifier(net).fit(X, labels[CODES])
    np.testing.assert_array_equal(model.classes_, np.sort(labels))
    np.testing.assert_array_equal(
        np.unique(model.predict(X)), np.unique(model.classes_[model.predict_proba(X).argmax(1)])
    )


def test_units_and_constant_columns_do_not_matter(net):
    before = PFNClassifier(net).fit(X, CODES).predict_proba(NEW)
    far = PFNClassifier(net).fit(1e9 + 1e-3 * X, CODES).predict_proba(1e9 + 1e-3 * NEW)
    np.testing.assert_allclose(far, before, atol=1e-3)  # 1e-7 of 1e9 is what float64 keeps
    large = PFNClassifier(net).fit(1e300 * X, CODES).predict_proba(1e300 * NEW)
    np.testing.assert_allclose(large, before, atol=1e-5)
    constant = lambda x: np.insert(x, 1, 4.0, axis=1)  # noqa: E731
    model = PFNClassifier(net).fit(constant(X), CODES)
    np.testing.assert_array_equal(model.subsets_, [[0, 2, 3]])
    np.testing.assert_allclose(model.predict_proba(constant(NEW)), before, atol=1e-6)
    nothing = PFNClassifier(net).fit(np.ones((8, 5)), CODES).predict_proba(WIDE_NEW)
    np.testing.assert_allclose(nothing, nothing[:1].repeat(len(nothing), axis=0), atol=1e-6)


def test_more_columns_are_averaged_over_subsets(net):
    model = PFNClassifier(net, num_subsets=4, seed=1).fit(WIDE, CODES)
    assert model.subsets_.shape == (4, FEATURES)
    assert len(np.unique(model.subsets_, axis=0)) > 1
    each = [PFNClassifier(net).fit(WIDE[:, some], CODES).predict_proba(WIDE_NEW[:, some]) for some in model.subsets_]
    np.testing.assert_allclose(model.predict_proba(WIDE_NEW), np.mean(each, axis=0), atol=1e-5)
    again = PFNClassifier(net, num_subsets=4, seed=1).fit(WIDE, CODES)
    np.testing.assert_array_equal(again.subsets_, model.subsets_)
    other = PFNClassifier(net, num_subsets=4, seed=2).fit(WIDE, CODES)
    assert not np.array_equal(other.subsets_, model.subsets_)
    np.testing.assert_array_equal(PFNClassifier(net, num_subsets=4).fit(X, CODES).subsets_, [[0, 1, 2]])


def test_missing_cells_and_tables_with_names(net):
    columns = ["a", "b", "c"]
    table = pd.DataFrame(np.where(np.arange(FEATURES) == 1, np.nan, X[:1]).repeat(8, axis=0) + X * 0.1, columns=columns)
    model = PFNClassifier(net).fit(table, pd.Series(LABELS))
    np.testing.assert_array_equal(model.feature_names_in_, columns)
    new = pd.DataFrame(NEW, columns=columns)
    np.testing.assert_array_equal(model.predict_proba(new), model.predict_proba(NEW))
    with refuses("column 0 of X is 'b', and that of fit was 'a'; give them in that order"):
        model.predict_proba(new[["b", "a", "c"]])
    assert not hasattr(model.fit(X, LABELS), "feature_names_in_")


def test_misuse_of_fit_is_refused(net):
    model = PFNClassifier(net)
    with refuses(
        "X has 5 columns that vary and the network takes 3; pass num_subsets=, such as 4, to average over that many "
        "random subsets of the columns"
    ):
        model.fit(WIDE, CODES)
    with refuses(
        "X has 13 rows and the network takes up to 12; fit on a sample of them, or use a network that was trained for "
        "more"
    ):
        model.fit(np.zeros((13, 2)), np.zeros(13))
    with refuses("y has one class only; the network tells 2 to 3 apart"):
        model.fit(X, np.zeros(8))
    with refuses("y has 8 classes; the network tells 2 to 3 apart"):
        model.fit(X, np.arange(8))
    with refuses("y must have one label for each row of X, shape (8,); got shape (7,)"):
        model.fit(X, CODES[1:])
    with refuses("y is nan at 2; leave out rows without a label"):
        model.fit(X, np.where(np.arange(8) == 2, np.nan, CODES))
    with refuses("y is None at 0; leave out rows without a label"):
        model.fit(X, [None, *LABELS[1:]])
    with refuses("y mixes text with other labels"):
        model.fit(X, np.array(["a", 1] * 4, object))
    with refuses("X must be a table of numbers, shape (rows, columns); got shape (8,)"):
        model.fit(X[:, 0], CODES)
    with refuses("X is inf at (1, 2), which is not finite"):
        model.fit(np.where(np.arange(24).reshape(8, 3) == 5, np.inf, X), CODES)
    with refuses("X must be numbers, got DataFrame of object; give categories a number each"):
        model.fit(pd.DataFrame({"a": ["red", "blue"] * 4, "b": 1.0}), CODES)
    plain = dataclasses.replace(net, facts=dataclasses.replace(net.facts, missing=False))
    hint = "the network was trained without missing inputs (train with missing=True on a prior that has them)"
    with refuses(f"X is nan at (0, 0), which is not finite; {hint}"):
        PFNClassifier(plain).fit(np.where(np.arange(24).reshape(8, 3) == 0, np.nan, X), CODES)
    with refuses("X has 2 columns and the network takes 3, neither more nor fewer"):
        PFNClassifier(plain).fit(X[:, :2], CODES)


def test_misuse_of_settings_is_refused(net):
    with refuses("num_subsets must be a positive integer, got 0", MethodError):
        PFNClassifier(net, num_subsets=0).fit(X, CODES)
    with refuses("seed must be an integer of at least 0, got -1", MethodError):
        PFNClassifier(net, seed=-1).fit(X, CODES)
    with refuses("net must be a network of bayeskit.models.pfn, such as pfn.train returns, got 'net.nc'", MethodError):
        PFNClassifier("net.nc").fit(X, CODES)
    regression = dataclasses.replace(net, facts=dataclasses.replace(net.facts, num_classes=0))
    with refuses(f"net must be trained on a prior with classes; got {regression!r}", MethodError):
        PFNClassifier(regression).fit(X, CODES)
    with refuses("PFNClassifier has no argument 'num_subset'; did you mean 'num_subsets'?", MethodError):
        PFNClassifier(net).set_params(num_subset=3)


def test_misuse_of_predictions_is_refused(net):
    with refuses("this PFNClassifier has read no rows yet; call fit(X, y) first", MethodError):
        PFNClassifier(net).predict(NEW)
    model = PFNClassifier(net).fit(X, LABELS)
    with refuses("X has 2 columns, and those of fit were 3"):
        model.predict(NEW[:, :2])
    with refuses("y has labels of int64, and those of fit were of <U3"):
        model.score(NEW, np.zeros(6, np.int64))


def test_it_is_an_estimator_of_scikit_learn(net):
    base = pytest.importorskip("sklearn.base")
    selection = pytest.importorskip("sklearn.model_selection")
    model = PFNClassifier(net, num_subsets=2, seed=5)
    copy = base.clone(model).set_params(seed=6)
    assert base.is_classifier(copy)
    assert (copy.get_params()["seed"], copy.num_subsets) == (6, 2)
    assert repr(copy).startswith("PFNClassifier(Net(prior='Table', ")
    folds = selection.StratifiedKFold(2)
    scores = selection.cross_val_score(model, WIDE, LABELS, cv=folds)
    by_hand = [model.fit(WIDE[a], LABELS[a]).score(WIDE[b], LABELS[b]) for a, b in folds.split(WIDE, LABELS)]
    np.testing.assert_array_equal(scores, by_hand)
    assert np.isfinite(selection.cross_val_score(model, WIDE, LABELS, cv=folds, scoring="roc_auc")).all()


def test_it_does_without_scikit_learn():
    tree = ast.parse(inspect.getsource(classifier))
    imported = [ast.unparse(line) for line in tree.body if isinstance(line, ast.Import | ast.ImportFrom)]
    assert imported
    assert not any("sklearn" in line for line in imported)
