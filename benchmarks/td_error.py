"""What errors with a shape gain on chains whose values are known, and whether posteriors over values are honest.

    python benchmarks/td_error.py [--what variance efficiency coverage] [--replications 100] [--seed 0]

variance    relative mean squared error of two estimators of a variance from five values: the sample variance, and the
            multiple of least mean squared error with the true kurtosis
efficiency  19-state random walk, discount .9, Laplace noise on rewards: mean squared error of the values over states
            by TD with squared errors over that with a generalised Gaussian, after the same steps. In theory it is 2 for
            Laplace errors; those of a TD error are, where the noise is large beside the steps between values
coverage    the same walk: the share of values in the central intervals of 90% of the posterior of `value_model`, by
            NUTS, over replications; and of standard errors of LSTD. With noise that is larger than the steps between
            values, and smaller, so that transitions are what is random

float64. A standard error is over replications.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import blackjax
import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
from numpyro.infer.util import log_density

jax.config.update("jax_enable_x64", True)

from bayeskit.models import td_error
from bayeskit.models.td_error.value_model import pilot_of, sites

WARMUP, DRAWS = 300, 300
Z90 = 1.6448536


def variance(replications: int, seed: int) -> None:
    print("\nlaw       sample variance   with factor")
    for name, law, kurtosis in (("normal", dist.Normal(0.0, 1.0), 0.0), ("Laplace", dist.Laplace(0.0, 0.5**0.5), 3.0)):
        values = law.sample(jax.random.key(seed), (5, 2000 * replications))
        plain = jnp.mean((jnp.var(values, axis=0, ddof=1) - 1) ** 2)
        ours = jnp.mean((td_error.ensemble_variance(values, kurtosis) - 1) ** 2)
        print(f"{name:10}{plain:15.3f}{ours:14.3f}")


def efficiency(replications: int, seed: int, num_steps: int, num_passes: int, scale: float) -> None:
    walk = td_error.random_walk(19, 0.9)
    truth = walk.values

    def one(key: jax.Array) -> list[jax.Array]:
        chain = walk.simulate(num_steps, noise=dist.Laplace(0.0, scale), key=key)
        found = [td_error.evaluate(chain, name, num_passes=num_passes) for name in ("td", "generalized_gaussian")]
        return [jnp.mean((value.weights - truth) ** 2) for value in (*found, td_error.evaluate(chain, "lstd"))]

    keys = jax.random.split(jax.random.key(seed), replications)
    squared, shaped, exact = map(np.asarray, jax.jit(lambda keys: jax.lax.map(one, keys))(keys))
    again = np.random.default_rng(0).integers(replications, size=(1000, replications))
    error = (squared[again].mean(axis=1) / shaped[again].mean(axis=1)).std()
    print(f"\nLaplace({scale:g}), {num_steps} transitions, {num_passes} passes, {replications} replications")
    print(f"TD {squared.mean():.5f}   LSTD {exact.mean():.5f}   generalised Gaussian {shaped.mean():.5f}")
    print(f"TD over generalised Gaussian {squared.mean() / shaped.mean():.3f} +- {error:.3f}")


def inside(
    walk: td_error.MarkovChain, num_steps: int, noise: dist.Distribution, varies: bool
) -> Callable[..., list[jax.Array]]:
    """Whether values are in their intervals, by state: NUTS, and LSTD."""

    def one(key: jax.Array) -> list[jax.Array]:
        of_chain, of_nuts, of_draws = jax.random.split(key, 3)
        chain = walk.simulate(num_steps, noise=noise, key=of_chain)
        pilot, _ = pilot_of(chain)

        def log_prob(z: dict[str, jax.Array]) -> jax.Array:
            given = {"whitened": z["whitened"], "whitened_noise": z["noise"]}
            if varies:
                given |= {"scale_change_sd": jnp.exp(z["sd"]), "scale_change_decentered": z["change"]}
            arguments = (pilot, chain.discount, walk.features, None, varies, *chain.data.values())
            return log_density(sites, arguments, {}, given)[0] + (z["sd"] if varies else 0.0)

        start = {
            "whitened": jnp.zeros_like(pilot.weights),
            "noise": jnp.zeros(2),
        }
        if varies:
            start |= {"sd": jnp.asarray(-1.0), "change": jnp.zeros(len(pilot.weights))}
        adapt = blackjax.window_adaptation(blackjax.nuts, log_prob, initial_step_size=0.1)
        (state, settings), _ = adapt.run(of_nuts, start, num_steps=WARMUP)
        kernel = blackjax.nuts(log_prob, **settings).step
        draws = jax.lax.scan(
            lambda s, k: ((s := kernel(k, s)[0]), s.position["whitened"]), state, jax.random.split(of_draws, DRAWS)
        )[1]
        values = pilot.weights + draws @ pilot.root.T
        low, high = jnp.quantile(values, jnp.array([0.05, 0.95]), axis=0)
        exact = td_error.evaluate(chain, "lstd")
        near = jnp.abs(exact.weights - walk.values) < Z90 * exact.standard_errors(walk.features)
        return [(low < walk.values) & (walk.values < high), near]

    return one


def coverage(replications: int, seed: int, num_steps: int) -> None:
    print(f"\n{num_steps} transitions, {replications} replications; share of values in intervals of 90%")
    print("discount  noise         scale         posterior             LSTD  seconds")
    laws = {
        "Laplace(1)": dist.Laplace(0.0, 1.0),
        "normal(1)": dist.Normal(0.0, 1.0),
        "Laplace(.05)": dist.Laplace(0.0, 0.05),
    }
    rows = [(0.9, name, False) for name in laws] + [(0.9, "Laplace(.05)", True), (1.0, "Laplace(1)", False)]
    for discount, name, varies in rows:
        before = time.time()
        keys = jax.random.split(jax.random.key(seed), replications)
        one = inside(td_error.random_walk(19, discount), num_steps, laws[name], varies)
        found = map(np.asarray, jax.jit(lambda keys, one=one: jax.lax.map(one, keys))(keys))
        shares = [f"{each.mean():.3f} +- {each.mean(axis=1).std(ddof=1) / replications**0.5:.3f}" for each in found]
        scale = "varies" if varies else "one"
        print(
            f"{discount:8.1f}  {name:14}{scale:8}{shares[0]:>15}  {shares[1]:>15}{time.time() - before:9.0f}",
            flush=True,
        )


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--what", nargs="+", default=["variance", "efficiency", "coverage"])
    parser.add_argument("--replications", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--transitions", type=int, default=50_000, help="for the efficiency")
    parser.add_argument("--passes", type=int, default=10)
    parser.add_argument("--short", type=int, default=3000, help="transitions for the coverage")
    asked = parser.parse_args()
    if "variance" in asked.what:
        variance(asked.replications, asked.seed)
    if "efficiency" in asked.what:
        for scale in (5.0, 1.0):
            efficiency(asked.replications, asked.seed, asked.transitions, asked.passes, scale)
    if "coverage" in asked.what:
        coverage(asked.replications, asked.seed, asked.short)


if __name__ == "__main__":
    main()
