"""Annealed importance sampling as a bound: the guide's draws are moved to the posterior before they are weighed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpyro
import numpyro.distributions as dist
from jax.flatten_util import ravel_pytree

from bayeskit._settings import is_number, is_whole, require
from bayeskit._typing import Array, Values
from bayeskit.errors import ModelError
from bayeskit.inference.vi.objectives.objective import Number, Objective, check_count, known
from bayeskit.program import Runnable, draw, log_average_exp, log_density
from bayeskit.program.execution import Level, at, current_level

__all__ = ["AnnealedELBO"]

NAME, INSTEAD = "the annealed bound", "bayeskit.objectives.ImportanceWeightedELBO()"


@dataclass(frozen=True)
class AnnealedELBO(Objective):
    r"""The bound of annealed importance sampling from the guide, with Langevin moves (differentiable AIS).

    A draw :math:`z_0 \sim q` takes a step at each of :math:`M` temperatures on the way from the guide to the posterior,
    :math:`\log \pi_m = (1 - \tfrac mM) \log q(z) + \tfrac mM \log p(y, z)`:

    .. math:: z_m \sim F_m(\cdot \mid z_{m-1}) = N(z_{m-1} + \epsilon \nabla \log \pi_m(z_{m-1}), \; 2 \epsilon),

    and the way back, by the same kernels, makes its weight

    .. math:: \log w = \log p(y, z_M) - \log q(z_0) + \sum_{m=1}^M \log \frac{F_m(z_{m-1} \mid z_m)}{F_m(z_m \mid
              z_{m-1})}.

    :math:`\mathrm E\, w = p(y)` for every step size, so :math:`\mathrm E \log \frac1K \sum_k w_k` is a lower bound of
    :math:`\log p(y)`; with small steps at many temperatures it is tight. The gradient passes the moves. The guide
    itself is not moved: its draws are still those before the steps.

    Values are moved freely, so sites must be real; the automatic guides, over the unconstrained vector, are. One that
    leaves the support of its site has a weight of zero.

    Args:
        num_temperatures: :math:`M`.
        step_size: :math:`\epsilon`, in the square of the coordinates' unit.
        num_particles: :math:`K`.

    Raises:
        MethodError: an impossible setting.
        ModelError: when called: a choice of the guide is discrete, or a density is estimated.

    Example:
        >>> import jax, numpyro, numpyro.distributions as dist
        >>> import bayeskit as bk
        >>> def model():
        ...     z = numpyro.sample("z", dist.Normal(0.0, 1.0))
        ...     numpyro.sample("x", dist.Normal(z, 1.0), obs=1.2)
        >>> prior = lambda: numpyro.sample("z", dist.Normal(0.0, 1.0))
        >>> bound = bk.expectation(bk.objectives.AnnealedELBO(64, 0.02, num_particles=100))
        >>> bool(abs(jax.jit(lambda key: bound(key, model, prior))(0) + 1.6255) < 0.2)
        True

    Reference: Neal (2001), "Annealed importance sampling"; Thin, Kotelevskii, Doucet, Durmus, Moulines and Panov
    (2021), "Monte Carlo variational auto-encoders"; Zhang, Hsu, Li, Finn and Grosse (2021), "Differentiable
    annealed importance sampling and the perils of gradient noise".
    """

    kind: ClassVar[str] = "annealed_elbo"
    fits_model: ClassVar[bool] = True

    num_temperatures: int
    step_size: float
    num_particles: int = 1

    def __post_init__(self) -> None:
        check_count(self.num_particles)
        num, size = self.num_temperatures, self.step_size
        require(is_whole(num) and num >= 1, "num_temperatures", num, "a positive integer")
        require(is_number(size) and size > 0, "step_size", size, "a positive number")

    def __call__(self, model: Runnable, guide: Runnable) -> Number:
        return log_average_exp(self.num_particles, lambda: self._log_weight(model, guide))

    def _log_weight(self, model: Runnable, guide: Runnable) -> Array:
        level = current_level(NAME)
        choices, log_q = draw(guide)
        _check_real(choices)
        start, unravel = ravel_pytree(choices)
        path = level.next_path("annealed")

        def log_densities(z: Array) -> tuple[Array, Array]:
            # a level of its own each time, at one address: it may be differentiated, and subsampled rows stay the same
            with at(Level(level.key, path, {}, level.choose, is_draw=False)):
                pair = log_density(model, unravel(z)), log_density(guide, unravel(z))
            return known(pair[0], NAME, INSTEAD), known(pair[1], NAME, INSTEAD)

        def drift(z: Array, heat: Array) -> Array:
            def tempered(z: Array) -> Array:
                log_p, log_q = log_densities(z)
                return heat * log_p + (1.0 - heat) * log_q

            return self.step_size * jax.grad(tempered)(z)

        def move(carry: tuple[Array, Array], step: tuple[Array, Array]) -> tuple[tuple[Array, Array], None]:
            (z, log_w), (noise, heat) = carry, step
            moved = z + drift(z, heat) + jnp.sqrt(2.0 * self.step_size) * noise
            back = z - moved - drift(moved, heat)
            log_w = log_w + 0.5 * jnp.sum(noise**2) - jnp.sum(back**2) / (4.0 * self.step_size)
            return (moved, log_w), None

        num = self.num_temperatures
        noises = draw(lambda: numpyro.sample("noise", dist.Normal().expand([num, start.size]).to_event(2)))[0]["noise"]
        heats = jnp.arange(1, num + 1, dtype=start.dtype) / num
        first = start, -known(log_q, NAME, INSTEAD).astype(start.dtype)
        (end, log_w), _ = jax.lax.scan(move, first, (noises.astype(start.dtype), heats))
        return log_densities(end)[0] + log_w


def _check_real(choices: Values) -> None:
    for site, value in choices.items():
        if not jnp.issubdtype(value.dtype, jnp.floating):
            raise ModelError(
                f"site {site!r}: {NAME} moves values by a gradient, and this one is discrete; use {INSTEAD}"
            )
