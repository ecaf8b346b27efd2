"""The samplers of the comparison: each is a function `(seed) -> draws of shape (chain, draw, size)`, compiled beforehand.

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
    """NumPyro's `MCMC` with its defaults; a run after `warmup` of the same object reuses what it has compiled."""
    names = bk.Target(bk.bind(model, data)).latent_names
    arguments = {name: jnp.asarray(v) if isinstance(v, np.ndarray) else v for name, v in data.items()}
    settings = {"num_warmup": WARMUP, "num_samples": DRAWS, "num_chains": CHAINS, "progress_bar": False}
    kernel = NumPyroNUTS(model)
    mcmc = MCMC(kernel, chain_method=chain_method, jit_model_args=True, **settings)

    def sample(seed: int) -> tuple[np.ndarray, float]:
        with _compile_time() as compiling:
            start = time.perf_counter()
            mcmc.run(jax.random.key(seed), **arguments)
            draws = jax.block_until_ready(mcmc.get_samples(group_by_chain=True))
            seconds = time.perf_counter() - start - compiling[0]
        parts = [np.asarray(draws[name]).reshape(CHAINS, DRAWS, -1) for name in names]
        return np.concatenate(parts, axis=2), seconds

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
    """nutpie, calling the same compiled log density; `None` where it is not installed."""
    if importlib.util.find_spec("nutpie") is None:
        return None
    import nutpie as peer
    from nutpie.compiled_pyfunc import from_pyfunc

    target = bk.Target(bk.bind(model, data))
    gradient = jax.jit(jax.value_and_grad(lambda flat: target.log_density(target.unravel(flat))))
    first = np.asarray(target.ravel({n: v[0] for n, v in find_start(target, jax.random.key(0), 1).items()}))
    jax.block_until_ready(gradient(first))

    def make_log_density() -> Callable:
        def log_density(position: np.ndarray) -> tuple[float, np.ndarray]:
            value, slope = gradient(position)
            return float(value), np.asarray(slope)

        return log_density

    def make_expand(*_: object) -> Callable:
        return lambda position: {"z": position}

    shape = (target.size,)
    compiled = from_pyfunc(target.size, make_log_density, make_expand, [np.dtype("float64")], [shape], ["z"])

    def sample(seed: int) -> tuple[np.ndarray, float]:
        settings = {"draws": DRAWS, "tune": WARMUP, "chains": CHAINS, "cores": 2, "seed": seed}
        start = time.perf_counter()
        trace = peer.sample(compiled, progress_bar=False, save_warmup=False, **settings)
        seconds = time.perf_counter() - start
        return np.asarray(trace.posterior["z"].values), seconds

    return sample


def _compile_time():  # noqa: ANN202
    from bayeskit.inference.driver import compile_time

    return compile_time()
