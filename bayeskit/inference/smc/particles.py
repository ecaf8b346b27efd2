"""Methods that end with particles, which `advance` deals out as draws."""

from __future__ import annotations

import math
from functools import cache
from typing import Any, ClassVar

import jax
import numpy as np

from bayeskit._settings import is_number, is_whole, require
from bayeskit._typing import Array, Values
from bayeskit.errors import SamplingError
from bayeskit.inference.driver import CHUNKS, MAX_CHUNK
from bayeskit.inference.method import OWN_START, Draws, Method
from bayeskit.target import Target
from bayeskit.xla.miscompilation import safe_jit


@safe_jit
def constrained(target: Target, positions: Array) -> Values:
    """Positions ``(chain, draw, size)`` in the model's coordinates."""
    return jax.vmap(jax.vmap(lambda position: target.constrain(target.unravel(position))))(positions)


@cache
def compiled(function: Any) -> Any:
    """The program of a function whose first argument is static."""
    return safe_jit(function, static_argnums=0)


def chunk_of(num_steps: int) -> int:
    """How many steps at a time the driver takes of so many, where none are warmup."""
    return min(MAX_CHUNK, max(1, math.ceil(num_steps / CHUNKS)))


class ParticleMethod(Method):
    """A method that is done when its stages are: the state has draws, `cursor` of which have been dealt out."""

    extends: ClassVar[bool] = False
    starts_from: ClassVar[str] = OWN_START

    how_to_improve: ClassVar[str]
    """What helps where the draws are too few or the runs disagree: a longer warmup and other starts there are not."""

    num_chains: int

    def attributes(self, target: Target) -> dict[str, str | int]:
        return {**super().attributes(target), "how_to_improve": self.how_to_improve}

    @property
    def warmup_steps(self) -> int:
        return 0

    def deal(self, state: Any) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        """All draws: positions ``(chain, draw, size)``, and their statistics ``(chain, draw)``."""
        raise NotImplementedError

    def advance(self, state: Any, target: Target, num_steps: int) -> tuple[Any, Draws]:
        positions, stats = self.deal(state)
        # the last chunk of a run may reach beyond its end; what lies there is not kept
        index = (int(state.cursor[0]) + np.arange(num_steps)) % positions.shape[1]
        chosen = jax.device_put(positions[:, index])
        values = constrained(target, chosen)
        new = state._replace(cursor=state.cursor + np.int32(num_steps))
        return new, Draws(values, jax.tree.map(lambda stat: stat[:, index], stats), chosen)


def check_finite_likelihood(log_likelihood: Array) -> None:
    """No likelihood is infinite.

    Raises:
        SamplingError: one is, so that there is no posterior.
    """
    infinite = np.isposinf(np.asarray(log_likelihood))
    if infinite.any():
        raise SamplingError(
            f"the likelihood is infinite at {infinite.mean():.2%} of the points, so that the "
            "posterior cannot be normalised; look for a division by zero, an overflow or a scale of zero in the model"
        )


def check_whole(name: str, value: object, least: int) -> None:
    """A setting is an integer of at least that."""
    require(is_whole(value) and value >= least, name, value, f"an integer of at least {least}")


def check_share(name: str, value: object) -> None:
    """A setting lies between 0 and 1."""
    require(is_number(value) and 0 < value < 1, name, value, "between 0 and 1")
