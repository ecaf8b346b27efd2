"""Time and memory of one gradient of a hierarchical Poisson model, 10,000 groups and 100,000 rows, beside NumPyro's.

    python benchmarks/gradient.py [--repeats 200]

The log density of the unconstrained vector with its gradient, compiled, 64 bit: `bk.Target.log_density` and NumPyro's
`potential_energy`, called in turn. Memory: what XLA sets aside beside arguments and results.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import jax

jax.config.update("jax_enable_x64", True)

import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
from numpyro.infer.util import potential_energy

import bayeskit as bk

GROUPS, ROWS = 10_000, 100_000


def model(group, x, y):
    """Counts with a slope and non-centred effects of the groups (10,003 parameters)."""
    centre = numpyro.sample("centre", dist.Normal(0.0, 2.0))
    slope = numpyro.sample("slope", dist.Normal(0.0, 1.0))
    scale = numpyro.sample("scale", dist.HalfNormal(1.0))
    with numpyro.plate("groups", GROUPS):
        white = numpyro.sample("white", dist.Normal(0.0, 1.0))
    with numpyro.plate("rows", len(y)):
        numpyro.sample("y", dist.Poisson(jnp.exp(centre + scale * white[group] + slope * x)), obs=y)


def main() -> None:
    """Print both, and their ratio."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=200)
    repeats = parser.parse_args().repeats
    rng = np.random.default_rng(0)
    group, x = rng.integers(GROUPS, size=ROWS), rng.normal(size=ROWS)
    y = rng.poisson(np.exp(0.5 + 0.7 * rng.normal(size=GROUPS)[group] + 0.3 * x))
    data = {"group": group, "x": x, "y": y}
    target = bk.Target(bk.bind(model, data))
    arguments = {name: jnp.asarray(value) for name, value in data.items()}
    values = {name: jnp.full(np.shape(value), 0.1) for name, value in target.structure.zeros().items()}

    def ours(target, values):
        return target.log_density(values)

    def theirs(arguments, values):
        return -potential_energy(model, (), arguments, values)

    programs = {}
    for name, function, first in (("bayeskit", ours, target), ("numpyro", theirs, arguments)):
        compiled = jax.jit(jax.value_and_grad(function, argnums=1)).lower(first, values).compile()
        memory = compiled.memory_analysis()
        programs[name] = compiled, first, memory.temp_size_in_bytes / 2**20
    density = {name: float(compiled(first, values)[0]) for name, (compiled, first, _) in programs.items()}
    print(f"log densities differ by {abs(density['bayeskit'] - density['numpyro']) / abs(density['numpyro']):.1e}")
    seconds = {name: [] for name in programs}
    for _ in range(repeats):
        for name, (compiled, first, _) in programs.items():
            start = time.perf_counter()
            jax.block_until_ready(compiled(first, values))
            seconds[name].append(time.perf_counter() - start)
    for name, (_, _, memory) in programs.items():
        print(f"{name:10}{1e3 * np.median(seconds[name]):8.2f} ms a gradient, {memory:6.2f} MiB")
    ratios = np.array(seconds["bayeskit"]) / np.array(seconds["numpyro"])
    memory = programs["bayeskit"][2] / programs["numpyro"][2]
    print(f"ratio of the times {np.median(ratios):.2f}, of the memory {memory:.2f} (bar 1.0)")


if __name__ == "__main__":
    main()
