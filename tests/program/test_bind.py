from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest
import xarray as xr

import bayeskit as bk


def model(x, n=3, flag=False, y=None):
    return x, n, flag, y


@pytest.mark.parametrize(
    "value",
    [
        [1.0, 2.0],
        (1.0, 2.0),
        np.array([1.0, 2.0]),
        jnp.array([1.0, 2.0]),
        pd.Series([1.0, 2.0]),
        xr.DataArray([1.0, 2.0]),
    ],
    ids=lambda value: type(value).__name__,
)
def test_arrays(value):
    program = bk.bind(model, {"x": value})
    assert isinstance(program.arrays["x"], jax.Array)
    np.testing.assert_array_equal(program.arrays["x"], [1.0, 2.0])
    assert program.arrays["x"].dtype == jnp.float64


def test_sizes_and_switches_are_static_and_floats_are_not():
    program = bk.bind(model, {"x": 1.5, "n": np.int64(4), "flag": np.bool_(True), "y": None})
    assert dict(program.settings) == {"n": 4, "flag": True, "y": None}
    assert type(dict(program.settings)["n"]) is int
    assert program.arrays["x"].shape == ()
    assert program() == (program.arrays["x"], 4, True, None)
    assert set(program.data) == {"x", "n", "flag", "y"}


def test_compile_keys():
    structure = jax.tree.structure
    first, same = bk.bind(model, {"x": [1.0, 2.0]}), bk.bind(model, {"x": [3.0, 4.0]})
    other = bk.bind(model, {"x": [1.0, 2.0], "n": 5})
    assert structure(first) == structure(same)
    assert structure(first) != structure(other)
    assert hash(structure(first)) == hash(structure(same))


def test_types_of_numbers():
    program = bk.bind(model, {"x": np.array([True, False]), "y": np.array([1, 2], np.int8)})
    assert program.arrays["x"].dtype == bool
    assert program.arrays["y"].dtype == np.int8
    with jax.enable_x64(False):
        assert bk.bind(model, {"x": np.array([1.5])}).arrays["x"].dtype == jnp.float32


def test_masked_array_without_a_masked_value_is_an_array():
    program = bk.bind(model, {"x": np.ma.masked_array([1.0, 2.0], [False, False])})
    np.testing.assert_array_equal(program.arrays["x"], [1.0, 2.0])


def test_a_program_stays_itself():
    program = bk.bind(model, {"x": [1.0]})
    assert bk.bind(program) is program
    assert program.name == "model"
