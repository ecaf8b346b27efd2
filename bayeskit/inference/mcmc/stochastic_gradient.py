"""Langevin and Hamiltonian dynamics with gradients of random rows: no accept step, and so a bias."""

from __future__ import annotations

import dataclasses
from abc import abstractmethod
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import optax

from bayeskit._settings import check_choice, is_number, is_whole, require
from bayeskit._typing import Array
from bayeskit.inference.batches import check_batches, lift_batches, over_all_rows, with_random_rows
from bayeskit.inference.chains.independent import CHAIN_METHODS, ChainMethod
from bayeskit.inference.mcmc.curvature import scales, stiffness
from bayeskit.inference.method import Method, check_counts
from bayeskit.program import Program
from bayeskit.target import Target

__all__ = ["SGHMC", "SGLD"]

PAIRS = 64
"""Pairs of batches at the end of the warmup, from which the noise of each coordinate is first known."""


class GradientState(NamedTuple):
    """Raw key, steps taken, position, velocity; the mode, the gradient there by all rows, the scale of each
    coordinate (a standard deviation by the curvature at the mode), the largest curvature in units of the scales; and
    the mean so far of the variance of each coordinate of the gradient by batches, in the same units.
    """

    key: Array
    step: Array
    position: Array
    velocity: Array
    mode: Array
    mode_gradient: Array
    scale: Array
    stiffness: Array
    noise: Array


@dataclasses.dataclass(frozen=True, kw_only=True)
class StochasticGradient(ChainMethod):
    """What `SGLD` and `SGHMC` share: the search for the mode, gradients of random rows, what is said of their noise."""

    num_chains: int = 4
    num_warmup: int = 2000
    num_draws: int = 1000
    steps_per_draw: int = 20
    step_size: float = 0.1
    decay: float = 0.0
    control_variates: bool = True
    chain_method: str = "auto"

    def __post_init__(self) -> None:
        check_counts(self)
        require(self.num_warmup >= 1, "num_warmup", self.num_warmup, "at least 1: the mode is looked for in it")
        steps, size = self.steps_per_draw, self.step_size
        require(is_whole(steps) and steps >= 1, "steps_per_draw", steps, "an integer of at least 1")
        require(is_number(size) and 0 < size < 2, "step_size", size, "between 0 and 2")
        require(is_number(self.decay) and 0 <= self.decay < 1, "decay", self.decay, "at least 0 and below 1")
        require(isinstance(self.control_variates, bool), "control_variates", self.control_variates, "True or False")
        check_choice("chain_method", self.chain_method, CHAIN_METHODS)

    @abstractmethod
    def move(self, key: Array, state: Any, gradient: Array, size: Array) -> tuple[Array, Array]:
        """Position and velocity after a step, all in units of the scale."""

    @abstractmethod
    def excess(self, noise: Array, size: Array, stiffness: Array) -> Array:
        """The share by which a normal posterior is too wide (in variance) where it is narrowest, for that noise."""

    @property
    def warmup_steps(self) -> int:
        return 0

    def lift(self, program: Program) -> Program:
        return lift_batches(program)

    def check_target(self, target: Target) -> None:
        if target.structure.subsampled:
            check_batches(target)
        else:
            Method.check_target(self, target)

    def init_chain(self, key: Array, target: Target, position: Array) -> GradientState:
        del target
        zero = jnp.zeros_like(position)
        raw = jax.random.key_data(key) if jnp.issubdtype(key.dtype, jax.dtypes.prng_key) else key
        return GradientState(
            raw, jnp.zeros((), jnp.int32), position, zero, position, zero, zero + 1.0, jnp.ones((), zero.dtype), zero
        )

    def warm_chain(self, state: GradientState, target: Target) -> GradientState:
        """Half of the steps go to the mode, by Adam; its curvature gives the scales; the other half moves away."""
        ascent_key, probe_key, start_key, walk_key, pair_key = jax.random.split(_key(state, 2**31 - 1), 5)
        mode = _ascend(target, ascent_key, state.position, max(1, self.num_warmup // 2))
        gradient = jax.grad(lambda flat: _over_all(target, flat))
        scale = scales(gradient, mode, probe_key)
        position = mode + scale * jax.random.normal(start_key, mode.shape, mode.dtype)
        state = state._replace(position=position, mode=mode, mode_gradient=gradient(mode), scale=scale)
        state = state._replace(stiffness=stiffness(gradient, mode, scale, probe_key))

        def step(state: GradientState, key: Array) -> tuple[GradientState, None]:
            return self._step(state, target, key, jnp.asarray(self.step_size, mode.dtype)), None

        state = jax.lax.scan(step, state, jax.random.split(walk_key, max(1, self.num_warmup // 2)))[0]
        noise = jax.lax.map(lambda key: self._noise(state, target, key), jax.random.split(pair_key, PAIRS))
        return state._replace(noise=jnp.mean(noise, axis=0))

    def step_chain(self, state: GradientState, target: Target) -> tuple[GradientState, Array, dict[str, Array]]:
        share = state.step / max(1, self.num_draws)
        size = (self.step_size * (1.0 + 9.0 * share) ** -self.decay).astype(state.position.dtype)
        walk_key, pair_key = jax.random.split(_key(state, state.step))

        def step(state: GradientState, key: Array) -> tuple[GradientState, None]:
            return self._step(state, target, key, size), None

        state, _ = jax.lax.scan(step, state, jax.random.split(walk_key, self.steps_per_draw))
        weight = 1.0 / (PAIRS + 1.0 + state.step).astype(size.dtype)
        noise = state.noise + weight * (self._noise(state, target, pair_key) - state.noise)
        lp = _over_all(target, state.position)
        stats = {
            "lp": lp,
            "step_size": size,
            "n_steps": jnp.asarray(self.steps_per_draw, jnp.int32),
            "diverging": ~jnp.isfinite(lp),
            "excess_variance": self.excess(jnp.max(noise), size, state.stiffness),
        }
        return state._replace(step=state.step + 1, noise=noise), state.position, stats

    def _noise(self, state: GradientState, target: Target, key: Array) -> Array:
        """Of each coordinate an unbiased estimate of the variance of its gradient, in units of the scale."""
        one, other = (self._gradient(state, target, of_one) for of_one in jax.random.split(key))
        return 0.5 * (state.scale * (one - other)) ** 2

    def _step(self, state: GradientState, target: Target, key: Array, size: Array) -> GradientState:
        rows_key, noise_key = jax.random.split(key)
        gradient = state.scale * self._gradient(state, target, rows_key)
        white, velocity = self.move(noise_key, state, gradient, size)
        return state._replace(position=state.mode + state.scale * white, velocity=velocity)

    def _gradient(self, state: GradientState, target: Target, key: Array) -> Array:
        """By random rows; with control variates, by all rows at the mode and by random ones for the way from there."""
        batch = with_random_rows(target, key)
        at = jax.grad(lambda flat: batch.log_density(batch.unravel(flat)))
        if not (self.control_variates and target.structure.subsampled):
            return jnp.asarray(at(state.position))
        return state.mode_gradient + at(state.position) - at(state.mode)


@dataclasses.dataclass(frozen=True, kw_only=True)
class SGLD(StochasticGradient):
    r"""Stochastic gradient Langevin dynamics (Welling and Teh 2011), for models whose plates subsample their rows.

    With :math:`\hat g` the gradient of the log density by a random batch of rows (``numpyro.plate(...,
    subsample_size=)``; by all rows where no plate subsamples), and :math:`D` a diagonal matrix of squared scales,

    .. math:: z' = z + \tfrac\epsilon2 D \hat g(z) + \sqrt{\epsilon D}\, \xi, \qquad \xi \sim N(0, I).

    Nothing is accepted or refused, so the draws have a bias, which falls with the step size: the variance of a normal
    posterior is too large by about :math:`\tfrac\epsilon4 (\lambda + V)`,
    with :math:`V` the largest variance of a coordinate of :math:`D^{1/2} \hat g` and
    :math:`\lambda` the largest eigenvalue of the curvature in units of the scales: 1 without correlations, and up to
    the number of coordinates with them, in the direction in which the posterior is narrowest.
    The statistic ``excess_variance`` estimates it at every draw, and :func:`bayeskit.check` judges it. With
    ``control_variates`` the gradient is that by all rows at the mode plus the difference that the batch makes (Baker,
    Fearnhead, Fox and Nemeth 2019), so that :math:`V` is small where the posterior is narrow.

    Half of the warmup looks for the mode, by Adam; the scales are those of the curvature there; the other half walks
    away.

    Args:
        num_chains: number of chains.
        num_warmup: steps a chain before the first draw.
        num_draws: draws a chain. Each also evaluates all rows once, for ``lp``.
        steps_per_draw: steps between draws.
        step_size: :math:`\epsilon`, in units of the scales.
        decay: the step size falls as :math:`(1 + 9 t)^{-\mathrm{decay}}` with the share :math:`t` of the draws; draws
            count alike (Teh, Thiery and Vollmer 2016, "Consistency and fluctuations", suggest 1/3).
        control_variates: as above.
        chain_method: as for :class:`bayeskit.NUTS`.

    Raises:
        MethodError: an impossible setting; a latent site inside a plate that subsamples.

    Example:
        >>> import numpy as np, numpyro, numpyro.distributions as dist
        >>> import bayeskit as bk
        >>> def model(y):
        ...     mu = numpyro.sample("mu", dist.Normal(0.0, 10.0))
        ...     with numpyro.plate("row", len(y), subsample_size=10) as rows:
        ...         numpyro.sample("y", dist.Normal(mu, 1.0), obs=y[rows])
        >>> data = {"y": np.random.default_rng(0).normal(2.0, 1.0, size=200)}
        >>> post = bk.infer(model, data, bk.SGLD(num_chains=2, num_draws=500), key=0, progress=False)
        >>> bool(abs(float(post["posterior/mu"].mean()) - data["y"].mean()) < 0.03)
        True
    """

    kind: ClassVar[str] = "sgld"

    def move(self, key: Array, state: GradientState, gradient: Array, size: Array) -> tuple[Array, Array]:
        white = (state.position - state.mode) / state.scale
        noise = jax.random.normal(key, white.shape, white.dtype)
        return white + 0.5 * size * gradient + jnp.sqrt(size) * noise, state.velocity

    def excess(self, noise: Array, size: Array, stiffness: Array) -> Array:
        return size / 4.0 * (stiffness + noise)


@dataclasses.dataclass(frozen=True, kw_only=True)
class SGHMC(StochasticGradient):
    r"""Stochastic gradient Hamiltonian Monte Carlo (Chen, Fox and Guestrin 2014), for models whose plates subsample.

    As :class:`bayeskit.SGLD`, with a velocity, so that steps do not turn back at random. In units of the scales,

    .. math:: v' = (1 - \gamma\epsilon) v + \epsilon^2 \hat g(z) + \sqrt{2 \gamma \epsilon^3}\, \xi, \qquad z' = z + v'.

    The variance of a normal posterior is too large by about
    :math:`\tfrac{\epsilon^2}4 \lambda + \tfrac{\epsilon}{2 \gamma} V`, which is the statistic ``excess_variance``.

    Args:
        num_chains: number of chains.
        num_warmup: steps a chain before the first draw.
        num_draws: draws a chain.
        steps_per_draw: steps between draws.
        step_size: :math:`\epsilon`.
        friction: :math:`\gamma`; :math:`\gamma\epsilon` must be at most 1.
        decay: as for :class:`bayeskit.SGLD`.
        control_variates: as for :class:`bayeskit.SGLD`.
        chain_method: as for :class:`bayeskit.NUTS`.

    Raises:
        MethodError: an impossible setting; a latent site inside a plate that subsamples.

    Example:
        >>> import bayeskit as bk
        >>> bk.SGHMC(step_size=0.05, friction=2.0).num_draws
        1000
    """

    kind: ClassVar[str] = "sghmc"

    friction: float = 1.0

    def __post_init__(self) -> None:
        StochasticGradient.__post_init__(self)
        ok = is_number(self.friction) and 0 < self.friction * self.step_size <= 1
        require(ok, "friction", self.friction, "positive, and at most 1 / step_size")

    def move(self, key: Array, state: GradientState, gradient: Array, size: Array) -> tuple[Array, Array]:
        white = (state.position - state.mode) / state.scale
        noise = jax.random.normal(key, white.shape, white.dtype)
        velocity = (1.0 - self.friction * size) * state.velocity + size**2 * gradient
        velocity = velocity + jnp.sqrt(2.0 * self.friction * size**3) * noise
        return white + velocity, velocity

    def excess(self, noise: Array, size: Array, stiffness: Array) -> Array:
        return stiffness * size**2 / 4.0 + size / (2.0 * self.friction) * noise


def _key(state: GradientState, number: Array | int) -> Array:
    return jax.random.fold_in(jax.random.wrap_key_data(state.key), number)


def _over_all(target: Target, flat: Array) -> Array:
    """The log density by all rows; its gradient keeps the numbers of one batch only."""
    return over_all_rows(target, jax.checkpoint(lambda batch: batch.log_density(batch.unravel(flat))))


def _ascend(target: Target, key: Array, position: Array, num_steps: int) -> Array:
    """Where Adam on random rows has arrived: the mean over the last quarter of its steps."""
    optimiser = optax.adam(optax.cosine_decay_schedule(0.1, num_steps))

    def step(carry: Any, key: Array) -> tuple[Any, Array]:
        position, state = carry
        batch = with_random_rows(target, key)
        slope = jax.grad(lambda flat: -batch.log_density(batch.unravel(flat)))(position)
        update, state = optimiser.update(slope, state)
        position = optax.apply_updates(position, update)
        return (position, state), position

    _, path = jax.lax.scan(step, (position, optimiser.init(position)), jax.random.split(key, num_steps))
    return jnp.mean(path[-max(1, num_steps // 4) :], axis=0)
