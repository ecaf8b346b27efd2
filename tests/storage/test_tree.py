from __future__ import annotations

import numpy as np
import pytest

from bayeskit.errors import DataError, StorageError
from bayeskit.storage import add_group, make_tree, site_values


def test_groups_dims_coords_and_attributes():
    post = make_tree(
        {
            "posterior": {"mu": np.zeros((2, 5)), "theta": np.ones((2, 5, 3, 2))},
            "sample_stats": {"diverging": np.zeros((2, 5), bool)},
            "observed_data": {"y": np.arange(3.0)},
        },
        dims={"theta": ("school",), "y": ("school",)},
        coords={"school": ["A", "B", "C"]},
        attrs={"method": "NUTS", "num_chains": np.int64(2)},
        site_kinds={"mu": "latent", "theta": "deterministic"},
    )
    assert list(post.children) == ["posterior", "sample_stats", "observed_data"]
    assert post["posterior/theta"].dims == ("chain", "draw", "school", "theta_dim_1")
    assert post["observed_data/y"].dims == ("school",)
    assert list(post["observed_data"].coords["school"].values) == ["A", "B", "C"]
    assert list(post["posterior"].coords["draw"].values) == [0, 1, 2, 3, 4]
    assert post["posterior/mu"].attrs == {"site_kind": "latent"}
    assert post["posterior/theta"].attrs == {"site_kind": "deterministic"}
    assert post.attrs == {"method": "NUTS", "num_chains": 2}
    assert type(post.attrs["num_chains"]) is int


@pytest.mark.parametrize("name", ["scope/x", "a.b", "chain", "draw", ".hidden", "/", "θ"])
def test_any_site_name_is_kept(name):
    draws = np.arange(6.0).reshape(2, 3)
    other = draws + 1
    post = make_tree({"posterior": {name: draws, "scope.x": other}})
    found = site_values(post)
    assert list(found) == [name, "scope.x"]
    np.testing.assert_array_equal(found[name], draws)
    np.testing.assert_array_equal(found["scope.x"], other)


def test_variable_with_the_name_of_a_dimension_is_no_label():
    post = make_tree(
        {"constant_data": {"county": np.array([0, 1, 0]), "u": np.array([0.5, 0.7])}}, dims={"u": ("county",)}
    )
    assert set(post["constant_data"].data_vars) == {"county", "u"}
    np.testing.assert_array_equal(post["constant_data/county"], [0, 1, 0])


def test_dimension_used_for_two_sizes_falls_back_to_the_default_name():
    post = make_tree({"observed_data": {"a": np.ones(3), "b": np.ones(4)}}, dims={"a": ("obs",), "b": ("obs",)})
    assert post["observed_data/a"].dims == ("obs",)
    assert post["observed_data/b"].dims == ("b_dim_0",)


def test_add_group_leaves_the_old_tree():
    post = make_tree({"posterior": {"mu": np.zeros((2, 5))}}, attrs={"method": "NUTS"})
    more = add_group(post, "posterior_predictive", {"y": np.ones((2, 5, 3))}, {"y": ("obs",)}, {"obs": [5, 6, 7]})
    assert list(post.children) == ["posterior"]
    assert list(more.children) == ["posterior", "posterior_predictive"]
    assert more.attrs == post.attrs
    assert list(more["posterior_predictive"].coords["obs"].values) == [5, 6, 7]
    assert add_group(more, "posterior_predictive", {"y": np.ones((2, 5))})["posterior_predictive/y"].ndim == 2


@pytest.mark.parametrize(
    ("arguments", "error", "match"),
    [
        ({"groups": {"postrior": {}}}, StorageError, "postrior"),
        ({"groups": {"posterior": {"mu": np.zeros(3)}}}, StorageError, r"'mu' has shape \(3,\)"),
        ({"groups": {"posterior": {"a": np.zeros((2, 3)), "b": np.zeros((2, 4))}}}, StorageError, "'b'"),
        ({"groups": {"observed_data": {"y": np.array([None])}}}, StorageError, "'y' has dtype object"),
        ({"groups": {}, "attrs": {"versions": {"jax": "1"}}}, StorageError, "'versions'"),
        ({"groups": {}, "attrs": {"seed": None}}, StorageError, "'seed'"),
        (
            {"groups": {"observed_data": {"y": np.ones(3)}}, "dims": {"y": ("i",)}, "coords": {"i": [1, 2]}},
            DataError,
            r"'i' has shape \(2,\)",
        ),
        ({"groups": {"observed_data": {"y": np.ones(3)}}, "dims": {"y": ("i", "j")}}, DataError, "'y' has 1"),
        (
            {"groups": {"observed_data": {"y": np.ones(1)}}, "dims": {"y": ("i",)}, "coords": {"i": [None]}},
            DataError,
            "'i' has dtype object",
        ),
    ],
)
def test_what_a_tree_cannot_hold_is_named(arguments, error, match):
    with pytest.raises(error, match=match):
        make_tree(**arguments)


def test_missing_group_is_named():
    with pytest.raises(StorageError, match="no group 'posterior'; it has observed_data"):
        site_values(make_tree({"observed_data": {"y": np.ones(3)}}))
