"""Published posteriors, drawn by every backend and compared with their reference values.

The posteriors are in ``data/posteriordb``. The whole table, some minutes a backend: ``pytest tests/reference -m ""``.
The figures of such a run, as a table: ``python benchmarks/reference_posteriors.py``.
"""

from __future__ import annotations

import pytest

from .drawing import BACKENDS, draw
from .table import FOLDER, REFERENCES, Reference

HIERARCHICAL, BADLY_SCALED = "eight_schools-eight_schools_noncentered", "kilpisjarvi_mod-kilpisjarvi"
BY_DEFAULT = {("numpyro", HIERARCHICAL), ("blackjax", HIERARCHICAL), ("blackjax", BADLY_SCALED)}


def marks(row: Reference, backend: str) -> object:
    """By default two posteriors by the package's own chains and one by NumPyro's: `test_log_densities` has them all."""
    if not row.fast:
        return pytest.mark.slow
    return () if (backend, row.name) in BY_DEFAULT else pytest.mark.full


def cases() -> list[object]:
    return [
        pytest.param(row, backend, id=f"{backend}-{row.name}", marks=marks(row, backend))
        for backend in BACKENDS
        for row in REFERENCES
    ]


@pytest.mark.parametrize(("reference", "backend"), cases())
def test_draws_agree_with_the_reference(reference: Reference, backend: str) -> None:
    failures = draw(reference, backend).failures
    assert not failures, f"{len(failures)} bounds are not met:\n" + "\n".join(failures)


def test_every_published_posterior_is_in_the_table() -> None:
    assert sorted(path.stem for path in FOLDER.glob("*.json")) == sorted(reference.name for reference in REFERENCES)
