"""The samplers of the comparison: each is a function from a seed to draws of shape (chain, draw, size) and seconds.

All sample the same log density of the same unconstrained vector; 4 chains of 1,000 + 1,000 steps, float64.
"""

from __future__ import annotations

import importlib.util
import time
from collections.abc import Callable

import blackjax
import jax
import jax.numpy as jnp
import numpy as np
from numpyro.infer import MCMC
from numpyro.infer import NUTS as NumPyroNUTS

import bayeskit as bk
from bayeskit.target import find_start

Sampler = Callable[[int], tuple[np.ndarray, float]]
CHAINS, WARMUP, DRAWS = 4, 1000, 1000


def ours(model: Callable, data: dict, backend: str) -> Sampler:
    """The whole of `bk.infer`, starting points and DataTree included."""
    method = bk.NUTS(num_chains=CHAINS, num_warmup=WARMUP, num_draws=DRAWS, backend=backend)
    names = bk.Target(bk.bind(model, data)).latent_names

    def sample(seed: int) -> tuple[np.ndarray, float]:
        start = time.perf_counter()
        post = bk.infer(model, data, method, key=seed, progress=False)
        seconds = time.perf_counter() - start
        parts = [post["posterior"][name].values.reshape(CHAINS, DRAWS, -1) for name in names]
        return np.concatenate(parts, axis=2), seconds

    return sample


def numpyro(model: Callable, data: dict, chain_method: str) -> Sampler:
    """NumPyro's `MCMC` with its defaults.

    `MCMC.run` traces and compiles anew each time, which would hide the time that sampling takes. The whole of it is
    therefore compiled once, as NumPyro's documentation does: `jit` for vectorised chains, `pmap` over four host devices
    for parallel ones.
    """
    names = bk.Target(bk.bind(model, data)).latent_names
    arguments = {name: jnp.asarray(v) if isinstance(v, np.ndarray) else v for name, v in data.items()}
    parallel = chain_method == "parallel"

    def draw(key: jax.Array) -> dict[str, jax.Array]:
        settings = {"num_warmup": WARMUP, "num_samples": DRAWS, "num_chains": 1 if parallel else CHAINS}
        mcmc = MCMC(NumPyroNUTS(model), chain_method="vectorized", progress_bar=False, **settings)
        mcmc.run(key, **arguments)
        samples = mcmc.get_samples(group_by_chain=not parallel)
        return {name: samples[name] for name in names}

    run = jax.pmap(draw) if parallel else jax.jit(draw)

    def sample(seed: int) -> tuple[np.ndarray, float]:
        key = jax.random.key(seed)
        keys = jax.random.split(key, CHAINS) if parallel else key
        start = time.perf_counter()
        draws = jax.block_until_ready(run(keys))
        seconds = time.perf_counter() - start
        return np.concatenate([np.asarray(draws[name]).reshape(CHAINS, DRAWS, -1) for name in names], axis=2), seconds

    return sample


def window_adaptation(model: Callable, data: dict, spread: str) -> Sampler:
    """BlackJAX's stock warmup and NUTS, compiled once, chains vectorised or one on each host device."""
    target = bk.Target(bk.bind(model, data))

    def chain(key: jax.Array, position: jax.Array) -> jax.Array:
        def density(flat: jax.Array) -> jax.Array:
            return target.log_density(target.unravel(flat))

        warm_key, key = jax.random.split(key)
        warmup = blackjax.window_adaptation(blackjax.nuts, density, adaptation_info_fn=lambda *_: None)
        (state, parameters), _ = warmup.run(warm_key, position, WARMUP)
        kernel = blackjax.nuts(density, **parameters).step

        def step(state: object, key: jax.Array) -> tuple:
            state, _ = kernel(key, state)
            return state, state.position

        return jax.lax.scan(step, state, jax.random.split(key, DRAWS))[1]

    run = jax.pmap(chain) if spread == "parallel" else jax.jit(jax.vmap(chain))
    place = jax.jit(lambda start: jax.vmap(target.ravel)(start))

    def sample(seed: int) -> tuple[np.ndarray, float]:
        start_key, key = jax.random.split(jax.random.key(seed))
        start = time.perf_counter()
        positions = place(find_start(target, start_key, CHAINS))
        draws = np.asarray(run(jax.random.split(key, CHAINS), positions))
        return draws, time.perf_counter() - start

    return sample


def nutpie(model: Callable, data: dict) -> Sampler | None:
    """nutpie, with the same model in PyMC compiled by Numba; `None` where they are not installed."""
    if any(importlib.util.find_spec(name) is None for name in ("nutpie", "pymc", "numba")):
        return None
    import nutpie as peer

    from benchmarks.pymc_models import MODELS

    compiled = peer.compile_pymc_model(MODELS[model.__name__](data))
    names = bk.Target(bk.bind(model, data)).latent_names

    def sample(seed: int) -> tuple[np.ndarray, float]:
        settings = {"draws": DRAWS, "tune": WARMUP, "chains": CHAINS, "cores": 2, "seed": seed}
        start = time.perf_counter()
        trace = peer.sample(compiled, progress_bar=False, save_warmup=False, **settings)
        seconds = time.perf_counter() - start
        return np.concatenate([trace.posterior[n].values.reshape(CHAINS, DRAWS, -1) for n in names], axis=2), seconds

    return sample
