"""The rows of `gpu.py`, at two sizes."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import NamedTuple

import jax

import bayeskit as bk
from benchmarks import gpu_samplers, gpu_steps, peers, problem_data
from benchmarks.gpu_work import Contestant
from benchmarks.models import MODELS, PROBLEMS


class Size(NamedTuple):
    """Of all rows, and seconds after which no contestant starts.

    `lengths` are those of the chains; MEADS, whose steps are single leapfrogs, gets four times the warmup.
    """

    lengths: tuple[peers.Length, ...]
    posteriors: tuple[str, ...]
    particles: int
    smc_problem: tuple[int, int]
    autoencoder: tuple[int, int]
    kernel: int
    bridge: tuple[int, int, int]
    pfn: tuple[tuple[int, int], ...]
    seconds: float


LARGE = Size(
    lengths=(
        peers.Length(64, 300, 100),
        peers.Length(1024, 200, 40),
        peers.Length(4096, 200, 20),
        peers.Length(4, 500, 500),
    ),
    posteriors=("radon", "logistic_100000x10"),
    particles=100_000,
    smc_problem=(1000, 25),
    autoencoder=(1024, 500),
    kernel=20_000,
    bridge=(128, 100_000, 10),
    pfn=((64, 500), (1024, 250)),
    seconds=300.0,
)
SMALL = Size(
    lengths=(peers.Length(8, 20, 10),),
    posteriors=("eight_schools",),
    particles=200,
    smc_problem=(100, 3),
    autoencoder=(64, 20),
    kernel=300,
    bridge=(8, 1000, 3),
    pfn=((8, 75),),
    seconds=300.0,
)


class Entry(NamedTuple):
    """A contestant: whose it is, what predicts its seconds, and how much work it has."""

    whose: str
    kind: str
    work: float
    make: Contestant


class Row(NamedTuple):
    """Two contestants, and what they are counted by."""

    name: str
    unit: str
    ours: Entry
    peer: Entry


def rows(size: Size) -> Iterator[Row]:
    """All rows, in the order in which they are measured: what takes longest comes last."""
    yield from smc_rows(size)
    batch, steps = size.autoencoder
    yield pair(f"autoencoder 784-400-20, {batch} images", "steps", "NumPyro SVI", gpu_steps.autoencoder(batch, steps))
    yield pair(f"NNGP kernel, {size.kernel:,}²", "pairs", "formula in jnp", gpu_steps.kernel(size.kernel))
    dimension, points, steps = size.bridge
    two = gpu_steps.light_bridge(dimension, points, steps)
    yield pair(f"Schrödinger bridge, D = {dimension}, {points:,} points", "steps", "Adam in jnp", two)
    for batch, steps in size.pfn:
        two = gpu_steps.pfn_training(batch, steps)
        yield pair(f"PFN training, {batch} data sets a step", "data sets", "transformer in jnp", two)
    for length in size.lengths:
        yield from chain_rows(size, length)


def pair(name: str, unit: str, peer: str, two: tuple[Contestant, Contestant]) -> Row:
    """A row whose seconds nothing predicts."""
    return Row(name, unit, Entry("bayeskit", f"{name}, ours", 1.0, two[0]), Entry(peer, f"{name}, {peer}", 1.0, two[1]))


def smc_rows(size: Size) -> Iterator[Row]:
    num_rows, num_predictors = size.smc_problem
    problem = MODELS["logistic_1000x25"], problem_data.logistic_regression(num_rows, num_predictors)
    two = tuple(make(*problem, size.particles) for make in (gpu_samplers.smc, gpu_samplers.blackjax_smc))
    name = f"SMC, {size.particles:,} particles, logistic {num_rows:,} × {num_predictors}"
    yield pair(name, "particles", "BlackJAX", (two[0], two[1]))


def chain_rows(size: Size, length: peers.Length) -> Iterator[Row]:
    """Three methods on each posterior, beside a run of NumPyro's NUTS that is as long."""
    chains, warmup, draws = length
    plain = {"num_chains": chains, "num_warmup": warmup, "num_draws": draws}
    methods = {
        "NUTS": bk.NUTS(**plain, chain_method="vectorized"),
        "ChEES": bk.ChEES(**plain),
        "MEADS": bk.MEADS(**{**plain, "num_warmup": 4 * warmup}),
    }
    work = (warmup + draws) * (chains if jax.default_backend() == "cpu" else math.sqrt(chains))
    for problem in size.posteriors:
        model, data = PROBLEMS[problem]()
        theirs = gpu_samplers.by_numpyro(model, data, length)
        peer = Entry("NumPyro NUTS", f"{problem}, NumPyro", work, theirs)
        for name, method in methods.items():
            make = gpu_samplers.by_bayeskit(model, data, method)
            ours = Entry("bayeskit", f"{problem}, {name}", work, make)
            yield Row(f"{problem}, {name}, {chains:,} chains", "effective draws", ours, peer)
