r"""The Laplace approximation of a program as a program: a proposal for `marginal` and `normalize`.

For latent sites with unconstrained values $v$ and log density $h(v)$, Jacobians included, it draws
$v \sim N(\hat v, (-\nabla^2 h(\hat v))^{-1})$ with $\hat v = \arg\max h$ (Tierney and Kadane 1986). Gradients pass
$\hat v$ by the implicit function theorem.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpyro.distributions as dist
from numpyro import handlers
from numpyro.distributions import biject_to

from bayeskit._typing import Array, Values
from bayeskit.errors import ModelError
from bayeskit.inference.vi.programs.importance_sampling import ImportanceSampling
from bayeskit.inference.vi.programs.integrator import Integrator, check_count
from bayeskit.inference.vi.programs.resampling import SIR
from bayeskit.numerics.mode import find_mode
from bayeskit.program.draw import choose
from bayeskit.program.execution import current_level
from bayeskit.program.runnable import Runnable, WeightedProgram, detach, name_of_program
from bayeskit.target.density import run_trace, split, total
from bayeskit.target.given import pull_back

__all__ = ["LaplaceApproximation", "LaplaceProposal"]

SITE = "unconstrained"


@dataclass(frozen=True)
class LaplaceProposal(Integrator):
    r"""Propose from the Laplace approximation: a normal distribution at the mode, with the inverse curvature there.

    For :func:`marginal` it is that of the hidden choices given the kept ones, and importance sampling does the rest;
    for :func:`normalize` it is that of the posterior, and resampling does. Bounds stay bounds, whatever the shape
    of the posterior. The mode is sought by Newton's method from the image of zero, at every use; where none is found
    that is smooth (at a kink, say) the density is not a number.

    Args:
        num_particles: :math:`K`.

    Reference: Tierney and Kadane (1986), "Accurate approximations for posterior moments and marginal densities".
    """

    num_particles: int = 1

    def __post_init__(self) -> None:
        check_count(self.num_particles)

    def marginal(self, program: Runnable, keep: tuple[str, ...]) -> WeightedProgram:
        return ImportanceSampling(self.num_particles, partial(LaplaceApproximation, program)).marginal(program, keep)

    def normalize(self, program: Runnable) -> WeightedProgram:
        return SIR(self.num_particles, LaplaceApproximation(program)).normalize(program)


class LaplaceApproximation(WeightedProgram):
    """The Laplace approximation of the latent sites of a program that are not given."""

    def __init__(self, program: Runnable, given: Values | None = None):
        if isinstance(program, WeightedProgram):
            raise ModelError(
                f"the density of {program.__name__!r} is estimated, so it has no mode to be found; use "
                "bayeskit.integrators.ImportanceSampling(...) or bayeskit.integrators.SIR(...)"
            )
        self._program, self._given = program, dict(given or {})
        self.__name__ = f"Laplace approximation of {name_of_program(program)}"
        self._conditioned = handlers.substitute(program, data=self._given)
        self._shapes = self._look()

    def draw(self) -> tuple[Values, Array]:
        q = self._normal()
        vector = choose(current_level(self.__name__), SITE, q, None)
        values, log_det = self._constrain(vector)
        return values, jnp.asarray(q.log_prob(vector)) - log_det

    def log_density(self, choices: Values) -> Array:
        if set(choices) != set(self._shapes):
            given, wanted = sorted(choices), sorted(self._shapes)
            raise ModelError(f"{self.__name__!r} has the sites {wanted}, and the choices given are {given}")
        unconstrained, _ = pull_back(self._conditioned, {}, choices)
        vector = jnp.concatenate([jnp.ravel(unconstrained[name]) for name in self._shapes])
        return jnp.asarray(self._normal().log_prob(vector)) - self._constrain(vector)[1]

    def detached(self) -> LaplaceApproximation:
        return LaplaceApproximation(detach(self._program), self._given)

    def _look(self) -> dict[str, tuple[int, ...]]:
        """Unconstrained shapes of the latent sites that are not given."""
        shapes: dict[str, tuple[int, ...]] = {}

        def look() -> None:
            with handlers.block(), handlers.seed(rng_seed=jax.random.PRNGKey(0)):
                trace = handlers.trace(self._conditioned).get_trace()
            for name, site in trace.items():
                if site["type"] != "sample" or site["is_observed"] or name in self._given:
                    continue
                if site["fn"].support.is_discrete:
                    raise ModelError(
                        f"site {name!r} of {name_of_program(self._program)!r} is discrete, and has no Laplace "
                        "approximation; keep it, or use bayeskit.integrators.Exact() or ImportanceSampling(...)"
                    )
                shapes[name] = tuple(biject_to(site["fn"].support).inverse_shape(jnp.shape(site["value"])))

        jax.eval_shape(look)
        if not shapes:
            raise ModelError(f"{name_of_program(self._program)!r} has no latent site left to approximate")
        return shapes

    def _sites(self, vector: Array) -> dict[str, Any]:
        values, start = {}, 0
        for name, shape in self._shapes.items():
            stop = start + math.prod(shape)
            values[name] = vector[start:stop].reshape(shape)
            start = stop
        with handlers.block():
            return run_trace(self._conditioned, values)

    def _log_joint(self, vector: Array) -> Array:
        # supports that move are not looked at: a proposal may reach beyond them, and its weight there is zero
        terms = split(self._sites(vector), frozenset())
        return total(terms.prior) + total(terms.jacobian) + total(terms.likelihood)

    def _constrain(self, vector: Array) -> tuple[Values, Array]:
        sites = self._sites(vector)
        values = {name: jnp.asarray(sites[name]["value"]) for name in self._shapes}
        return values, total(split(sites, frozenset()).jacobian)

    def _normal(self) -> dist.MultivariateNormal:
        mode = find_mode(self._log_joint, jnp.zeros(sum(map(math.prod, self._shapes.values()))))
        # a gradient by the implicit function theorem would be wrong at a kink, and where the search has failed
        return dist.MultivariateNormal(jnp.where(mode.is_mode, mode.position, jnp.nan), precision_matrix=mode.precision)
