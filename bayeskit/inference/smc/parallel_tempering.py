"""Non-reversible parallel tempering."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Generator
from functools import cache, partial
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from bayeskit._keys import host_split
from bayeskit._typing import Array, Values
from bayeskit.inference.method import Draws, Method, check_accept, check_counts
from bayeskit.inference.smc.evidence import pooled
from bayeskit.inference.smc.ladder import equalised, first_ladder, stepping_stones
from bayeskit.inference.smc.moves import Particles, has_correlations, spread
from bayeskit.inference.smc.particles import check_whole, chunk_of, compiled, constrained
from bayeskit.inference.smc.replicas import BLOCKS, Plan, Rung, TemperedState, one_step
from bayeskit.inference.smc.split import check_prior, check_split, parts
from bayeskit.target import Target


@dataclasses.dataclass(frozen=True, kw_only=True)
class ParallelTempering(Method):
    r"""Parallel tempering: chains at a ladder of temperatures from prior to posterior that exchange their places.

    Level :math:`k` has the density :math:`p(z)\, p(y \mid z)^{\beta_k}`, :math:`0 = \beta_1 < \dots < \beta_K = 1`. A
    step moves each level by a trajectory of Hamiltonian Monte Carlo, the first by a fresh draw of the prior, and then
    proposes to swap neighbours, levels :math:`(1, 2), (3, 4), \dots` and :math:`(2, 3), (4, 5), \dots` in turn,
    accepted with probability
    :math:`\min(1, p(y \mid z_{k+1})^{\beta_k - \beta_{k+1}}\, p(y \mid z_k)^{\beta_{k+1} - \beta_k})`. So draws of the
    prior travel straight to the posterior, and modes are visited in proportion to their weights. The temperatures are
    adapted during warmup such that all swaps are rejected equally often.

    ``post.attrs`` holds ``round_trips`` and ``arrivals`` (of draws of the prior at the posterior) of all chains
    together, ``barrier``, the sum of the rejection rates of one ladder, ``swap_rate``, the smallest acceptance rate of
    a pair, and ``log_evidence`` with ``log_evidence_error``, by stepping stones (the error is infinite
    where the draws are too few to find it). About twice the barrier is a good
    number of temperatures.

    Args:
        num_chains: independent ladders.
        num_temperatures: levels of each.
        num_warmup: steps of adaptation.
        num_draws: draws a chain.
        moves_per_draw: trajectories at each level between swaps.
        target_accept: acceptance rate that the step sizes are tuned to.

    Raises:
        MethodError: an impossible setting.
        ModelError: when it runs: a prior that is improper, scaled, masked or cannot be drawn from; discrete sites that
            cannot be separated from the prior.

    Example:
        >>> import jax.numpy as jnp, numpyro, numpyro.distributions as dist
        >>> import bayeskit as bk
        >>> def model(y):  # of mu only the square is seen
        ...     mu = numpyro.sample("mu", dist.Normal(0.0, 5.0))
        ...     numpyro.sample("y", dist.Normal(mu**2, 1.0), obs=y)
        >>> method = bk.ParallelTempering(num_chains=2, num_temperatures=6, num_warmup=200, num_draws=500)
        >>> post = bk.infer(model, {"y": 9.0}, method, key=0, progress=False)
        >>> bool(0.3 < (post["posterior/mu"] > 0).mean() < 0.7), post.attrs["round_trips"] > 10
        (True, True)

    Reference: Syed, Bouchard-Côté, Deligiannidis and Doucet (2022), "Non-reversible parallel tempering: a scalable
    highly parallel MCMC scheme".
    """

    kind: ClassVar[str] = "parallel_tempering"

    num_chains: int = 4
    num_temperatures: int = 12
    num_warmup: int = 2000
    num_draws: int = 1000
    moves_per_draw: int = 1
    target_accept: float = 0.8

    def __post_init__(self) -> None:
        check_counts(self)
        check_whole("num_temperatures", self.num_temperatures, 2)
        check_whole("moves_per_draw", self.moves_per_draw, 1)
        check_accept(self.target_accept)

    @property
    def warmup_steps(self) -> int:
        return 0

    def check_target(self, target: Target) -> None:
        super().check_target(target)
        check_split(target, "ParallelTempering")
        check_prior(target, "ParallelTempering")

    @property
    def _plan(self) -> Plan:
        return Plan(self.moves_per_draw, self.target_accept, self.num_draws)

    @property
    def _rounds(self) -> list[int]:
        """Of each round of adaptation, how many chunks of a run it takes, twice as many as the one before.

        In chunks, so that one program serves warmup and draws.
        """
        left, rounds = math.ceil(self.num_warmup / chunk_of(self.num_draws)), list[int]()
        while left > 0:
            size = 2 ** len(rounds)
            rounds.append(left if left < 3 * size else size)  # what is too little for a round goes to the last
            left -= rounds[-1]
        return rounds

    def init(self, key: Array, target: Target, positions: Values) -> TemperedState:
        chains, levels = self.num_chains, self.num_temperatures
        keys = host_split(np.asarray(key), chains)
        particle = jax.tree.map(np.asarray, compiled(_start)(levels, target, positions))
        dtype, size = particle.position.dtype, target.size
        shape = (size, size) if has_correlations(self.num_chains * self.num_draws // 4, size) else (size,)
        unit = np.eye(size) if len(shape) == 2 else np.ones(size)
        zero = np.zeros((chains, levels - 1))
        fields: dict[str, Any] = {
            "key": keys,
            "step": np.zeros(chains, np.int32),
            "rungs": _rungs(
                np.broadcast_to(first_ladder(levels).astype(dtype), (chains, levels)),
                particle,
                np.broadcast_to(unit.astype(dtype), (chains, levels, *shape)),
                np.full((chains, levels), -1.0, dtype),
            ),
            "replica": np.broadcast_to(np.arange(levels, dtype=np.int32), (chains, levels)),
            "came_from": np.zeros((chains, levels), np.int32),
            "arrivals": np.zeros(chains, np.int32),
            "round_trips": np.zeros(chains, np.int32),
            "rejected": zero.astype(dtype),
            "tried": zero.astype(dtype),
            "log_sums": np.full((chains, BLOCKS, levels - 1), -np.inf, dtype),
            "counts": np.zeros((chains, BLOCKS), np.int32),
            "drawn": np.zeros(chains, np.int32),
            "undefined": np.zeros(chains, np.int32),
            "rounds": np.zeros(chains, np.int32),
        }
        return TemperedState(**fields)

    def stages(self, state: Any, target: Target) -> Generator[tuple[TemperedState, str], None, None]:
        rounds, run = self._rounds, compiled(_steps(chunk_of(self.num_draws)))
        for index in range(int(state.rounds[0]), len(rounds)):
            made = []
            for _ in range(rounds[index]):
                state, (positions, _) = run(self._plan, target, state, True)
                made.append(np.asarray(positions))
            state, barrier = self._adapted(jax.tree.map(np.asarray, state), np.concatenate(made, 1))
            yield state, f"round {index + 1} of {len(rounds)}: barrier {barrier:.2f}"
        yield state, ""

    def _adapted(self, state: Any, positions: np.ndarray) -> tuple[TemperedState, float]:
        """Temperatures, the same for all chains, and metrics, after a round; the counts begin anew."""
        rejection = state.rejected.sum(0) / np.maximum(state.tried.sum(0), 1)
        rungs = state.rungs
        factors = np.array(rungs.factor)
        last = positions[:, positions.shape[1] // 2 :]
        together = last.reshape(-1, *last.shape[2:])
        if len(together) >= 20:
            for level in range(self.num_temperatures):
                factor = spread(together[:, level])
                # chains and their draws are alike but not independent: correlations of few of them are noise
                if factors.ndim == 4 and factor.ndim == 1:
                    factor = np.diag(factor)
                factors[:, level] = factor if factors.ndim == 4 or factor.ndim == 1 else np.sqrt((factor**2).sum(1))
        temperatures = equalised(np.asarray(rungs.temperature[0], float), np.asarray(rejection, float))
        new = np.broadcast_to(temperatures.astype(rungs.temperature.dtype), rungs.temperature.shape)
        none = np.zeros_like(state.rejected)
        state = state._replace(
            rungs=rungs._replace(temperature=new, factor=factors),
            rejected=none,
            tried=none,
            came_from=np.zeros_like(state.came_from),
            rounds=state.rounds + np.int32(1),
        )
        return state, float(rejection.sum())

    def advance(self, state: Any, target: Target, num_steps: int) -> tuple[TemperedState, Draws]:
        state, (positions, stats) = compiled(_steps(num_steps))(self._plan, target, state, False)
        last = positions[:, :, -1]
        return state, Draws(constrained(target, last), stats, last)

    def found(self, state: Any) -> dict[str, float]:
        rejection = np.asarray(state.rejected).sum(0) / np.maximum(np.asarray(state.tried).sum(0), 1)
        stones = [
            stepping_stones(np.asarray(one, float), np.asarray(count))
            for one, count in zip(state.log_sums, state.counts, strict=True)
        ]
        estimates, errors = (np.array(column) for column in zip(*stones, strict=True))
        evidence = pooled(estimates, errors, unbiased=False)
        undefined = float(np.max(state.undefined / np.maximum(state.drawn, 1)))
        return {
            **evidence,
            **({"undefined_likelihood": undefined} if undefined else {}),
            "round_trips": float(np.sum(state.round_trips)),
            "arrivals": float(np.sum(state.arrivals)),
            "barrier": float(rejection.sum()),
            "swap_rate": float(1.0 - rejection.max()),
        }


def _rungs(*leaves: Any) -> Rung:
    return Rung(*leaves)


def _start(levels: int, target: Target, positions: Values) -> Particles:
    def one(values: Values) -> Particles:
        position = target.ravel(values)
        particle = Particles(position, *parts(target, position))
        return jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, (levels, *leaf.shape)), particle)

    return jax.vmap(one)(positions)


@cache
def _steps(num_steps: int) -> Any:
    return partial(_run, num_steps=num_steps)


def _run(plan: Plan, target: Target, state: TemperedState, warm: bool, *, num_steps: int) -> Any:
    """Steps of all chains: positions of all levels, and the statistics of the last."""

    def step(state: TemperedState, _: None) -> Any:
        return one_step(plan, target, state, jnp.asarray(warm))

    def one_chain(state: TemperedState) -> Any:
        return jax.lax.scan(step, state, None, length=num_steps)

    return jax.vmap(one_chain)(jax.tree.map(jnp.asarray, state))
