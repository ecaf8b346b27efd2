"""The timed models have one log density in NumPyro and in PyMC, up to a constant: the samplers have the same work.

PyMC comes with the extra `bench`; without it these tests are skipped.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpyro.infer.util import potential_energy

import bayeskit as bk
from benchmarks.models import MODELS, PROBLEMS
from benchmarks.problem_data import DATA

NUM_POINTS = 3


def points_of(target: bk.Target) -> list[dict[str, np.ndarray]]:
    """Unconstrained values of the latent sites."""
    vectors = np.random.default_rng(0).uniform(-0.7, 0.7, (NUM_POINTS, target.size))
    return [{name: np.asarray(value) for name, value in target.unravel(jnp.asarray(z)).items()} for z in vectors]


def test_every_problem_is_in_both_libraries():
    pymc_models = pytest.importorskip("benchmarks.pymc_models", exc_type=ImportError)
    assert list(MODELS) == list(DATA) == list(pymc_models.MODELS)


@pytest.mark.parametrize("problem", DATA)
def test_log_densities_agree(problem):
    """At unconstrained values, which both libraries transform alike, with their Jacobians."""
    pymc_models = pytest.importorskip("benchmarks.pymc_models", exc_type=ImportError)
    model, data = PROBLEMS[problem]()
    points = points_of(bk.Target(bk.bind(model, data)))
    arrays = {name: jnp.asarray(value) if isinstance(value, np.ndarray) else value for name, value in data.items()}
    numpyros = jax.jit(lambda values: -potential_energy(model, (), arrays, values))

    twin = pymc_models.MODELS[problem](data)
    value_names = {variable.name: twin.rvs_to_values[variable].name for variable in twin.free_RVs}
    assert value_names.keys() == points[0].keys()
    pymcs = twin.compile_logp(mode="FAST_COMPILE")

    ours = np.array([float(numpyros(point)) for point in points])
    theirs = np.array([float(pymcs({value_names[name]: v for name, v in point.items()})) for point in points])
    assert np.ptp(theirs) > 0.1, "the points do not differ"
    np.testing.assert_allclose(ours - theirs, (ours - theirs)[0], rtol=0, atol=1e-8 + 1e-12 * np.abs(theirs).max())
