"""Marginals by exact sums over finite supports."""

from __future__ import annotations

import math
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from numpyro import handlers

from bayeskit._typing import Array, Values
from bayeskit.errors import ModelError
from bayeskit.inference.vi.programs.integrator import Integrator
from bayeskit.inference.vi.programs.kept import check_kept, split
from bayeskit.program.density import log_density
from bayeskit.program.draw import draw
from bayeskit.program.runnable import Runnable, WeightedProgram, detach, name_of_program
from bayeskit.program.sites import elements
from bayeskit.program.weights import number_of

__all__ = ["Exact", "ExactMarginal"]


@dataclass(frozen=True)
class Exact(Integrator):
    """Sum hidden choices with finite supports out.

    Args:
        max_combinations: more combinations of values than this are refused.
    """

    max_combinations: int = 4096

    def marginal(self, program: Runnable, keep: tuple[str, ...]) -> WeightedProgram:
        return ExactMarginal(program, keep, self)


class ExactMarginal(WeightedProgram):
    """A marginal whose density is known."""

    def __init__(self, program: Runnable, keep: tuple[str, ...], using: Exact):
        self.program, self.keep, self.using = program, keep, using
        self.__name__ = f"marginal of {name_of_program(program)}"

    def draw(self) -> tuple[Values, Array]:
        kept, _ = split(self.program, self.keep, draw(self.program)[0])
        return kept, self._sum(kept)

    def log_density(self, choices: Values) -> Array:
        check_kept(self.__name__, self.keep, choices)
        return self._sum(choices)

    def detached(self) -> ExactMarginal:
        return ExactMarginal(detach(self.program), self.keep, self.using)

    def _sum(self, kept: Values) -> Array:
        combinations = _combinations(self.program, kept, self.using)
        return jax.nn.logsumexp(jax.vmap(lambda u: number_of(log_density(self.program, {**kept, **u})))(combinations))


def _combinations(program: Runnable, kept: Values, using: Exact) -> Values:
    """All values of the hidden choices, with a leading axis."""
    supports: dict[str, tuple[np.ndarray, tuple[int, ...]]] = {}

    def look() -> None:
        seeded = handlers.seed(handlers.substitute(program, data=kept), jax.random.PRNGKey(0))
        with handlers.block():
            trace = handlers.trace(seeded).get_trace()
        for name, site in trace.items():
            if site["type"] != "sample" or site["is_observed"] or name in kept:
                continue
            single = elements(site["fn"])
            if not site["fn"].has_enumerate_support or single.event_dim:
                raise ModelError(
                    f"site {name!r} of {name_of_program(program)!r} has no finite support to sum over; use "
                    "bayeskit.integrators.ImportanceSampling(...), or keep it"
                )
            with jax.ensure_compile_time_eval():
                supports[name] = np.asarray(single.enumerate_support(expand=False)).reshape(-1), single.batch_shape

    jax.eval_shape(look)
    sizes = [len(support) for support, shape in supports.values() for _ in range(math.prod(shape))]
    limit = using.max_combinations
    if math.prod(sizes) > limit:
        raise ModelError(f"{', '.join(map(repr, supports))}: {math.prod(sizes)} combinations, more than {limit}")
    index = np.indices(tuple(sizes)).reshape(len(sizes), -1).T
    out, start = {}, 0
    for name, (support, shape) in supports.items():
        stop = start + math.prod(shape)
        out[name] = jnp.asarray(support[index[:, start:stop]].reshape(-1, *shape))
        start = stop
    return out
