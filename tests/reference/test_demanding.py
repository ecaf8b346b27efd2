"""Posteriors with awkward geometry, by the default sampler, against long runs of NumPyro's (``pytest -m slow``).

How often the verdict is good, as a table: ``python benchmarks/demanding.py``.
"""

from __future__ import annotations

import json

import jax
import pytest

import bayeskit as bk

from .comparison import MAX_Z, compare
from .models.demanding import DEMANDING, FOLDER

FEW = 20
"""Divergences of 4,000 draws; single ones remain where the posterior has a neck."""


@pytest.mark.slow
@pytest.mark.parametrize("name", DEMANDING)
def test_the_default_agrees_with_a_long_run(name: str) -> None:
    model, arguments = DEMANDING[name]
    with jax.enable_x64(True):
        post = bk.infer(model, arguments(), bk.NUTS(), key=0, progress=False)
    values = {site: draws.to_numpy() for site, draws in post["posterior"].data_vars.items()}
    rows = compare(values, json.loads((FOLDER / f"{name}.json").read_text()))
    bad = [row.parameter for row in rows if not max(abs(row.z_mean), abs(row.z_sd)) <= MAX_Z or not row.shift < 0.25]
    assert not bad
    assert max(row.rhat for row in rows) < 1.03
    assert int(post["sample_stats/diverging"].sum()) < FEW


def test_every_demanding_posterior_has_its_reference() -> None:
    assert sorted(path.stem for path in FOLDER.glob("*.json")) == sorted(DEMANDING)
