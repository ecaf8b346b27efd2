"""The samplers of the comparison. Each is made of a model and its data, and draws when called with a seed.

All sample the same log density, from starts that the library chooses itself; 4 chains of 1,000 + 1,000 steps. No row of
a peer runs code of bayeskit. Data are arguments of the compiled programs, not constants in them.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np

CHAINS, WARMUP, DRAWS = 4, 1000, 1000


class Length(NamedTuple):
    """Of a run."""

    chains: int = CHAINS
    warmup: int = WARMUP
    draws: int = DRAWS


USUAL = Length()


class Run(NamedTuple):
    """One run: values of the latent sites, shape (chain, draw, size), and what it cost.

    `gradients` is the mean number of leapfrog steps of a draw after warmup, each of them one gradient; `seconds` are
    those of warmup and sampling.
    """

    draws: np.ndarray
    seconds: float
    gradients: float
    divergences: int


Sampler = Callable[[int], Run]


def joined(values: Mapping[str, object]) -> np.ndarray:
    """Sites in the order of their names, elements as columns: the same columns for every library."""
    arrays = [np.asarray(values[name]) for name in sorted(values)]
    return np.concatenate([array.reshape(*array.shape[:2], -1) for array in arrays], axis=2)


def split(data: dict) -> tuple[dict, dict]:
    """Arrays, which are arguments of a compiled program, and all else, of which it is made."""
    arrays = {name: value for name, value in data.items() if isinstance(value, np.ndarray)}
    return arrays, {name: value for name, value in data.items() if name not in arrays}


def latent_sites(model: Callable, data: dict) -> list[str]:
    """Names of the latent sites."""
    from jax import random
    from numpyro.infer.util import initialize_model

    return sorted(initialize_model(random.key(0), model, model_kwargs=data).param_info.z)


def bayeskit(model: Callable, data: dict, sites: list[str], backend: str) -> Sampler:
    """`bk.NUTS` with this backend."""
    import bayeskit as bk

    method = bk.NUTS(num_chains=CHAINS, num_warmup=WARMUP, num_draws=DRAWS, backend=backend)
    return by_method(model, data, sites, method)


def by_method(model: Callable, data: dict, sites: list[str], method: object) -> Sampler:
    """A method of bayeskit: the whole of `bk.infer`, starting points and DataTree included."""
    import bayeskit as bk

    def sample(seed: int) -> Run:
        start = time.perf_counter()
        post = bk.infer(model, data, method, key=seed, progress=False)
        seconds = time.perf_counter() - start
        stats = post["sample_stats"]
        draws = joined({name: post["posterior"][name].values for name in sites})
        return Run(draws, seconds, float(stats["n_steps"].mean()), int(stats["diverging"].sum()))

    return sample


def _timed(run: Callable, arrays: dict, seed: int, *, parallel: bool) -> Run:
    """A compiled program, from keys and arrays to draws, leapfrog steps and divergences, under the clock."""
    import jax

    key = jax.random.key(seed)
    keys = jax.random.split(key, CHAINS) if parallel else key
    start = time.perf_counter()
    draws, steps, diverging = jax.block_until_ready(run(keys, arrays))
    seconds = time.perf_counter() - start
    return Run(joined(draws), seconds, float(np.mean(steps)), int(np.sum(diverging)))


def numpyro(model: Callable, data: dict, sites: list[str], chain_method: str, length: Length = USUAL) -> Sampler:
    """NumPyro's `MCMC` with its defaults.

    `MCMC.run` traces and compiles anew each time, which would hide the time that sampling takes. The whole of it is
    therefore compiled once, as NumPyro's documentation does: `jit` for vectorised chains, `pmap` over four host devices
    for parallel ones.
    """
    import jax
    from numpyro.infer import MCMC, NUTS

    arrays, rest = split(data)
    parallel = chain_method == "parallel"

    def draw(key: jax.Array, arrays: dict) -> tuple:
        num_chains = 1 if parallel else length.chains
        settings = {"num_warmup": length.warmup, "num_samples": length.draws, "num_chains": num_chains}
        mcmc = MCMC(NUTS(model), chain_method="vectorized", progress_bar=False, **settings)
        mcmc.run(key, **arrays, **rest, extra_fields=("num_steps", "diverging"))
        samples, extra = (get(group_by_chain=not parallel) for get in (mcmc.get_samples, mcmc.get_extra_fields))
        return {name: samples[name] for name in sites}, extra["num_steps"], extra["diverging"]

    run = jax.pmap(draw, in_axes=(0, None)) if parallel else jax.jit(draw)
    return lambda seed: _timed(run, arrays, seed, parallel=parallel)


def blackjax(model: Callable, data: dict, sites: list[str], chain_method: str) -> Sampler:
    """BlackJAX's window adaptation and NUTS on NumPyro's log density, as in its documentation.

    Compiled once, chains vectorised or one on each of four host devices.
    """
    import blackjax as peer
    import jax
    from numpyro.infer.util import initialize_model

    arrays, rest = split(data)

    def chain(key: jax.Array, arrays: dict) -> tuple:
        init_key, warm_key, key = jax.random.split(key, 3)
        made = initialize_model(init_key, model, model_kwargs={**arrays, **rest})

        def density(z: dict) -> jax.Array:
            return -made.potential_fn(z)

        warmup = peer.window_adaptation(peer.nuts, density, adaptation_info_fn=lambda *_: None)
        (state, parameters), _ = warmup.run(warm_key, made.param_info.z, WARMUP)
        kernel = peer.nuts(density, **parameters).step

        def step(state: object, key: jax.Array) -> tuple:
            state, info = kernel(key, state)
            return state, (state.position, info.num_integration_steps, info.is_divergent)

        positions, steps, diverging = jax.lax.scan(step, state, jax.random.split(key, DRAWS))[1]
        values = jax.lax.map(made.postprocess_fn, positions)
        return {name: values[name] for name in sites}, steps, diverging

    run = jax.pmap(chain, in_axes=(0, None)) if chain_method == "parallel" else jax.jit(jax.vmap(chain, (0, None)))
    return lambda seed: _timed(run, arrays, seed, parallel=True)


def nutpie(problem: str, data: dict, sites: list[str]) -> Sampler:
    """The defaults of nutpie, on the same model in PyMC, compiled by Numba."""
    import nutpie as peer

    from benchmarks.pymc_models import MODELS

    compiled = peer.compile_pymc_model(MODELS[problem](data))

    def sample(seed: int) -> Run:
        settings = {"draws": DRAWS, "tune": WARMUP, "chains": CHAINS, "seed": seed}
        start = time.perf_counter()
        trace = peer.sample(compiled, progress_bar=False, save_warmup=False, **settings)
        seconds = time.perf_counter() - start
        stats = trace.sample_stats
        draws = joined({name: trace.posterior[name].values for name in sites})
        return Run(draws, seconds, float(stats["n_steps"].mean()), int(stats["diverging"].sum()))

    return sample
