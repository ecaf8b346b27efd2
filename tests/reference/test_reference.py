"""Published posteriors, drawn by every backend and compared with their reference values.

The posteriors are in ``data/posteriordb``. The whole table, some minutes a backend: ``pytest tests/reference -m ""``.
The figures of such a run, as a table: ``python benchmarks/reference_posteriors.py``.
"""

from __future__ import annotations

import pytest

from .drawing import BACKENDS, draw
from .table import FOLDER, REFERENCES, Reference


def marks(row: Reference, backend: str) -> object:
    """By default the package's own chains; NumPyro's are in the full tier, but for one posterior."""
    if not row.fast:
        return pytest.mark.slow
    return pytest.mark.full if backend == "numpyro" and "eight_schools" not in row.name else ()


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
