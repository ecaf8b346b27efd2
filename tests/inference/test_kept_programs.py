"""Where compiled programs are kept: the user's own setting counts, and JAX is left as it was."""

import threading

import jax
import pytest

from bayeskit.xla import kept_programs
from bayeskit.xla.kept_programs import FOLDER, SETTINGS, folder_of_programs, programs_kept

NAMES = ("jax_compilation_cache_dir", *SETTINGS)


def state():
    return {name: getattr(jax.config, name) for name in NAMES}


@pytest.fixture
def unset(monkeypatch, tmp_path):
    """A user who has said nothing about caches, with a cache folder of their own."""
    monkeypatch.delenv(FOLDER, raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    before = state()
    kept_programs._set({"jax_compilation_cache_dir": None, **dict.fromkeys(SETTINGS, 5)})
    yield tmp_path
    kept_programs._set(before)


def test_set_while_it_lasts_and_restored(unset):
    before = state()
    with programs_kept():
        inside = state()
        with programs_kept():
            assert state() == inside
        assert state() == inside
    assert inside == {"jax_compilation_cache_dir": str(folder_of_programs()), **SETTINGS}
    assert folder_of_programs().is_relative_to(unset / "bayeskit" / "xla")
    assert state() == before

    with pytest.raises(KeyboardInterrupt), programs_kept():
        raise KeyboardInterrupt
    assert state() == before


def test_only_what_is_compiled_meanwhile_is_kept(unset):
    def files():
        return sorted(path.name for path in folder_of_programs().iterdir() if not path.name.endswith("-atime"))

    def first(x):
        return x + 41.25

    def second(x):
        return x + 42.75

    with programs_kept():
        jax.jit(first)(1.0)
    kept = files()
    assert len(kept) == 1
    assert kept[0].startswith("jit_first-")
    jax.jit(second)(1.0)
    assert files() == kept


def test_what_the_user_has_set_stays(unset, monkeypatch):
    jax.config.update("jax_compilation_cache_dir", str(unset / "mine"))
    before = state()
    with programs_kept():
        assert state() == before
    jax.config.update("jax_compilation_cache_dir", None)

    monkeypatch.setenv(FOLDER, "")
    before = state()
    with programs_kept():
        assert state() == before
    monkeypatch.delenv(FOLDER)

    jax.config.update("jax_enable_compilation_cache", False)
    try:
        with programs_kept():
            assert state() == before
    finally:
        jax.config.update("jax_enable_compilation_cache", True)


def test_a_folder_that_cannot_be_made_changes_nothing(unset, monkeypatch):
    (unset / "bayeskit").write_text("a file is in the way")
    before = state()
    with programs_kept():
        assert folder_of_programs() is None
        assert state() == before


def test_other_threads_leave_it_alone(unset):
    before, found = state(), []

    def run():
        with programs_kept():
            found.append(state())

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert found == [before]
