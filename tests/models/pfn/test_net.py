"""What a network promises whatever it has learned: sets, separate queries, padding; and what it refuses."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bayeskit.errors import DataError, StorageError
from bayeskit.models import pfn
from bayeskit.models.pfn.net import QUERIES
from bayeskit.models.pfn.prior import Prior

from .conftest import PROCESS

NEW = np.random.default_rng(0).uniform(size=(QUERIES + 6, 1))


def test_the_order_of_the_context_does_not_matter(net, data):
    x, y = data[0][0], data[1][0]
    order = np.random.default_rng(1).permutation(len(y))
    one, other = net.predict(x, y, NEW), net.predict(x[order], y[order], NEW)
    np.testing.assert_allclose(one.log_prob(0.3), other.log_prob(0.3), atol=1e-4)


def test_other_queries_change_nothing(net, data):
    x, y = data[0][0], data[1][0]
    np.testing.assert_array_equal(net.predict(x, y, NEW).logits[:3], net.predict(x, y, NEW[:3]).logits)


def test_padding_and_other_data_sets_hardly_change_anything(net, data):
    x, y = data
    alone = net.predict(x[1, :5], y[1, :5], NEW[:4])
    together = net.predict(x[:, :5], y[:, :5], np.stack([NEW[:4]] * 3))
    assert together.batch_shape == (3, 4)
    np.testing.assert_allclose(together.log_prob(0.1)[1], alone.log_prob(0.1), atol=1e-5)
    rows = jnp.concatenate(
        [(jnp.asarray(x[1]) - net.centre) / net.spread, (jnp.asarray(NEW[:4]) - net.centre) / net.spread]
    )
    outputs = net.head.standardise(jnp.concatenate([jnp.asarray(y[1]), jnp.zeros(4)]))
    padded = eqx.filter_jit(net.network.both)(rows, outputs, jnp.arange(16) < 5)[12:]
    np.testing.assert_allclose(net.head.distribution(padded).log_prob(0.1), alone.log_prob(0.1), atol=1e-5)


def test_an_empty_context_predicts_the_prior(net):
    law = net.predict([], [], [[0.1], [0.8]])
    np.testing.assert_allclose(law.mean, 0.0, atol=0.3)
    np.testing.assert_allclose(law.variance, 1.05, rtol=0.4)


def test_a_context_is_read_once(net, data):
    x, y = data[0][0], data[1][0]
    context = net.encode(x, y)
    np.testing.assert_array_equal(context.predict(NEW).logits, net.predict(x, y, NEW).logits)
    assert context.num_rows == 12


def test_a_file_holds_all_of_it(net, data, tmp_path):
    again = pfn.load(net.save(tmp_path / "net.nc"))
    x, y = data[0][0], data[1][0]
    np.testing.assert_array_equal(again.predict(x, y, NEW).logits, net.predict(x, y, NEW).logits)
    assert again.facts == net.facts
    assert again.p_value(x, y) == net.p_value(x, y)
    assert repr(again) == repr(net)
    assert repr(net).startswith("Net(prior='GP', up to 12 rows of 1 inputs, predicts a number; ")


def test_a_foreign_or_damaged_file_is_refused(net, tmp_path):
    import bayeskit as bk

    other = bk.save(net.training, tmp_path / "training.nc")
    with pytest.raises(StorageError, match=r"holds Training, and not a network of bayeskit\.models\.pfn"):
        pfn.load(other)
    path = net.save(tmp_path / "net.nc")
    path.write_bytes(path.read_bytes()[:-2000])
    with pytest.raises(StorageError):
        pfn.load(path)


def test_strange_data_have_a_small_p_value(net, data):
    x, y = data[0], data[1]
    assert min(net.p_value(x[i], y[i]) for i in range(3)) > 0.01
    assert net.p_value(x[0], y[0] + 30.0) < 0.01
    assert net.p_value(x[0] + 50.0, y[0]) < 0.01
    assert net.p_value([], []) == 1.0
    order = np.random.default_rng(1).permutation(12)
    assert net.p_value(x[0][order], y[0][order]) == net.p_value(x[0], y[0])


@pytest.mark.parametrize("rows", [12, pytest.param(5, marks=pytest.mark.full)])
def test_data_of_the_prior_are_rarely_called_strange(net, rows):
    x, y = map(np.asarray, Prior(PROCESS).draw(jax.random.key(8), 64))
    found = np.array([net.p_value(x[i, :rows], y[i, :rows]) for i in range(64)])
    strange = np.sum(found < 0.1)
    assert strange < 6.4 + 4 * np.sqrt(64 * 0.1 * 0.9)
    assert found.std() > 0.1


@pytest.mark.parametrize(
    ("x", "y", "x_new", "message"),
    [
        ([1.0, 2.0], [1.0], [1.0], "y must have one number for each row of x, shape (2,); got shape (1,)"),
        (
            [[1.0, 2.0]],
            [1.0],
            [1.0],
            "x must have shape (rows, 1): the network was trained for 1 input; got shape (1, 2)",
        ),
        (
            np.ones(13),
            np.ones(13),
            [1.0],
            "the network was trained for up to 12 rows, got 13; take a sample of them, or train on a prior that draws "
            "more",
        ),
        (
            [np.nan],
            [1.0],
            [1.0],
            "x is nan at (0, 0), which is not finite; the network was trained without missing inputs (train with "
            "missing=True on a prior that has them)",
        ),
        ([1.0], [np.inf], [1.0], "y is inf at (0,), which is not finite; leave out rows whose output is unknown"),
        (["a"], [1.0], [1.0], "x must be numbers, got list of object; give categories a number each"),
        ([1.0], [1.0], np.zeros((0, 1)), "x_new has no row"),
        ([1e39], [1.0], [1.0], "x is 1e+39 at (0, 0), beyond the range of float32; use other units"),
        ([1.0], [1.0], [[np.inf]], "x_new is inf at (0, 0), which is not finite"),
    ],
)
def test_bad_data_are_refused_by_name(net, x, y, x_new, message):
    with pytest.raises(DataError) as error:
        net.predict(x, y, x_new)
    assert str(error.value) == message


def test_a_traced_call_is_refused(net):
    with pytest.raises(DataError, match="x is being traced by JAX; networks compile themselves"):
        jax.jit(lambda x: net.predict(x, x, x).mean)(jnp.zeros(3))


def test_quantiles_of_normal_mixtures():
    from bayeskit.models.pfn.normal_mixture import NormalMixture

    law = NormalMixture(jnp.log(jnp.array([0.3, 0.7])), jnp.array([-2.0, 1.0]), jnp.array([0.5, 2.0]))
    q = jnp.array([0.001, 0.2, 0.5, 0.999])
    np.testing.assert_allclose(jax.jit(lambda law: law.cdf(law.icdf(q)))(law), q, atol=1e-5)
    assert law.sample(jax.random.key(0), (3,)).shape == (3,)
