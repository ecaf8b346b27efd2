"""What methods share that take particles from the prior to the posterior through powers of the likelihood."""

from __future__ import annotations

from typing import Any, ClassVar

import jax
import jax.numpy as jnp

from bayeskit._settings import check_choice, is_number, require
from bayeskit._typing import Array
from bayeskit.inference.smc.moves import MOVES, Budget, Moved, Particles, Plan, move
from bayeskit.inference.smc.particles import ParticleMethod, check_whole
from bayeskit.inference.smc.split import check_prior, check_split
from bayeskit.target import Target

__all__ = ["TemperedMethod", "move_runs"]


class TemperedMethod(ParticleMethod):
    """Settings of the particles and their moves."""

    how_to_improve: ClassVar[str] = (
        "more particles (num_particles), more moves at each stage (num_moves, max_moves), and more runs (num_chains); "
        "there is no warmup, and runs start from the prior."
    )

    most_ess: ClassVar[float] = 1.0
    """What the particles can be worth, as a multiple of their number."""

    num_particles: int
    target_ess: float
    kernel: str
    num_moves: int | None
    max_moves: int | None
    max_stages: int
    particles_at_once: int | None

    def __post_init__(self) -> None:
        check_whole("num_particles", self.num_particles, 10)
        check_whole("num_chains", self.num_chains, 1)
        share, most = self.target_ess, self.most_ess
        require(is_number(share) and 0 < share < most, "target_ess", share, f"between 0 and {most:g}")
        check_choice("kernel", self.kernel, tuple(MOVES))
        for name in ("num_moves", "max_moves", "particles_at_once"):
            if getattr(self, name) is not None:
                check_whole(name, getattr(self, name), 1)
        check_whole("max_stages", self.max_stages, 1)

    @property
    def num_warmup(self) -> int:  # type: ignore[override]
        """None: the stages are as many as it takes."""
        return 0

    @property
    def num_draws(self) -> int:  # type: ignore[override]
        """The particles."""
        return self.num_particles

    @property
    def plan(self) -> Plan:
        """How particles are moved."""
        return Plan(self.kernel, self.particles_at_once)

    @property
    def budget(self) -> Budget:
        """How often."""
        if self.num_moves is not None:
            return Budget(self.num_moves, self.num_moves)
        return Budget(2, self.max_moves or (30 if self.kernel == "hmc" else 300))

    def check_target(self, target: Target) -> None:
        super().check_target(target)
        check_split(target, type(self).__name__)
        check_prior(target, type(self).__name__)


def move_runs(
    plan: Plan,
    target: Target,
    budget: Budget,
    keys: Array,
    start: Particles,
    temperature: Array,
    factor: Array,
    log_step: Array,
) -> Moved:
    """Move the particles of each run."""

    def one(*run: Any) -> Moved:
        return move(plan, target, budget, *run)

    return jax.vmap(one)(jnp.asarray(keys), start, temperature, factor, log_step)
