"""Networks of cells, and the prior of tables that they learn from."""

from __future__ import annotations

import dataclasses
import json
import re

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest
from numpyro import handlers

from bayeskit.errors import DataError, MethodError
from bayeskit.models import pfn
from bayeskit.models.pfn.prior import Prior
from bayeskit.models.pfn.table_network import Columns
from bayeskit.models.pfn.table_prior import Table

from .untrained import untrained

ROWS, FEATURES, CLASSES = 12, 3, 3
RNG = np.random.default_rng(0)
X, NEW = RNG.normal(size=(9, FEATURES)), RNG.normal(size=(5, FEATURES))
Y = np.array([0, 1, 1, 0, 2, 1, 0, 1, 0])
MISSING = np.where(RNG.uniform(size=X.shape) < 0.2, np.nan, X)


def prior():
    """Classes by the sign of the first column, of which some cells and the last column are sometimes missing."""
    x = numpyro.sample("x_full", dist.Normal(0.0, 1.0).expand([ROWS, FEATURES]).to_event(2))
    missing = numpyro.sample("missing", dist.Bernoulli(0.1).expand([ROWS, FEATURES]).to_event(2)) == 1
    absent = (numpyro.sample("absent", dist.Bernoulli(0.5)) == 1) & (jnp.arange(FEATURES) == FEATURES - 1)
    numpyro.deterministic("x", jnp.where(missing | absent, jnp.nan, x))
    logits = x[:, :1] * jnp.array([0.0, 1.0, -1.0])
    with numpyro.plate("rows", ROWS):
        numpyro.sample("y", dist.Categorical(logits=logits))


@pytest.fixture(scope="module")
def trained():
    return pfn.train(
        prior,
        key=0,
        num_steps=4,
        network="table",
        missing=True,
        width=16,
        num_layers=2,
        num_heads=2,
        batch_size=4,
        progress=False,
    )


@pytest.fixture(scope="module")
def net():
    return untrained(ROWS, FEATURES, CLASSES, num_layers=2)


def draw(table, num):
    """Tables, shapes `(num, rows, features)` and `(num, rows)`."""

    def one(key):
        sites = handlers.trace(handlers.seed(table, key)).get_trace()
        return sites["x"]["value"], sites["y"]["value"]

    with jax.enable_x64(False):
        return tuple(map(np.asarray, jax.jit(jax.vmap(one))(jax.random.split(jax.random.key(1), num))))


@pytest.fixture(scope="module")
def tables():
    return draw(Table(ROWS, FEATURES, CLASSES), 1024)


def probabilities(net, x, y, new):
    return np.asarray(net.predict(x, y, new).probs)


# ---------------------------------------------------------------- the network


@pytest.mark.parametrize("x", [X, MISSING], ids=["known", "missing"])
def test_neither_the_order_of_rows_nor_that_of_columns_matters(net, x):
    before = probabilities(net, x, Y, NEW)
    assert np.ptp(before, axis=0).max() > 1e-3
    rows, columns = np.random.default_rng(2).permutation(len(x)), np.array([2, 0, 1])
    np.testing.assert_allclose(probabilities(net, x[rows], Y[rows], NEW), before, atol=1e-5)
    np.testing.assert_allclose(probabilities(net, x[:, columns], Y, NEW[:, columns]), before, atol=1e-5)


def test_queries_do_not_see_one_another(net):
    alone = np.concatenate([probabilities(net, X, Y, NEW[at : at + 1]) for at in range(len(NEW))])
    np.testing.assert_array_equal(alone, probabilities(net, X, Y, NEW))


def test_what_is_trained_is_what_predicts(net):
    x = np.concatenate([MISSING, NEW])
    y = net.head.standardise(jnp.asarray(np.concatenate([Y, [0] * len(NEW)])))
    known = jnp.arange(len(x)) < len(MISSING)
    output = eqx.filter_jit(net.network.both)(jnp.asarray(x, jnp.float32), y, known)
    expected = probabilities(net, MISSING, Y, NEW)
    np.testing.assert_allclose(np.asarray(jax.nn.softmax(output[len(MISSING) :])), expected, atol=1e-5)


def test_columns_are_in_units_of_the_context(net):
    scale, shift = np.array([1e-3, 50.0, 1.0]), np.array([0.0, 20.0, -3.0])
    moved = probabilities(net, scale * X + shift, Y, scale * NEW + shift)
    np.testing.assert_allclose(moved, probabilities(net, X, Y, NEW), atol=1e-4)


def test_units_are_mean_and_standard_deviation_of_what_is_known():
    rows = np.concatenate([MISSING, 100.0 * np.ones((2, FEATURES))])
    columns = Columns.of(jnp.asarray(rows), jnp.arange(len(rows)) < len(MISSING))
    assert columns.varies.all()
    z = (rows - np.nanmean(MISSING, axis=0)) / np.nanstd(MISSING, axis=0)
    np.testing.assert_allclose(np.asarray(columns.standardise(jnp.asarray(rows))), 3 * np.arcsinh(z / 3), atol=1e-10)


@pytest.mark.parametrize("values", [np.full(9, 0.1), np.full(9, np.nan), np.where(np.arange(9) == 3, 2.0, np.nan)])
def test_a_column_that_does_not_vary_is_as_none_at_all(net, values):
    x, new = X.copy(), NEW.copy()
    x[:, 1] = values
    others = [0, 2]
    np.testing.assert_allclose(
        probabilities(net, x, Y, new), probabilities(net, x[:, others], Y, new[:, others]), atol=1e-6
    )


def test_a_missing_cell_counts(net):
    new = np.where(np.arange(FEATURES) == 0, np.nan, NEW)
    assert np.abs(probabilities(net, X, Y, new) - probabilities(net, X, Y, NEW)).max() > 1e-3


def test_a_network_predicts_from_no_row_from_one_and_far_away(net):
    for x, y in ((np.zeros((0, FEATURES)), []), (X[:1], Y[:1])):
        predicted = probabilities(net, x, y, NEW)
        np.testing.assert_allclose(predicted.sum(axis=1), 1.0, atol=1e-6)
        np.testing.assert_allclose(predicted, predicted[:1].repeat(len(NEW), axis=0), atol=1e-6)
    assert np.isfinite(probabilities(net, X, Y, 1e37 * NEW)).all()
    assert np.isfinite(probabilities(net, 1e37 * X, Y, NEW)).all()


def test_gradients_are_finite_where_nothing_is_known(net):
    x = np.stack([MISSING, np.full_like(X, np.nan), np.ones_like(X)])
    y = net.head.standardise(jnp.broadcast_to(jnp.asarray(Y), x.shape[:2]))

    @eqx.filter_jit
    @eqx.filter_grad
    def slope(network, known):
        output = network.both(jnp.asarray(x, jnp.float32), y, jnp.broadcast_to(known, x.shape[:2]))
        return jnp.sum(jax.nn.log_softmax(output)[..., 0])

    for num_known in (0, 1, 5):
        leaves = jax.tree.leaves(slope(net.network, jnp.arange(len(X)) < num_known))
        assert all(bool(jnp.isfinite(leaf).all()) for leaf in leaves)


def test_a_network_is_kept(net, tmp_path):
    again = pfn.load(net.save(tmp_path / "net.nc"))
    np.testing.assert_array_equal(probabilities(again, MISSING, Y, NEW), probabilities(net, MISSING, Y, NEW))


@pytest.mark.full
def test_training_takes_its_steps_and_says_how(trained):
    assert len(trained.training.losses) == 4
    assert np.isfinite(trained.training.losses).all()
    assert json.loads(trained.facts.settings)["network"] == "table"
    assert np.abs(trained.network.readout).max() > 0
    # units of the prior would be added to those of the columns
    np.testing.assert_array_equal(trained.centre, 0.0)
    np.testing.assert_array_equal(trained.spread, 1.0)


@pytest.mark.full
def test_the_check_of_data_does_not_depend_on_units(trained):
    assert trained.p_value(1e6 * X + 1e5, Y) == pytest.approx(trained.p_value(X, Y), abs=0.02)
    assert trained.p_value(X, Y) > 0.05


def test_misuse_is_refused(net):
    wide = np.zeros((9, 4))
    message = (
        "x must have shape (rows, columns) with 1 to 3 columns, as many as the network was trained for; "
        "got shape (9, 4)"
    )
    with pytest.raises(DataError, match=f"^{re.escape(message)}$"):
        net.predict(wide, Y, wide)
    with pytest.raises(
        DataError, match=f"^{re.escape('x_new must have the columns of x, 2 of them; got shape (5, 3)')}$"
    ):
        net.predict(X[:, :2], Y, NEW)
    plain = dataclasses.replace(net, facts=dataclasses.replace(net.facts, missing=False))
    message = "x must have shape (rows, 3): the network was trained for 3 inputs; got shape (9, 2)"
    with pytest.raises(DataError, match=f"^{re.escape(message)}$"):
        plain.predict(X[:, :2], Y, NEW[:, :2])
    with pytest.raises(MethodError, match=r"^network must be one of 'set', 'table', got 'cells'$"):
        pfn.train(pfn.priors.Ridge(), key=0, num_steps=1, network="cells")


# ---------------------------------------------------------------- the prior


def test_columns_that_are_not_used_are_missing_and_come_last(tables):
    x, _ = tables
    used = ~np.isnan(x).all(axis=1)
    assert used[:, 0].mean() > 0.98  # a column in use may be missing by chance
    counts = used.sum(axis=1)
    for count in range(1, FEATURES + 1):
        share = np.mean(counts == count)
        assert abs(share - 1 / FEATURES) < 4 * (share * (1 - share) / len(x)) ** 0.5 + 0.01
    assert np.isfinite(x[:, :, 0]).all(axis=1).mean() > 0.7


@pytest.mark.full
def test_nothing_is_missing_where_none_may_be():
    missing = np.isnan(draw(Table(ROWS, FEATURES, CLASSES, max_missing=0.0), 64)[0])
    np.testing.assert_array_equal(missing.any(axis=1), missing.all(axis=1))
    assert missing.any()
    assert not missing[:, :, 0].any()


@pytest.mark.full
def test_tables_are_a_prior_to_train_on():
    read = Prior(Table(ROWS, FEATURES, CLASSES))
    assert (read.num_rows, read.num_features, read.num_classes) == (ROWS, FEATURES, CLASSES)


def test_classes_have_no_order(tables):
    _, y = tables
    assert set(np.unique(y)) == {0, 1, 2}
    apart = np.mean(y == 0, axis=1) - np.mean(y == 1, axis=1)
    assert abs(apart.mean()) < 4 * apart.std() / len(y) ** 0.5


def test_columns_tell_classes_apart(tables):
    x, y = tables
    z = np.nan_to_num((x - np.nanmean(x, axis=(0, 1))) / np.nanstd(x, axis=(0, 1)))
    distance = ((z[:, :, None] - z[:, None, :]) ** 2).sum(axis=-1) + np.where(np.eye(ROWS), np.inf, 0.0)
    nearest = np.take_along_axis(y, distance.argmin(axis=2), axis=1)
    other = np.take_along_axis(y, np.roll(np.arange(ROWS), 1)[None].repeat(len(y), axis=0), axis=1)
    gain = np.mean(nearest == y, axis=1) - np.mean(other == y, axis=1)
    assert gain.mean() > 4 * gain.std() / len(y) ** 0.5


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"num_rows": 1}, "num_rows must be an integer of at least 2, got 1"),
        ({"num_features": 0}, "num_features must be an integer of at least 1, got 0"),
        ({"num_classes": 1}, "num_classes must be an integer of at least 2, got 1"),
        ({"max_missing": 1.0}, "max_missing must be at least 0 and below 1, got 1.0"),
    ],
)
def test_impossible_tables_are_refused(settings, message):
    with pytest.raises(MethodError, match=f"^{re.escape(message)}$"):
        Table(**settings)
