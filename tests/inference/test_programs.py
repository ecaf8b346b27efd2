"""How much one fit compiles, and how often it calls the model: in fresh processes, where nothing is compiled yet."""

import json
import os
import subprocess
import sys

import pytest

from bayeskit.xla.kept_programs import FOLDER, SETTINGS

MOST_PROGRAMS = 11
"""Of a fit; `benchmarks/programs.py` lists them."""

MOST_CALLS = 7
"""Of the model function in a fit: its structure, its supports, what it indexes, the density twice, what it constrains,
and what was observed."""

PROGRAM = """
import json
from collections import Counter
import jax
import numpy as np
import numpyro
import numpyro.distributions as dist
import bayeskit as bk

class Calls:
    number = 0

def model(group, y):
    Calls.number += 1
    mu = numpyro.sample("mu", dist.Normal(0.0, 1.0))
    with numpyro.plate("groups", 3):
        effect = numpyro.sample("effect", dist.Normal(mu, 1.0))
    sigma = numpyro.sample("sigma", dist.HalfNormal(1.0))
    double = numpyro.deterministic("double", 2.0 * effect)
    numpyro.sample("y", dist.Normal(effect[group], sigma), obs=y)

heard = Counter()
jax.monitoring.register_event_duration_secs_listener(lambda event, seconds, **of: heard.update([event]))
jax.monitoring.register_event_listener(lambda event, **of: heard.update([event]))
method = bk.NUTS(num_chains=2, num_warmup=10, num_draws=10)
found = []
for key in range(2):
    heard.clear()
    Calls.number = 0
    y = np.random.default_rng(key).normal(size=6)
    bk.infer(model, {"group": np.array([0, 1, 2, 0, 1, 2]), "y": y}, method, key=key, progress=False)
    compiled, loaded = heard["/jax/core/compile/backend_compile_duration"], heard["/jax/compilation_cache/cache_hits"]
    found.append({"programs": compiled, "from the cache": loaded, "calls": Calls.number})
print(json.dumps([*found, jax.config.jax_compilation_cache_dir]))
"""


@pytest.fixture(scope="module")
def counts(tmp_path_factory):
    """Of two fits in a fresh process, and in another after it."""
    environment = {name: value for name, value in os.environ.items() if name not in (FOLDER, *map(str.upper, SETTINGS))}
    environment["XDG_CACHE_HOME"] = str(tmp_path_factory.mktemp("cache"))
    said = []
    for _ in range(2):
        done = subprocess.run(
            [sys.executable, "-c", PROGRAM], env=environment, capture_output=True, text=True, check=True
        )
        said.append(json.loads(done.stdout.splitlines()[-1]))
    return said


def test_a_fit_compiles_few_programs(counts):
    first, _, _ = counts[0]
    assert 5 < first["programs"] <= MOST_PROGRAMS, first
    assert first["from the cache"] == 0


def test_a_fit_calls_the_model_few_times(counts):
    first, second, _ = counts[0]
    assert 1 < first["calls"] <= MOST_CALLS
    assert 1 <= second["calls"] <= 2, "its structure, and its supports"


def test_new_data_of_the_same_shapes_compile_nothing(counts):
    for _, second, _ in counts:
        assert second["programs"] == 0


def test_another_process_takes_all_from_the_cache(counts):
    (first, _, before), (again, _, after) = counts
    assert again["programs"] == first["programs"]
    assert again["from the cache"] >= first["programs"] - 1, "one asks XLA for an option that it may not know"
    assert before is after is None, "the user's setting is as it was"
