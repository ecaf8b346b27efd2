"""What may be an argument of a model: containers, tables, Python values, and NaN that a mask takes out."""

from __future__ import annotations

import dataclasses
from argparse import Namespace
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pandas as pd
import pytest
from numpyro import handlers
from numpyro.infer.reparam import LocScaleReparam
from scipy import stats

import bayeskit as bk
from bayeskit.errors import DataError, ModelError

X, Y = np.array([0.5, -1.0, 2.0, 0.3]), np.array([1.2, -0.4, 0.9, 3.1])
GROUP = np.array([0, 2, 1, 2])
METHOD = bk.HMC(num_chains=1, num_warmup=20, num_draws=20)  # the quickest to compile


class Pair(NamedTuple):
    x: np.ndarray
    y: np.ndarray


@dataclasses.dataclass(frozen=True)
class Record:
    x: np.ndarray
    y: np.ndarray
    label: str = "a"


def by_name(d):
    slope = numpyro.sample("slope", dist.Normal(0.0, 1.0))
    numpyro.sample("y", dist.Normal(slope * d["x"], 1.0), obs=d["y"])


def by_attribute(d):
    slope = numpyro.sample("slope", dist.Normal(0.0, 1.0))
    numpyro.sample("y", dist.Normal(slope * d.x, 1.0), obs=d.y)


def by_place(d):
    slope = numpyro.sample("slope", dist.Normal(0.0, 1.0))
    numpyro.sample("y", dist.Normal(slope * d[0], 1.0), obs=d[1])


CONTAINERS = {
    "mapping": (by_name, {"x": X, "y": list(Y)}),
    "table": (by_name, pd.DataFrame({"x": X, "y": Y})),
    "table by attribute": (by_attribute, pd.DataFrame({"x": X, "y": Y})),
    "namespace": (by_attribute, Namespace(x=X, y=Y)),
    "named tuple": (by_attribute, Pair(X, Y)),
    "dataclass": (by_attribute, Record(X, Y)),
    "tuple": (by_place, (X, Y)),
    "nested": (lambda d: by_attribute(d["inner"][0]), {"inner": [Record(X, Y)]}),
}


@pytest.mark.smoke
@pytest.mark.parametrize("name", CONTAINERS)
def test_containers_are_arguments(name):
    model, value = CONTAINERS[name]
    program = bk.bind(model, {"d": value})
    target = bk.Target(program)
    expected = stats.norm.logpdf(0.3) + stats.norm.logpdf(Y, 0.3 * X).sum()
    density = jax.jit(lambda target, z: target.log_density(z))(target, {"slope": jnp.array(0.3)})
    np.testing.assert_allclose(density, expected, rtol=1e-12)
    assert {array.shape for array in jax.tree.leaves(program.arrays)} == {(4,)}


def test_a_container_is_recorded_and_predicted_from():
    post = bk.infer(by_attribute, {"d": Record(X, Y)}, METHOD, key=0, progress=False)
    assert set(post["constant_data"].data_vars) == {"d.x", "d.y", "d.label"}
    same = bk.predict(by_attribute, {"d": Record(X, Y)}, post, key=1)
    other = bk.predict(by_attribute, {"d": Record(X + 1, Y)}, post, key=1)
    assert ("posterior_predictive" in same.children, "predictions" in other.children) == (True, True)


def test_a_table_as_an_argument_has_rows_and_columns():
    table = bk.bind(lambda d: d, {"d": pd.DataFrame({"x": X, "g": GROUP})})()
    assert (len(table), table.shape, table.columns, table["g"].dtype) == (4, (4, 2), ["x", "g"], np.int64)
    np.testing.assert_allclose(table @ np.array([1.0, 2.0]), X + 2 * GROUP, rtol=1e-15)
    with pytest.raises(AttributeError, match="no column 'z'; it has x, g"):
        _ = table.z


def test_tuples():
    """Of whole numbers a shape, of other numbers an array, of arrays a container."""
    program = bk.bind(lambda a, b, c: (a, b, c), {"a": (2, 3), "b": (1.0, 2), "c": (3, X)})
    a, b, c = program()
    assert (a, b.shape, c[0], c[1].shape) == ((2, 3), (2,), 3, (4,))


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({"x": [1.0, np.nan]}, r"data 'd'\['x'\] holds 1 NaN, the first at \[1\], which the model does not mask"),
        ({"x": {"z": ["a", "b"]}}, r"data 'd'\['x'\]\['z'\] holds strings; encode them"),
        (Record(X, np.array([2**70], object)), r"data 'd'\.y of dtype object is not an array of numbers"),
    ],
)
def test_the_place_in_a_container_is_named(value, message):
    with pytest.raises(DataError, match=message):
        bk.bind(lambda d: None, {"d": value})


# ---- Python values -------------------------------------------------------------------------------------------------


def groups(group, y):
    with numpyro.plate("group", int(group.max()) + 1):
        mean = numpyro.sample("mean", dist.Normal(0.0, 1.0))
    numpyro.sample("y", dist.Normal(mean[group], 1.0), obs=y)


def distinct(group, y):
    with numpyro.plate("group", len(np.unique(group))):
        mean = numpyro.sample("mean", dist.Normal(0.0, 1.0))
    numpyro.sample("y", dist.Normal(mean[group], 1.0), obs=y)


def in_container(d):
    groups(d["group"], d["y"])


def positive(y):
    mean = numpyro.sample("mean", dist.Normal(0.0, 1.0))
    numpyro.sample("positive", dist.Normal(mean, 1.0), obs=y[y > 0])


def condition(y, scale):
    mean = numpyro.sample("mean", dist.Normal(0.0, 1.0 if scale > 1 else 3.0))
    numpyro.sample("y", dist.Normal(mean, scale), obs=y)


def shape(y, size):
    mean = numpyro.sample("mean", dist.Normal(0.0, 1.0).expand(size).to_event(len(size)))
    numpyro.sample("y", dist.Normal(mean.sum(), 1.0), obs=y)


MEANS = np.array([0.1, 0.2, -0.3])
OF_GROUPS = stats.norm.logpdf(MEANS).sum() + stats.norm.logpdf(Y, MEANS[GROUP]).sum()
PYTHON = {
    "a size": (groups, {"group": GROUP, "y": Y}, MEANS, OF_GROUPS, ["group"]),
    "distinct values": (distinct, {"group": GROUP, "y": Y}, MEANS, OF_GROUPS, ["group"]),
    "in a container": (in_container, {"d": {"group": GROUP, "y": Y}}, MEANS, OF_GROUPS, ["d"]),
    "a selection": (
        positive,
        {"y": Y},
        0.3,
        stats.norm.logpdf(0.3) + stats.norm.logpdf(Y[Y > 0], 0.3).sum(),
        ["y"],
    ),
    "a condition": (
        condition,
        {"y": Y, "scale": 2.5},
        0.3,
        stats.norm.logpdf(0.3) + stats.norm.logpdf(Y, 0.3, 2.5).sum(),
        ["scale"],
    ),
    "a shape": (
        shape,
        {"y": Y, "size": (2, 1)},
        np.array([[0.1], [0.4]]),
        stats.norm.logpdf([0.1, 0.4]).sum() + stats.norm.logpdf(Y, 0.5).sum(),
        [],
    ),
}


@pytest.mark.smoke
@pytest.mark.parametrize("name", PYTHON)
def test_what_is_read_as_a_python_value_is_constant(name):
    model, data, mean, expected, constant = PYTHON[name]
    if constant:
        with pytest.warns(UserWarning, match=f"reads '{constant[0]}' as a Python value"):
            target = bk.Target(bk.bind(model, data))
    else:
        target = bk.Target(bk.bind(model, data))
    assert set(target.program.arrays) == {n for n in data if n not in [*constant, "size"]}
    density = jax.jit(lambda target, z: target.log_density(z))(target, {"mean": jnp.asarray(mean)})
    np.testing.assert_allclose(density, expected, rtol=1e-12)


@pytest.mark.filterwarnings("ignore:.*as a Python value")
def test_constants_are_compared_by_content():
    first, same, other = (
        bk.Target(bk.bind(groups, {"group": group, "y": Y})) for group in (GROUP, GROUP.copy(), GROUP[::-1])
    )
    structure = jax.tree.structure
    assert structure(first) == structure(same)
    assert hash(structure(first)) == hash(structure(same))
    assert structure(first) != structure(other)


@pytest.mark.filterwarnings("ignore:.*as a Python value")
def test_a_run_with_constants_is_recorded_and_predicted_from():
    post = bk.infer(groups, {"group": GROUP, "y": Y}, METHOD, key=0, progress=False)
    np.testing.assert_array_equal(post["constant_data/group"], GROUP)
    assert "posterior_predictive" in bk.predict(groups, {"group": GROUP, "y": Y}, post, key=1).children
    assert "predictions" in bk.predict(groups, {"group": GROUP[::-1], "y": None}, post, key=1).children


def test_jax_numpy_and_latent_values_give_no_python_value():
    def of_data(y):
        mean = numpyro.sample("mean", dist.Normal(0.0, float(jnp.max(y))))
        numpyro.sample("y", dist.Normal(mean, 1.0), obs=y)

    def of_latent(y):
        mean = numpyro.sample("mean", dist.Normal(0.0, 1.0))
        numpyro.sample("y", dist.Normal(mean if mean > 0 else -mean, 1.0), obs=y)

    advice = "of data, ask NumPy for it .*; on latent values use jnp.where"
    with pytest.raises(ModelError, match=f"model 'of_data' failed before its first site: .*{advice}"):
        bk.Target(bk.bind(of_data, {"y": Y}))
    with pytest.raises(ModelError, match=f"model 'of_latent' failed after site 'mean': .*{advice}"):
        bk.Target(bk.bind(of_latent, {"y": Y}))


@pytest.mark.filterwarnings("ignore:.*as a Python value")
def test_an_index_out_of_range_among_constants():
    def model(group, y):
        with numpyro.plate("group", int(group.max())):
            mean = numpyro.sample("mean", dist.Normal(0.0, 1.0))
        numpyro.sample("y", dist.Normal(mean[group], 1.0), obs=y)

    with pytest.raises(ModelError, match=r"the index 2 \(which 'group' holds\), where an axis has 2 elements"):
        bk.infer(model, {"group": GROUP, "y": Y}, METHOD, key=0, progress=False)


# ---- masks ---------------------------------------------------------------------------------------------------------

PADDED = np.array([[1.2, np.nan, 0.3], [np.nan, -0.4, 0.9]])
MASK = ~np.isnan(PADDED)


def by_handler(y, mask):
    mean = numpyro.sample("mean", dist.Normal(0.0, 1.0))
    with handlers.mask(mask=mask):
        numpyro.sample("y", dist.Normal(mean, 1.0), obs=y)


def by_distribution(y, mask):
    mean = numpyro.sample("mean", dist.Normal(0.0, 1.0))
    with numpyro.plate("row", 2):
        numpyro.sample("y", dist.Normal(mean, 1.0).expand([3]).mask(mask).to_event(1), obs=y)


@pytest.mark.parametrize("model", [by_handler, by_distribution])
def test_nan_that_a_mask_takes_out(model):
    data = {"y": PADDED, "mask": MASK}
    target = bk.Target(bk.bind(model, data))
    density, slope = jax.value_and_grad(target.log_density)({"mean": jnp.array(0.3)})
    kept = PADDED[MASK]
    np.testing.assert_allclose(density, stats.norm.logpdf(0.3) + stats.norm.logpdf(kept, 0.3).sum(), rtol=1e-12)
    np.testing.assert_allclose(slope["mean"], -0.3 + (kept - 0.3).sum(), rtol=1e-12)
    post = bk.infer(model, data, METHOD, key=0, progress=False)
    np.testing.assert_array_equal(post["observed_data/y"], PADDED)
    assert list(post["constant_data"].data_vars) == ["mask"]


def test_nan_that_no_mask_takes_out():
    def covariate(x, y, mask):
        slope = numpyro.sample("slope", dist.Normal(0.0, 1.0))
        with handlers.mask(mask=mask):
            numpyro.sample("y", dist.Normal(slope * x.sum(), 1.0), obs=y)

    message = r"data 'x' holds 2 NaN, the first at \[0, 1\], which the model does not mask; drop those rows, mask them"
    with pytest.raises(DataError, match=message):
        bk.bind(covariate, {"x": PADDED, "y": PADDED, "mask": MASK})
    wrong = MASK.copy()
    wrong[0, 1] = True
    with pytest.raises(DataError, match="data 'y' holds 2 NaN"):
        bk.bind(by_handler, {"y": PADDED, "mask": wrong})


def test_obs_mask_of_events():
    def model(y, mask):
        mean = numpyro.sample("mean", dist.Normal(0.0, 1.0).expand([3]).to_event(1))
        with numpyro.plate("row", 2):
            numpyro.sample("y", dist.MultivariateNormal(mean, jnp.eye(3)), obs=y, obs_mask=mask)

    message = r"Site 'y' has obs_mask of shape \(2, 3\), and events of shape \(3,\): an entry of the mask is for a"
    with pytest.raises(ModelError, match=message):
        bk.Target(bk.bind(model, {"y": np.nan_to_num(PADDED), "mask": MASK}))


# ---- keys ----------------------------------------------------------------------------------------------------------


def plain(y):
    mean = numpyro.sample("mean", dist.Normal(0.0, 1.0))
    numpyro.sample("y", dist.Normal(mean, 1.0), obs=y)


def test_a_seed_around_the_model_is_taken_off():
    config = {"mean": LocScaleReparam(0.0)}
    seeded = handlers.reparam(handlers.seed(plain, 0), config=config)
    direct = handlers.reparam(plain, config=config)
    posts = [bk.infer(model, {"y": Y}, METHOD, key=3, progress=False) for model in (seeded, direct)]
    np.testing.assert_array_equal(posts[0]["posterior/mean"], posts[1]["posterior/mean"])


def test_a_seed_inside_the_model_is_refused():
    def model(y):
        with handlers.seed(rng_seed=0):
            plain(y)

    with pytest.raises(ModelError, match=r"site 'mean' is given a key by the model \(rng_key=, or handlers.seed"):
        bk.Target(bk.bind(model, {"y": Y}))


def test_what_enumeration_breaks_is_named():
    def model(y):
        with numpyro.plate("row", 4):
            kind = numpyro.sample("kind", dist.Categorical(jnp.ones(3) / 3), infer={"enumerate": "parallel"})
            mean = numpyro.sample("mean", dist.Normal(0.0, 1.0))
            numpyro.sample("y", dist.Normal(mean + jnp.arange(3.0)[kind].reshape(4), 1.0), obs=y)

    message = "model 'model' failed after site 'mean': TypeError: .*Discrete sites are summed out: .*no reshape"
    with pytest.raises(ModelError, match=message):
        bk.Target(bk.bind(model, {"y": Y}))


# ---- what others tried ----------------------------------------------------------------------------------------------


def test_a_mapping_keeps_its_order():
    """JAX sorts the keys of dictionaries."""

    def model(d, y):
        mean = numpyro.sample("mean", dist.Normal(0.0, 1.0))
        first, second = d.values()
        numpyro.sample("y", dist.Normal(mean + first - 2 * second, 1.0), obs=y)

    data = {"d": {"b": 1.0, "a": 5.0}, "y": Y}
    expected = stats.norm.logpdf(0.3) + stats.norm.logpdf(Y, 0.3 + 1.0 - 10.0).sum()
    target = bk.Target(bk.bind(model, data))
    np.testing.assert_allclose(target.log_density({"mean": jnp.array(0.3)}), expected, rtol=1e-12)
    assert list(bk.bind(lambda d: d, {"d": {2: 1.0, "y": Y, 1: 3}})()) == [2, "y", 1]


def test_attributes_that_a_dataclass_makes_itself():
    @dataclasses.dataclass
    class Counted:
        y: np.ndarray

        def __post_init__(self):
            self.count = len(self.y)

    assert bk.bind(lambda d: d.count, {"d": Counted(Y)})() == 4


def test_a_column_of_strings_may_be_left_alone():
    table = bk.bind(lambda d: d, {"d": pd.DataFrame({"x": X, "name": list("abcd"), 0: Y})})()
    assert table["name"].tolist() == list("abcd")
    np.testing.assert_array_equal(table[["x", 0]].values, np.stack([X, Y], axis=1))


def test_nan_that_counts_at_few_points():
    def model(x, y):
        mean = numpyro.sample("mean", dist.Normal(0.0, 1.0))
        numpyro.sample("y", dist.Normal(jnp.where(mean > 1.0, x.sum(), 0.0), 1.0), obs=y)

    with pytest.raises(DataError, match="data 'x' holds 1 NaN, the first at \\[1\\], which the model does not mask"):
        bk.bind(model, {"x": np.array([1.0, np.nan]), "y": Y})


@pytest.mark.filterwarnings("ignore:.*as a Python value")
def test_the_fault_behind_a_python_value_is_named():
    post = bk.infer(groups, {"group": GROUP, "y": Y}, METHOD, key=0, progress=False)
    with pytest.raises(ModelError, match=r"site 'mean' has shape \(2,\) under these data, but \(3,\) in the fit"):
        bk.predict(groups, {"group": np.array([0, 1, 1, 0]), "y": Y}, post, key=1)


@pytest.mark.filterwarnings("ignore:.*as a Python value")
def test_traced_arguments_stay_traced():
    def model(group, y):
        with numpyro.plate("group", int(group.max()) + 1):
            mean = numpyro.sample("mean", dist.Normal(0.0, 1.0))
        numpyro.sample("y", dist.Normal(mean[group], 1.0), obs=y)

    def density(y):
        return bk.Target(bk.bind(model, {"group": GROUP, "y": y})).log_density({"mean": jnp.asarray(MEANS)})

    np.testing.assert_allclose(jax.grad(density)(jnp.asarray(Y)), MEANS[GROUP] - Y, rtol=1e-12)
