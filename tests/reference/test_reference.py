"""Published posteriors, drawn by every backend and compared with their reference values.

The whole table, some minutes a backend: ``pytest tests/reference -m "slow or not slow"``. The folder of the posteriors
is named by ``BAYESKIT_REFERENCE_DIR``; by default it is ``../shared/posteriordb`` beside the checkout. The figures of
such a run, as a table: ``python benchmarks/reference_posteriors.py``.
"""

from __future__ import annotations

import pytest

from .drawing import BACKENDS, draw
from .table import REFERENCES, Reference, reference_folder

pytestmark = pytest.mark.skipif(
    reference_folder() is None, reason="no reference posteriors: set BAYESKIT_REFERENCE_DIR to their folder"
)


def cases() -> list[object]:
    return [
        pytest.param(row, backend, id=f"{backend}-{row.name}", marks=() if row.fast else pytest.mark.slow)
        for backend in BACKENDS
        for row in REFERENCES
    ]


@pytest.mark.parametrize(("reference", "backend"), cases())
def test_draws_agree_with_the_reference(reference: Reference, backend: str) -> None:
    failures = draw(reference, backend).failures
    assert not failures, f"{len(failures)} bounds are not met:\n" + "\n".join(failures)


def test_every_published_posterior_is_in_the_table() -> None:
    folder = reference_folder()
    assert folder is not None
    assert sorted(path.stem for path in folder.glob("*.json")) == sorted(reference.name for reference in REFERENCES)
