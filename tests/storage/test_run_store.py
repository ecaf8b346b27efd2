from __future__ import annotations

import errno
import json
import os
import resource
import signal

import numpy as np
import pytest
import xarray as xr

from bayeskit.errors import StorageError
from bayeskit.storage import RunStore, chunks, load, make_tree, save
from bayeskit.storage.chunks import STATE

LENGTH = 3  # draws in a chunk


@pytest.fixture(autouse=True)
def short_chunks(monkeypatch):
    monkeypatch.setattr(chunks, "MOST_DRAWS", LENGTH)


def part(seed, length=4):
    rng = np.random.default_rng(seed)
    values = {
        "mu": rng.normal(size=(2, length)),
        "scope/k": rng.integers(0, 9, (2, length, 3)).astype(np.int32),
        ".none": np.zeros((2, length, 0)),
    }
    stats = {"diverging": rng.random((2, length)) < 0.5}
    return {"posterior": values, "sample_stats": stats}


def joined(*parts):
    return {
        group: {name: np.concatenate([p[group][name] for p in parts], axis=1) for name in arrays}
        for group, arrays in parts[0].items()
    }


def content(store):
    return {group: {name: np.asarray(array) for name, array in store.group(group).items()} for group in store.groups}


def same(found, expected):
    assert list(found) == list(expected)
    for group, arrays in expected.items():
        assert list(found[group]) == list(arrays)
        for name, array in arrays.items():
            assert found[group][name].dtype == array.dtype
            np.testing.assert_array_equal(found[group][name], array)


STATES = [np.arange(3.0), np.array(7, np.uint32), np.zeros((0, 2), bool)]
WHOLE = joined(part(0), part(1, length=2), part(2, length=7))


@pytest.fixture
def store(tmp_path):
    store = RunStore.create(tmp_path / "run.zarr", {"method": "NUTS", "key": [0, 1]}, {"mu": np.ones(2)})
    store.append(part(0))
    store.append(part(1, length=2))
    store.append(part(2, length=7))
    store.checkpoint(STATES, steps_done=13)
    return store


def test_a_run_is_read_back(store, tmp_path):
    again = RunStore.open(tmp_path / "run.zarr")
    assert again.record == {"method": "NUTS", "key": [0, 1]}
    assert again.num_draws == 13
    assert list(again.start()) == ["mu"]
    same(content(again), WHOLE)
    leaves, steps_done, is_warm = again.read_checkpoint()
    assert (steps_done, is_warm) == (13, True)
    same({"": dict(enumerate(leaves))}, {"": dict(enumerate(STATES))})
    store.checkpoint([], 0, is_warm=False)
    assert not RunStore.open(tmp_path / "run.zarr").read_checkpoint().is_warm


def test_a_chunk_is_written_once(store):
    def chunk_files():
        return {file: file.stat().st_ino for file in store.folder.rglob("0.*")}

    before = chunk_files()
    assert len(before) == 3 * 4  # arrays without elements have none
    store.append(part(3, length=5))
    store.checkpoint([], 18)
    after = chunk_files()
    assert len(after) == 3 * 6
    assert {file: after[file] for file in before} == before


def test_a_crash_between_chunk_and_checkpoint_forgets_the_chunk(store, tmp_path):
    store.append(part(3))
    assert store.num_draws == 17
    again = RunStore.open(tmp_path / "run.zarr")
    same(content(again), WHOLE)
    again.append(part(4))
    again.checkpoint([], steps_done=17)
    same(content(RunStore.open(tmp_path / "run.zarr")), joined(WHOLE, part(4)))


def test_a_crash_before_the_first_checkpoint(tmp_path):
    RunStore.create(tmp_path / "run.nc", {}).append(part(0))
    again = RunStore.open(tmp_path / "run.nc")
    assert again.read_checkpoint() is None
    assert again.groups == []


INDICES = [
    (0, 5),
    (slice(None), slice(2, 12, 4)),
    (1, slice(None, None, -1)),
    (slice(0, 1), [1, 5, 12]),
    (slice(None), -1),
    ([0, 1], slice(5, 5)),
    (slice(None), slice(11, None)),
]


@pytest.mark.parametrize("finished", [False, True])
@pytest.mark.parametrize("index", INDICES, ids=str)
def test_draws_are_read_as_they_are_indexed(store, index, finished):
    tree = make_tree({group: store.group(group) for group in store.groups})
    if finished:
        tree = load(store.finish(tree))
    for name, array in WHOLE["posterior"].items():
        variable = tree["posterior"][{".none": "none"}.get(name, name.replace("/", "."))]
        np.testing.assert_array_equal(variable[index].values, array[index])
    np.testing.assert_array_equal(tree["posterior/scope.k"][:, :, 1].values, WHOLE["posterior"]["scope/k"][:, :, 1])


def finished(store):
    return store.finish(make_tree({g: store.group(g) for g in store.groups}, dims={"scope/k": ["part"]}))


def test_finish_takes_over_the_files_and_removes_the_folder(store, tmp_path):
    files = {file.relative_to(store.folder): file.stat().st_ino for file in (store.folder / "posterior/mu").iterdir()}
    path = finished(store)
    assert {name: (path / name).stat().st_ino for name in files} == files
    assert [file.name for file in tmp_path.iterdir()] == ["run.zarr"]
    tree = make_tree(WHOLE, dims={"scope/k": ["part"]})
    assert load(path).identical(tree)
    plain = xr.open_datatree(path, engine="zarr").load()  # which knows nothing of bayeskit
    for group in WHOLE:
        assert plain[group].to_dataset().identical(tree[group].to_dataset())


def test_a_result_is_a_netcdf_file_where_the_suffix_says_so(tmp_path):
    store = RunStore.create(tmp_path / "run.nc", {})
    store.append(part(0))
    assert load(finished(store)).identical(make_tree(part(0), dims={"scope/k": ["part"]}))
    with pytest.raises(StorageError, match="there is nothing to go on with"):
        RunStore.reopen(tmp_path / "run.nc", {})


def test_a_result_is_reopened(store, tmp_path):
    path = finished(store)
    before = load(path)
    again = RunStore.reopen(path, {"more": 1})
    assert (again.record, again.num_draws, again.read_checkpoint().steps_done) == ({"more": 1}, 13, 13)
    same(content(again), WHOLE)
    assert load(path).identical(before)
    again.append(part(5))
    finished(again)
    assert load(path)["posterior/mu"].shape == (2, 17)
    np.testing.assert_array_equal(before["posterior/mu"].values, WHOLE["posterior"]["mu"])  # its files are still there


def test_saving_takes_over_files_and_keeps_the_state_in_its_place(store, tmp_path):
    post = load(finished(store))
    copy = save(post, tmp_path / "copy.zarr")
    assert load(copy).identical(post)
    assert (copy / "posterior/mu/0.0").samefile(tmp_path / "run.zarr/posterior/mu/0.0")
    assert not (copy / STATE).exists()
    save(post, tmp_path / "run.zarr")
    assert load(tmp_path / "run.zarr").identical(post)
    assert RunStore.reopen(tmp_path / "run.zarr", {}).num_draws == 13
    save(make_tree(WHOLE), tmp_path / "run.zarr")
    assert not (tmp_path / "run.zarr" / STATE).exists()


def test_a_failed_checkpoint_keeps_the_last_one(store, tmp_path, monkeypatch):
    store.append(part(3))

    def broken(*args, **kwargs):
        raise OSError("no space left")

    monkeypatch.setattr(np.lib.format, "write_array", broken)
    with pytest.raises(StorageError, match=r"checkpoint\.npz.*no space left"):
        store.checkpoint([np.ones(2)], steps_done=17)
    monkeypatch.undo()
    monkeypatch.setattr(chunks, "MOST_DRAWS", LENGTH)
    assert RunStore.open(tmp_path / "run.zarr").read_checkpoint().steps_done == 13
    assert not [file for file in (store.folder / STATE).iterdir() if file.name.startswith(".")]


@pytest.mark.skipif(os.name == "nt", reason="limits of processes")
def test_a_refused_write_loses_nothing(store, tmp_path):
    """As on a full disk: no file may grow beyond some bytes."""
    before, handler = resource.getrlimit(resource.RLIMIT_FSIZE), signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (8, before[1]))
    try:
        with pytest.raises(StorageError, match=rf"cannot write .*run\.zarr\.partial.*{os.strerror(errno.EFBIG)}"):
            store.append(part(3))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)
    same(content(store), joined(WHOLE, part(3)))
    same(content(RunStore.open(tmp_path / "run.zarr")), WHOLE)
    finished(store)
    assert load(store.path).identical(make_tree(joined(WHOLE, part(3)), dims={"scope/k": ["part"]}))


def test_create_refuses_early(store, tmp_path):
    with pytest.raises(StorageError, match=r"run\.zarr\.partial holds an unfinished run.*resume"):
        RunStore.create(tmp_path / "run.zarr", {})
    (tmp_path / "notes").mkdir()
    with pytest.raises(StorageError, match="not a zarr store"):
        RunStore.create(tmp_path / "notes", {})
    with pytest.raises(StorageError, match="must be JSON"):
        RunStore.create(tmp_path / "other.zarr", {"key": object()})
    assert sorted(file.name for file in tmp_path.iterdir()) == ["notes", "run.zarr.partial"]


def test_bad_chunks_are_refused(store):
    with pytest.raises(StorageError, match="leading axes"):
        store.append({"posterior": {"a": np.zeros((2, 3)), "b": np.zeros((2, 4))}})
    with pytest.raises(StorageError, match="cannot keep 'a': its dtype is object"):
        store.append({"posterior": {"a": np.array([[None]])}})
    with pytest.raises(StorageError, match="other names than those before"):
        store.append({"posterior": {"mu": np.zeros((2, 3))}})
    with pytest.raises(StorageError, match=r"posterior/mu has shape \(2, 4\) and dtype float32, unlike"):
        store.append(part(0) | {"posterior": part(0)["posterior"] | {"mu": np.zeros((2, 4), np.float32)}})
    assert store.num_draws == 13


def test_nothing_there(tmp_path):
    with pytest.raises(StorageError, match="no unfinished run"):
        RunStore.open(tmp_path / "run.zarr")
    with pytest.raises(StorageError, match=r"no result at .*, and no unfinished run"):
        RunStore.reopen(tmp_path / "run.zarr", {})
    (tmp_path / "old.zarr.partial").mkdir()
    (tmp_path / "old.zarr.partial" / "record.json").write_text("{}")
    with pytest.raises(StorageError, match="an older version"):
        RunStore.open(tmp_path / "old.zarr")


def test_a_record_of_another_format(store):
    (store.state_folder / "record.json").write_text(json.dumps({"format": 1, "record": {}}))
    with pytest.raises(StorageError, match="has format 1; this version of bayeskit reads format 2"):
        RunStore.open(store.path)


FILES = [f"{STATE}/record.json", f"{STATE}/checkpoint.npz", "posterior/mu/0.0", "posterior/scope%2Fk/0.3.0"]
DAMAGE = [(name, damage) for name in FILES for damage in ("missing", "empty", "truncated")]
DAMAGE.remove((f"{STATE}/checkpoint.npz", "missing"))  # a run without a checkpoint has not begun


@pytest.mark.parametrize(("name", "damage"), DAMAGE)
def test_damage_names_the_file(store, tmp_path, name, damage):
    file = store.folder / name
    content_before = file.read_bytes()
    if damage == "missing":
        file.unlink()
    else:
        file.write_bytes({"empty": b"", "truncated": content_before[: len(content_before) // 2]}[damage])

    def read():
        again = RunStore.open(tmp_path / "run.zarr")
        again.read_checkpoint()
        content(again)

    with pytest.raises(StorageError, match=name.replace(".", r"\.")):
        read()


@pytest.mark.parametrize("name", [f"{STATE}/checkpoint.npz", "posterior/mu/0.1"])
def test_a_changed_byte_is_noticed_or_harmless(store, tmp_path, name):
    file = store.folder / name
    before = file.read_bytes()
    noticed, step = 0, 7 if name.endswith("npz") else 1
    for at in range(0, len(before), step):
        file.write_bytes(before[:at] + bytes([before[at] ^ 255]) + before[at + 1 :])
        try:
            again = RunStore.open(tmp_path / "run.zarr")
            found, kept = content(again), again.read_checkpoint()
        except StorageError as error:
            noticed += name in str(error)
            continue
        same(found, WHOLE)
        assert kept.steps_done == 13
        same({"": dict(enumerate(kept.leaves))}, {"": dict(enumerate(STATES))})
    assert noticed > len(before) / step / 2


@pytest.mark.parametrize("damage", ["missing", "changed"])
def test_a_damaged_chunk_of_a_result_is_noticed(store, damage):
    file = finished(store) / "posterior" / "mu" / "0.1"
    post = load(store.path)
    if damage == "missing":
        file.unlink()
        with pytest.raises(StorageError, match=r"run\.zarr is incomplete: posterior/mu/0\.1 is missing"):
            load(store.path)
    else:
        file.write_bytes(file.read_bytes()[:-1] + b"?")
    with pytest.raises(StorageError, match=rf"posterior/mu/0\.1 is {damage.replace('changed', 'damaged')}"):
        post["posterior/mu"].values
    np.testing.assert_array_equal(post["posterior/mu"][:, :3].values, WHOLE["posterior"]["mu"][:, :3])


def _begun(path, value):
    store = RunStore.create(path, {"method": "NUTS"}, {"mu": np.zeros(2)})
    store.append({"posterior": {"mu": np.full((2, 5), value)}, "sample_stats": {"lp": np.zeros((2, 5))}})
    store.checkpoint([np.array(1)], steps_done=5)
    return store


def _result(path, value):
    store = _begun(path, value)
    store.finish(make_tree({name: store.group(name) for name in ("posterior", "sample_stats")}))
    return load(path)


def test_draws_of_another_run_are_not_taken_for_those_of_the_first(tmp_path):
    path = tmp_path / "run.zarr"
    first = _result(path, 1.0)
    _result(path, 2.0)
    with pytest.raises(StorageError, match="has been replaced or removed"):
        first["posterior/mu"].values
    with pytest.raises(StorageError, match="has been replaced or removed"):
        save(first, tmp_path / "copy.zarr")


def test_the_draws_of_a_run_that_goes_on_stay(tmp_path):
    path = tmp_path / "run.zarr"
    first = _result(path, 1.0)
    longer = RunStore.reopen(path, {"method": "NUTS"})
    longer.append({"posterior": {"mu": np.ones((2, 3))}, "sample_stats": {"lp": np.zeros((2, 3))}})
    longer.checkpoint([np.array(1)], steps_done=8)
    longer.finish(make_tree({name: longer.group(name) for name in ("posterior", "sample_stats")}))
    np.testing.assert_array_equal(first["posterior/mu"].values, np.ones((2, 5)))


def test_a_writer_whose_run_another_process_has_ended_leaves_nothing_behind(tmp_path):
    path = tmp_path / "run.zarr"
    late, early = _begun(path, 1.0), RunStore.open(path)
    early.finish(make_tree({name: early.group(name) for name in ("posterior", "sample_stats")}))
    with pytest.raises(StorageError, match="has been replaced or removed"):
        late.append({"posterior": {"mu": np.ones((2, 5))}, "sample_stats": {"lp": np.ones((2, 5))}})
    assert not late.folder.exists()
    begun = _begun(path, 2.0)
    for write in (lambda: late.checkpoint([np.array(1)], steps_done=9), late.discard):
        with pytest.raises(StorageError, match="has been replaced or removed"):
            write()
    assert begun.folder.exists()
