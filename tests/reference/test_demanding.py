"""Posteriors with awkward geometry, by the default sampler, against long runs of NumPyro's (``pytest -m slow``).

How often the verdict is good, as a table: ``python benchmarks/demanding.py``.
"""

from __future__ import annotations

import json

import jax
import numpy as np
import pytest
from numpyro.infer.util import constrain_fn, initialize_model, log_density

import bayeskit as bk

from .comparison import MAX_Z, compare
from .described_demanding import DESCRIBED
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


@pytest.mark.parametrize("name", DEMANDING)
def test_model_has_the_described_density(name: str) -> None:
    """At three places, up to a constant, in the coordinates of the model's sites."""
    model, arguments = DEMANDING[name]
    data = arguments()
    start = jax.eval_shape(
        lambda: initialize_model(jax.random.key(0), model, model_kwargs=data, validate_grad=False).param_info.z
    )

    @jax.jit
    def by_model(free: dict[str, jax.Array]) -> tuple[jax.Array, dict[str, jax.Array]]:
        values = constrain_fn(model, (), data, free, return_deterministic=True)
        return log_density(model, (), data, values)[0], values

    rng = np.random.default_rng(0)
    ours, theirs = [], []
    for _ in range(3):
        density, values = by_model({site: rng.uniform(-0.7, 0.7, leaf.shape) for site, leaf in start.items()})
        ours.append(float(density))
        theirs.append(DESCRIBED[name](data, {site: np.asarray(value) for site, value in values.items()}))
    assert np.ptp(theirs) > 0.1, "the points do not differ"
    difference = np.subtract(ours, theirs)
    np.testing.assert_allclose(difference, difference[0], rtol=0, atol=1e-8 + 1e-12 * np.abs(theirs).max())
