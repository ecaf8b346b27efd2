"""Samplers and particles on one device, for the rows of `gpu.py`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

import bayeskit as bk
from benchmarks import peers
from benchmarks.gpu_work import Contestant, Missing, Work, need, timed
from benchmarks.nuts_row import columns, ess


def sampler(make: Callable[[], peers.Sampler]) -> Contestant:
    """Counted by the smallest bulk effective sample size of any parameter."""

    def made() -> Callable[[], Work]:
        sample = make()

        def run() -> Work:
            drawn = sample(0)

            def found() -> tuple[float, str]:
                least = min(ess(column, "bulk") for column in columns(drawn.draws))
                return least, f"{drawn.gradients:.0f} gradients a draw, {drawn.divergences} divergences"

            return Work(drawn.seconds, found)

        return run

    return made


def by_numpyro(model: Callable, data: dict, length: peers.Length) -> Contestant:
    return sampler(lambda: peers.numpyro(model, data, peers.latent_sites(model, data), "vectorized", length))


def by_bayeskit(model: Callable, data: dict, method: object) -> Contestant:
    return sampler(lambda: peers.by_method(model, data, peers.latent_sites(model, data), method))


def smc(model: Callable, data: dict, num_particles: int) -> Contestant:
    """`bk.SMC` with one run, counted by particles; the evidence beside it."""

    def made() -> Callable[[], Work]:
        if not hasattr(bk, "SMC"):
            raise Missing("this bayeskit has no SMC")
        method = bk.SMC(num_particles=num_particles, num_chains=1)
        return lambda: timed(
            lambda: bk.infer(model, data, method, key=0, progress=False),
            lambda post: (num_particles, f"log evidence {post.attrs['log_evidence']:.2f}"),
        )

    return made


def blackjax_smc(model: Callable, data: dict, num_particles: int) -> Contestant:
    """BlackJAX's adaptive tempering at the same share of effective particles, with ten moves of HMC a stage.

    The step size is fixed, as in BlackJAX's documentation: .02 for ten leapfrogs. Latent sites must be real numbers.
    """

    def made() -> Callable[[], Work]:
        need("blackjax")
        import blackjax
        from blackjax.smc import extend_params, resampling
        from numpyro import handlers

        arrays, rest = peers.split(data)

        def parts(z: dict, arrays: dict) -> tuple[jax.Array, jax.Array]:
            """Log prior and log likelihood."""
            seeded = handlers.seed(handlers.substitute(model, z), 0)
            trace = handlers.trace(seeded).get_trace(**arrays, **rest)
            sums = [jnp.zeros(()), jnp.zeros(())]
            for site in trace.values():
                if site["type"] == "sample":
                    sums[site["is_observed"]] += jnp.sum(site["fn"].log_prob(site["value"]))
            return sums[0], sums[1]

        def draw(key: jax.Array, arrays: dict) -> dict:
            trace = handlers.trace(handlers.seed(model, key)).get_trace(**arrays, **rest)
            return {n: s["value"] for n, s in trace.items() if s["type"] == "sample" and not s["is_observed"]}

        def run(key: jax.Array, arrays: dict) -> tuple[Any, jax.Array, jax.Array]:
            prior_key, key = jax.random.split(key)
            start = jax.vmap(draw, (0, None))(jax.random.split(prior_key, num_particles), arrays)
            size = sum(leaf[0].size for leaf in start.values())
            algorithm = blackjax.adaptive_tempered_smc(
                lambda z: parts(z, arrays)[0],
                lambda z: parts(z, arrays)[1],
                blackjax.hmc.build_kernel(),
                blackjax.hmc.init,
                extend_params({"step_size": 0.02, "inverse_mass_matrix": jnp.ones(size), "num_integration_steps": 10}),
                resampling.systematic,
                0.7,
                num_mcmc_steps=10,
            )

            def stage(carry: tuple) -> tuple:
                state, key, log_evidence, number = carry
                now, key = jax.random.split(key)
                state, info = algorithm.step(now, state)
                return state, key, log_evidence + info.log_likelihood_increment, number + 1

            begin = (algorithm.init(start), key, jnp.zeros(()), 0)
            done = jax.lax.while_loop(lambda carry: carry[0].tempering_param < 1, stage, begin)
            return done[0].particles, done[2], done[3]

        compiled = jax.jit(run)
        return lambda: timed(
            lambda: compiled(jax.random.key(0), arrays),
            lambda out: (num_particles, f"log evidence {float(out[1]):.2f}, {int(out[2])} stages"),
        )

    return made
