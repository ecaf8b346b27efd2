from __future__ import annotations

import numpy as np
import pytest

from bayeskit.errors import StorageError
from bayeskit.storage import RunStore, load, make_tree


def chunk(seed, length=4):
    rng = np.random.default_rng(seed)
    values = {"mu": rng.normal(size=(2, length)), "scope/k": rng.integers(0, 9, (2, length, 3)).astype(np.int32)}
    return values, {"diverging": rng.random((2, length)) < 0.5}


def joined(*chunks, part):
    return {name: np.concatenate([c[part][name] for c in chunks], axis=1) for name in chunks[0][part]}


def same(found, expected):
    assert list(found) == list(expected)
    for name, array in expected.items():
        assert found[name].dtype == array.dtype
        np.testing.assert_array_equal(found[name], array)


@pytest.fixture
def store(tmp_path):
    store = RunStore.create(tmp_path / "run.zarr", {"method": "NUTS", "key": [0, 1]})
    store.append(*chunk(0))
    store.append(*chunk(1, length=2))
    store.checkpoint([np.arange(3.0), np.array(7, np.uint32), np.zeros((0, 2), bool)], steps_done=6)
    return store


def test_a_run_is_read_back(store, tmp_path):
    again = RunStore.open(tmp_path / "run.zarr")
    assert again.record == {"method": "NUTS", "key": [0, 1]}
    assert again.num_draws == 6
    values, stats = again.read_draws()
    same(values, joined(chunk(0), chunk(1, 2), part=0))
    same(stats, joined(chunk(0), chunk(1, 2), part=1))
    leaves, steps_done, num_chunks = again.read_checkpoint()
    assert (steps_done, num_chunks) == (6, 2)
    same(dict(enumerate(leaves)), dict(enumerate([np.arange(3.0), np.array(7, np.uint32), np.zeros((0, 2), bool)])))


def test_a_crash_between_chunk_and_checkpoint_forgets_the_chunk(store, tmp_path):
    store.append(*chunk(2))
    assert store.num_draws == 10
    again = RunStore.open(tmp_path / "run.zarr")
    same(again.read_draws()[0], joined(chunk(0), chunk(1, 2), part=0))
    again.append(*chunk(3))
    again.checkpoint([], steps_done=10)
    same(RunStore.open(tmp_path / "run.zarr").read_draws()[0], joined(chunk(0), chunk(1, 2), chunk(3), part=0))


def test_a_crash_before_the_first_checkpoint(tmp_path):
    RunStore.create(tmp_path / "run.nc", {}).append(*chunk(0))
    again = RunStore.open(tmp_path / "run.nc")
    assert again.read_checkpoint() is None
    assert again.read_draws() == ({}, {})


def test_a_failed_checkpoint_keeps_the_last_one(store, tmp_path, monkeypatch):
    store.append(*chunk(2))

    def broken(*args, **kwargs):
        raise OSError("no space left")

    monkeypatch.setattr(np.lib.format, "write_array", broken)
    with pytest.raises(StorageError, match=r"checkpoint\.npz.*no space left"):
        store.checkpoint([np.ones(2)], steps_done=10)
    monkeypatch.undo()
    assert RunStore.open(tmp_path / "run.zarr").read_checkpoint().steps_done == 6
    assert not [file for file in store.folder.iterdir() if file.name.startswith(".")]


def test_finish_saves_and_removes_the_folder(store, tmp_path):
    values, stats = store.read_draws()
    tree = make_tree({"posterior": values, "sample_stats": stats})
    assert load(store.finish(tree)).identical(tree)
    assert [file.name for file in tmp_path.iterdir()] == ["run.zarr"]


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
        store.append({"a": np.zeros((2, 3)), "b": np.zeros((2, 4))}, {})
    with pytest.raises(StorageError, match="cannot keep 'a': its dtype is object"):
        store.append({"a": np.array([[None]])}, {})
    assert store.num_draws == 6


def test_nothing_there(tmp_path):
    with pytest.raises(StorageError, match="no unfinished run"):
        RunStore.open(tmp_path / "run.zarr")


FILES = ["record.json", "checkpoint.npz", "chunk-000000.npz", "chunk-000001.npz"]
DAMAGE = [(name, damage) for name in FILES for damage in ("missing", "empty", "truncated")]
DAMAGE.remove(("checkpoint.npz", "missing"))  # a run without a checkpoint has not begun


@pytest.mark.parametrize(("name", "damage"), DAMAGE)
def test_damage_names_the_file(store, tmp_path, name, damage):
    file = store.folder / name
    content = file.read_bytes()
    if damage == "missing":
        file.unlink()
    else:
        file.write_bytes({"empty": b"", "truncated": content[: len(content) // 2]}[damage])

    def read():
        again = RunStore.open(tmp_path / "run.zarr")
        again.read_checkpoint()
        again.read_draws()

    with pytest.raises(StorageError, match=name.replace(".", r"\.")):
        read()


@pytest.mark.parametrize("name", ["checkpoint.npz", "chunk-000000.npz"])
def test_a_changed_byte_is_noticed_or_harmless(store, tmp_path, name):
    file = store.folder / name
    content = file.read_bytes()
    values, stats = store.read_draws()
    leaves, steps_done, _ = store.read_checkpoint()
    noticed = 0
    for at in range(0, len(content), 7):
        file.write_bytes(content[:at] + bytes([content[at] ^ 255]) + content[at + 1 :])
        try:
            again = RunStore.open(tmp_path / "run.zarr")
            found, kept = again.read_draws(), again.read_checkpoint()
        except StorageError as error:
            noticed += name in str(error)
            continue
        same(found[0], values)
        same(found[1], stats)
        assert kept.steps_done == steps_done
        same(dict(enumerate(kept.leaves)), dict(enumerate(leaves)))
    assert noticed > len(content) / 7 / 2


def test_a_chunk_of_another_run_is_noticed(store):
    (store.folder / "chunk-000001.npz").write_bytes((store.folder / "chunk-000000.npz").read_bytes())
    with pytest.raises(StorageError, match=r"chunk-000001\.npz.*unlike the first"):
        store.read_draws()
