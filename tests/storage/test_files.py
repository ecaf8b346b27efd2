from __future__ import annotations

import os
import warnings

import numpy as np
import pytest
import xarray as xr

from bayeskit.errors import StorageError
from bayeskit.storage import files, load, make_tree, save

FORMATS = ["post.zarr", "post.nc", "post"]


def example(seed: int = 0) -> xr.DataTree:
    rng = np.random.default_rng(seed)
    return make_tree(
        {
            "sample_stats": {"diverging": rng.random((2, 5)) < 0.5, "tree_depth": rng.integers(1, 9, (2, 5))},
            "posterior": {
                "tau": rng.normal(size=(2, 5)),
                "scope/x": rng.normal(size=(2, 5, 3)).astype(np.float32),
                "counts": rng.integers(0, 9, (2, 5, 2)).astype(np.int32),
                "holes": np.array([np.nan, np.inf, -np.inf, 0.0, -0.0] * 2).reshape(2, 5),
                "none": np.zeros((2, 5, 0)),
                "same": np.zeros((2, 5)),
            },
            "observed_data": {"y": np.array([1.5, 2.5, 3.5]), "n": np.array(3), "name": np.array(["a", "é", ""])},
            "constant_data": {"flag": np.array(True), "small": np.array([255], np.uint8)},
        },
        dims={"scope/x": ("school",)},
        coords={"school": ["Choate", "Deerfield", "Éxeter"]},
        attrs={"method": "NUTS", "empty": "", "num_chains": 2, "wall_time": 0.25, "model": "é"},
        site_kinds={"tau": "latent"},
    )


@pytest.mark.parametrize("name", FORMATS)
def test_round_trip_is_lossless_and_silent(tmp_path, name):
    post = example()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        again = load(save(post, tmp_path / name))
    assert again.identical(post)
    assert list(again.children) == list(post.children)
    assert {key: type(value) for key, value in again.attrs.items()} == {k: type(v) for k, v in post.attrs.items()}
    for node in post.subtree:
        before, after = node.to_dataset(), again[node.path].to_dataset()
        assert list(after.data_vars) == list(before.data_vars)
        for key, variable in before.variables.items():
            assert after[key].dtype == variable.dtype
            assert after[key].values.tobytes() == variable.values.tobytes()
    assert [file.name for file in tmp_path.iterdir()] == [name]


@pytest.mark.parametrize("name", FORMATS)
def test_other_readers_see_it_without_warnings(tmp_path, name):
    path = save(example(), tmp_path / name)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with xr.open_datatree(path, engine="h5netcdf" if path.suffix == ".nc" else "zarr") as opened:
            assert set(opened.children) == set(example().children)


def test_a_tree_of_arviz_can_be_loaded(tmp_path):
    from arviz_base import from_dict

    tree = from_dict({"posterior": {"mu": np.zeros((2, 5))}})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        tree.to_zarr(tmp_path / "a.zarr")
    np.testing.assert_array_equal(load(tmp_path / "a.zarr")["posterior/mu"], np.zeros((2, 5)))


@pytest.mark.parametrize("name", FORMATS)
def test_an_older_result_is_replaced(tmp_path, name):
    save(example(0), tmp_path / name)
    save(example(1), tmp_path / name)
    assert load(tmp_path / name).identical(example(1))
    assert [file.name for file in tmp_path.iterdir()] == [name]


@pytest.mark.parametrize("name", FORMATS)
def test_a_failed_write_leaves_the_older_result(tmp_path, name, monkeypatch):
    save(example(0), tmp_path / name)

    def broken(*args, **kwargs):
        raise RuntimeError("disk on fire")

    monkeypatch.setattr(xr.DataTree, "to_zarr", broken)
    monkeypatch.setattr(xr.DataTree, "to_netcdf", broken)
    with pytest.raises(StorageError, match=f"{name}.*disk on fire"):
        save(example(1), tmp_path / name)
    monkeypatch.undo()
    assert load(tmp_path / name).identical(example(0))
    assert [file.name for file in tmp_path.iterdir()] == [name]


@pytest.mark.parametrize("name", FORMATS)
def test_a_failed_first_write_leaves_nothing(tmp_path, name):
    post = xr.DataTree.from_dict({"/posterior": xr.Dataset({"x": ("d", np.array([object()]))})})
    with pytest.raises(StorageError, match=name):
        save(post, tmp_path / name)
    assert list(tmp_path.iterdir()) == []


def test_what_is_in_the_way_is_not_removed(tmp_path):
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "thesis.txt").write_text("years of work")
    (tmp_path / "folder.nc").mkdir()
    (tmp_path / "file.zarr").write_text("text")
    for name, match in [("notes", "not a zarr store"), ("folder.nc", "a folder"), ("file.zarr", "it is a file")]:
        with pytest.raises(StorageError, match=match):
            save(example(), tmp_path / name)
    assert (tmp_path / "notes" / "thesis.txt").read_text() == "years of work"
    assert (tmp_path / "file.zarr").read_text() == "text"
    for name, match in [("a.csv", "suffix"), ("nowhere/a.zarr", "no folder")]:
        with pytest.raises(StorageError, match=match):
            save(example(), tmp_path / name)


def test_missing_and_foreign_files(tmp_path):
    (tmp_path / "text.nc").write_text("hello")
    (tmp_path / "empty.nc").touch()
    (tmp_path / "folder").mkdir()
    for name, match in [
        ("none.zarr", "no result at"),
        ("text.nc", "neither"),
        ("empty.nc", "neither"),
        ("folder", "not a zarr"),
    ]:
        with pytest.raises(StorageError, match=match) as caught:
            load(tmp_path / name)
        assert name in str(caught.value)
    xr.Dataset({"x": ("i", [1, 2])}).to_netcdf(tmp_path / "flat.nc", engine="h5netcdf")
    with pytest.raises(StorageError, match=r"flat\.nc is not a result"):
        load(tmp_path / "flat.nc")


def chunk_of(path):
    return next(file for file in sorted((path / "posterior" / "tau").iterdir()) if file.name[0].isdigit())


def test_damaged_zarr(tmp_path):
    def damaged(change, match):
        path = save(example(), tmp_path / "post.zarr")
        change(path)
        with pytest.raises(StorageError, match=match):
            load(path)

    damaged(lambda path: chunk_of(path).unlink(), "incomplete: posterior/tau/0.0 is missing")
    damaged(lambda path: chunk_of(path).write_bytes(chunk_of(path).read_bytes()[:-7]), "damaged: posterior/tau/0.0")
    damaged(lambda path: chunk_of(path).write_bytes(b"x" * chunk_of(path).stat().st_size), "damaged: posterior/tau")
    damaged(lambda path: (path / ".zmetadata").write_text("{"), "damaged: .zmetadata")
    damaged(lambda path: (path / files.MANIFEST).write_text("{"), "manifest")


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_truncated_netcdf(tmp_path, share):
    path = save(example(), tmp_path / "post.nc")
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    with pytest.raises(StorageError, match=r"post\.nc"):
        load(path)


def test_changed_netcdf(tmp_path):
    post = example()
    path = save(post, tmp_path / "post.nc")
    content = bytearray(path.read_bytes())
    at = content.index(post["posterior/tau"].values.tobytes())
    content[at] ^= 255
    path.write_bytes(bytes(content))
    with pytest.raises(StorageError, match=r"post\.nc"):
        load(path)


def test_a_pipe_is_not_replaced(tmp_path):
    os.mkfifo(tmp_path / "post.nc")
    with pytest.raises(StorageError, match="it is a device or a pipe, and a file would take its place"):
        save(example(), tmp_path / "post.nc")
    assert (tmp_path / "post.nc").is_fifo()
