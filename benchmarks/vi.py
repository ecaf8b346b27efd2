"""One gradient step of a variational autoencoder: bayeskit, the same by hand in JAX, and NumPyro's `SVI.update`.

    python benchmarks/vi.py [--rounds 60]

784-400-20, batches of 64 to 1,024, float32, Adam. The three take turns in one process; medians of the seconds of a
step, and their ratios. Compile time apart.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import optax
from numpyro import optim
from numpyro.infer import SVI, Trace_ELBO

import bayeskit as bk

PIXELS, HIDDEN, LATENT, RATE = 784, 400, 20, 1e-3
Parameters = dict[str, jax.Array]
State = tuple[Parameters, object]


def parameters() -> Parameters:
    shapes = {"e1": (PIXELS, HIDDEN), "e2": (HIDDEN, 2 * LATENT), "d1": (LATENT, HIDDEN), "d2": (HIDDEN, PIXELS)}
    keys = jax.random.split(jax.random.key(0), len(shapes))
    return {n: jax.random.normal(k, s) / s[0] ** 0.5 for k, (n, s) in zip(keys, shapes.items(), strict=True)}


def encode(p: Parameters, x: jax.Array) -> tuple[jax.Array, jax.Array]:
    out = jax.nn.relu(x @ p["e1"]) @ p["e2"]
    return out[:, :LATENT], jnp.exp(out[:, LATENT:])


def decode(p: Parameters, z: jax.Array) -> jax.Array:
    return jax.nn.relu(z @ p["d1"]) @ p["d2"]


def model(p: Parameters, x: jax.Array) -> None:
    with numpyro.plate("image", len(x)):
        z = numpyro.sample("z", dist.Normal(jnp.zeros(LATENT), 1.0).to_event(1))
        numpyro.sample("x", dist.Bernoulli(logits=decode(p, z)).to_event(1), obs=x)


def guide(p: Parameters, x: jax.Array) -> None:
    loc, scale = encode(p, x)
    with numpyro.plate("image", len(x)):
        numpyro.sample("z", dist.Normal(loc, scale).to_event(1))


def by_hand(key: jax.Array, p: Parameters, x: jax.Array) -> jax.Array:
    loc, scale = encode(p, x)
    noise = jax.random.normal(key, loc.shape)
    z = loc + scale * noise
    logits = decode(p, z)
    log_likelihood = jnp.sum(x * logits - jax.nn.softplus(logits))
    return log_likelihood - jnp.sum(0.5 * z**2 - jnp.log(scale) - 0.5 * noise**2)


def with_bayeskit(key: jax.Array, p: Parameters, x: jax.Array) -> jax.Array:
    return bk.expectation(bk.objectives.ELBO())(key, lambda: model(p, x), lambda: guide(p, x))


def step(objective: Callable) -> Callable:
    """One step of Adam, compiled."""
    optimizer = optax.adam(RATE)

    def advance(key: jax.Array, state: State, x: jax.Array) -> tuple[State, jax.Array]:
        p, moments = state
        value, gradient = jax.value_and_grad(lambda p: -objective(key, p, x))(p)
        updates, moments = optimizer.update(gradient, moments)
        return (optax.apply_updates(p, updates), moments), value

    return jax.jit(advance)


def numpyro_step() -> tuple[Callable, Callable]:
    """`SVI.update`, compiled, and what makes its state."""

    def registered(x: jax.Array, program: Callable) -> None:
        program({name: numpyro.param(name, value) for name, value in parameters().items()}, x)

    programs = (lambda x: registered(x, model)), (lambda x: registered(x, guide))
    svi = SVI(*programs, optim.optax_to_numpyro(optax.adam(RATE)), Trace_ELBO())
    update = jax.jit(lambda state, x: svi.update(state, x))
    return update, lambda x: svi.init(jax.random.key(0), x)


def timed(run: Callable) -> float:
    start = time.perf_counter()
    jax.block_until_ready(run())
    return time.perf_counter() - start


def row(batch: int, rounds: int) -> str:
    """One line of the table."""
    x = jnp.asarray(np.random.default_rng(0).integers(0, 2, (batch, PIXELS)), jnp.float32)
    state, key = (parameters(), optax.adam(RATE).init(parameters())), jax.random.key(1)
    ours, hand = step(with_bayeskit), step(by_hand)
    update, init = numpyro_step()
    peer = init(x)
    runs = (lambda: ours(key, state, x)), (lambda: hand(key, state, x)), (lambda: update(peer, x))
    compiling = [timed(run) for run in runs]
    seconds = np.array([[timed(run) for run in runs] for _ in range(rounds)])
    mine, theirs, peers = 1e3 * np.median(seconds, axis=0)
    line = f"{batch:6}{mine:13.2f}{theirs:12.2f}{peers:12.2f}{mine / theirs:11.3f}{mine / peers:11.3f}"
    return line + "{:11.2f}{:9.2f}{:9.2f}".format(*compiling)


def main() -> None:
    """Print one line a batch size."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=60)
    rounds = parser.parse_args().rounds
    head = f"{'batch':>6}{'bayeskit ms':>13}{'by hand ms':>12}{'NumPyro ms':>12}{'/ by hand':>11}{'/ NumPyro':>11}"
    print(head + f"{'compile s':>11}{'by hand':>9}{'NumPyro':>9}")
    for batch in (64, 256, 1024):
        print(row(batch, rounds), flush=True)


if __name__ == "__main__":
    main()
