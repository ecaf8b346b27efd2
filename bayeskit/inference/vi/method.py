"""`VI`: fit a guide by stochastic optimisation, then draw from it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from bayeskit._errors import MethodError, ModelError
from bayeskit._typing import Array, Values
from bayeskit.inference.mcmc.chains import CHAIN_METHODS, ChainMethod, map_chains
from bayeskit.inference.method import check_choice, check_counts, is_number, is_whole, require
from bayeskit.inference.model_parameters import (
    constrained_parameters,
    lift_parameters,
    model_parameters,
    with_parameters,
)
from bayeskit.inference.vi import windows
from bayeskit.inference.vi.expectation import expectation
from bayeskit.inference.vi.guides import FunctionGuide, Guide, LaplaceGuide, Parameters, mean_field
from bayeskit.inference.vi.natural import NATURAL_GUIDES
from bayeskit.inference.vi.objectives import ELBO, Objective
from bayeskit.inference.vi.optimizers import LEARNING_RATES, transformation
from bayeskit.inference.vi.settings import describe, revive
from bayeskit.inference.vi.windows import WINDOWS, Windows
from bayeskit.program import Program, draw, log_density
from bayeskit.program.weights import number_of
from bayeskit.target import Target

__all__ = ["VI"]

AVERAGED = 0.25
"""The last part of the steps, over which the parameters are averaged."""
MODEL = "parameters of the model"


class Fit(NamedTuple):
    """`parameters` of the guide (and of the model); `optimizer`: its state; `average`: of the last parameters;
    `windows`: what the stopping rule knows.
    """

    parameters: Parameters
    optimizer: Any
    average: Parameters
    windows: Windows


class VIState(NamedTuple):
    """`key`: raw; `step`: so far; `fit`; `loss` and `gradient_norm`: of every step so far, shape `(num_steps,)`, NaN
    where none was taken.
    """

    key: Array
    step: Array
    fit: Fit
    loss: Array
    gradient_norm: Array


@dataclasses.dataclass(frozen=True)
class VI(ChainMethod):
    r"""Variational inference: a guide is fitted by stochastic optimisation, and drawn from.

    The guide :math:`q_\lambda`, a distribution over the unconstrained values, is fitted by maximising a bound on
    :math:`\log p(y)` over :math:`\lambda`. The draws are independent, and exact draws *of the guide*. How far the guide
    is from the posterior is told by the Pareto :math:`\hat k` of the weights :math:`p(y, z) / q(z)`, which
    :func:`bayeskit.check` judges: above 0.7 the moments of the guide must not be trusted (Yao, Vehtari, Simpson and
    Gelman 2018, "Yes, but did it work?").

    The parameters that are drawn from are the average over the last quarter of the steps (Dhaka, Catalina, Andersen,
    Magnusson, Huggins and Vehtari 2020). The step size falls to zero along a cosine.

    Args:
        guide: the family: :func:`bayeskit.mean_field`, :func:`bayeskit.full_rank`, :func:`bayeskit.low_rank`; or a
            guide of your own, a NumPyro function of (some of) the model's arguments with ``numpyro.param`` statements.
        objective: what is maximised: :func:`bayeskit.elbo`, :func:`bayeskit.importance_weighted_elbo`.
        num_steps: optimisation steps.
        learning_rate: the largest step size of ``"adam"``; ``"prodigy"`` finds its own, and scales it by this.
        optimizer: ``"adam"``, or ``"prodigy"`` (Mishchenko and Defazio 2024), which needs no learning rate.
        num_draws: draws from the fitted guide.
        num_chains: independent fits, from different starts.
        chain_method: how the fits are spread: ``"auto"``, ``"threads"``, ``"vectorized"``, ``"sharded"``.

    Raises:
        MethodError: an impossible setting.

    Example:
        >>> import numpyro, numpyro.distributions as dist
        >>> import bayeskit as bk
        >>> def model(y):
        ...     mu = numpyro.sample("mu", dist.Normal(0.0, 10.0))
        ...     numpyro.sample("y", dist.Normal(mu, 1.0), obs=y)
        >>> method = bk.VI(guide=bk.full_rank(), num_steps=500)
        >>> post = bk.infer(model, {"y": [1.2, 0.7, 1.9]}, method, key=0, progress=False)
        >>> post["posterior/mu"].shape, post["warmup_sample_stats/loss"].shape
        ((1, 1000), (1, 500))
    """

    backend: ClassVar[str] = "bayeskit"

    guide: Guide | Callable[..., object] = dataclasses.field(default_factory=mean_field)
    objective: Objective = dataclasses.field(default_factory=lambda: ELBO(num_particles=8))
    num_steps: int = 10_000
    learning_rate: float | None = None
    optimizer: str = "adam"
    tolerance: float | None = None
    num_draws: int = 1000
    num_chains: int = 1
    chain_method: str = "auto"

    def __post_init__(self) -> None:
        if callable(self.guide) and not isinstance(self.guide, Guide | Objective):
            object.__setattr__(self, "guide", FunctionGuide(self.guide))
        require(isinstance(self.guide, Guide), "guide", self.guide, "a guide such as bayeskit.full_rank()")
        require(isinstance(self.objective, Objective), "objective", self.objective, "one such as bayeskit.elbo()")
        check_choice("optimizer", self.optimizer, tuple(LEARNING_RATES))
        check_choice("chain_method", self.chain_method, CHAIN_METHODS)
        rate = self.learning_rate
        require(rate is None or (is_number(rate) and rate > 0), "learning_rate", rate, "a positive number, or None")
        self._check_steps()
        check_counts(self)
        if self.optimizer == "natural" and not isinstance(self.guide, NATURAL_GUIDES):
            raise MethodError(
                "optimizer='natural' needs a normal guide whose Fisher information is known: bayeskit.mean_field(), "
                f"full_rank() or laplace_guide(); got {describe(self.guide)}"
            )

    def _check_steps(self) -> None:
        least = 0 if isinstance(self.guide, LaplaceGuide) else 1
        ok = is_whole(self.num_steps) and self.num_steps >= least
        must = "an integer of at least 0" if least == 0 else "a positive integer (0 with bayeskit.laplace_guide() only)"
        require(ok, "num_steps", self.num_steps, must)
        if self.tolerance is None:
            return
        require(is_number(self.tolerance) and self.tolerance > 0, "tolerance", self.tolerance, "positive, or None")
        shortest = 25 * WINDOWS
        require(self.num_steps >= shortest, "num_steps", self.num_steps, f"at least {shortest} for a tolerance")

    @property
    def num_warmup(self) -> int:  # type: ignore[override]
        """The optimisation steps, whose draws are not kept."""
        return self.num_steps

    def settings(self) -> dict[str, object]:
        return {name: describe(value) for name, value in super().settings().items()}

    @classmethod
    def from_settings(cls, settings: Mapping[str, Any]) -> VI:
        return cls(**{name: revive(name, value) for name, value in settings.items()})

    def lift(self, program: Program) -> Program:
        return lift_parameters(program)

    def check_target(self, target: Target) -> None:
        super().check_target(target)
        if model_parameters(target) and (self.optimizer == "natural" or isinstance(self.guide, LaplaceGuide)):
            raise ModelError(
                f"model {target.program.name!r} has numpyro.param statements, which neither optimizer='natural' nor "
                "bayeskit.laplace_guide() can fit; use optimizer='adam' with another guide"
            )

    def init(self, key: Array, target: Target, positions: Values) -> Any:
        self._family.ready(target, target.size)
        return super().init(key, target, positions)

    def init_chain(self, key: Array, target: Target, position: Array) -> VIState:
        parameters = self._family.init(key, target, position)
        learned = model_parameters(target)
        if learned:
            parameters = {**parameters, MODEL: learned}
        trace = jnp.full((self.num_steps,), jnp.nan, position.dtype)
        raw = jax.random.key_data(key) if jnp.issubdtype(key.dtype, jax.dtypes.prng_key) else key
        first = transformation(self.optimizer, self._family, 1.0).init(parameters)
        fit = Fit(parameters, first, parameters, windows.no_windows(position))
        return VIState(raw, jnp.zeros((), jnp.int32), fit, trace, trace)

    def warmup(self, state: Any, target: Target) -> Any:
        if not isinstance(self.guide, LaplaceGuide):
            return state
        state = map_chains(self, _prepare, (state,), target)
        self.guide.check(state.fit.parameters, target)
        return state

    def step_chain(self, state: VIState, target: Target) -> tuple[VIState, Array, dict[str, Array]]:
        fit_key, draw_key = jax.random.split(jax.random.fold_in(jax.random.wrap_key_data(state.key), state.step))
        if self.num_steps == 0:
            return state._replace(step=state.step + 1), *self._draw(state.fit, target, draw_key)
        fitting = state.step < self.num_steps
        none = jnp.full((), jnp.nan, state.loss.dtype)
        fit, loss, norm = jax.lax.cond(
            fitting & ~state.fit.windows.stopped,
            lambda: self._improve(state.fit, state.step, target, fit_key),
            lambda: (state.fit, none, none),
        )
        shapes = jax.eval_shape(self._draw, fit, target, draw_key)
        position, stats = jax.lax.cond(
            fitting,
            lambda: jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), shapes),
            lambda: self._draw(fit, target, draw_key),
        )
        state = VIState(
            key=state.key,
            step=state.step + 1,
            fit=fit,  # the traces stay outside of the conditional, which would copy them at every step
            loss=state.loss.at[state.step].set(loss, mode="drop"),
            gradient_norm=state.gradient_norm.at[state.step].set(norm, mode="drop"),
        )
        return state, position, stats

    def drawn_from(self, state: VIState, target: Target) -> Target:
        return with_parameters(target, state.fit.average.get(MODEL, {}))

    def traces(self, state: VIState) -> dict[str, np.ndarray]:
        """Loss and norm of the gradient at every step, shape `(chain, num_steps)`; NaN after the fit has stopped."""
        if self.num_steps == 0:
            return {}
        return {"loss": np.asarray(state.loss), "gradient_norm": np.asarray(state.gradient_norm)}

    def learned(self, state: VIState, target: Target) -> dict[str, np.ndarray]:
        """Parameters of the model, shape `(chain, ...)`."""
        values = state.fit.average.get(MODEL)
        if not values:
            return {}
        chains = [
            constrained_parameters(target, {name: jnp.asarray(value[chain]) for name, value in values.items()})
            for chain in range(self.num_chains)
        ]
        return {name: np.stack([np.asarray(one[name]) for one in chains]) for name in chains[0]}

    def _improve(self, fit: Fit, step: Array, target: Target, key: Array) -> tuple[Fit, Array, Array]:
        """One step of the optimisation: the fit after it, the loss before it and the norm of its gradient."""

        def loss(parameters: Parameters) -> Array:
            model, guide = self._family.programs(parameters, with_parameters(target, parameters.get(MODEL, {})))
            return -number_of(expectation(lambda: self.objective(model, guide))(key))

        value, gradient = jax.value_and_grad(loss)(fit.parameters)
        norm = optax.tree.norm(gradient)
        fine = jnp.isfinite(value) & jnp.isfinite(norm)
        rule = transformation(self.optimizer, self._family, self._rate(fit, step))
        updates, optimizer = rule.update(gradient, fit.optimizer, fit.parameters)
        moved = optax.apply_updates(fit.parameters, updates), optimizer
        parameters, optimizer = (
            jax.tree.map(  # a step whose gradient is not finite is not taken, and shows in the trace
                lambda new, old: jnp.where(fine, new, old).astype(old.dtype), moved, (fit.parameters, fit.optimizer)
            )
        )
        share = 1.0 / jnp.maximum(step - self._first_averaged(step) + 1, 1)
        average = jax.tree.map(lambda old, new: (old + (new - old) * share).astype(old.dtype), fit.average, parameters)
        value, norm = (number.astype(fit.windows.mean.dtype) for number in (value, norm))
        seen = fit.windows
        if self.tolerance is not None:
            seen = windows.record(seen, value, step, self.num_steps, self.tolerance)
        return Fit(parameters, optimizer, average, seen), value, norm

    def _rate(self, fit: Fit, step: Array) -> Array:
        """The step size: falling along a cosine, or by the stopping rule."""
        largest = self.learning_rate or LEARNING_RATES[self.optimizer]
        if self.tolerance is not None:
            return largest * fit.windows.share
        return jnp.asarray(optax.cosine_decay_schedule(largest, self.num_steps)(step))

    def _first_averaged(self, step: Array) -> Array | int:
        if self.tolerance is not None:
            return windows.first_step(windows.window_of(step, self.num_steps), self.num_steps)
        return self.num_steps - max(1, round(AVERAGED * self.num_steps))

    def _draw(self, fit: Fit, target: Target, key: Array) -> tuple[Array, dict[str, Array]]:
        target = with_parameters(target, fit.average.get(MODEL, {}))
        model, guide = self._family.programs(fit.average, target)

        def weighted() -> tuple[Values, Array, Array]:
            choices, log_q = draw(guide)
            return choices, number_of(log_q), number_of(log_density(model, choices))

        choices, log_q, log_joint = expectation(weighted)(key)
        position = self._family.position(choices, target)
        lp = target.log_density(target.unravel(position))
        stats = {"lp": lp, "log_q": log_q, "log_weight": log_joint - log_q}
        if self.tolerance is not None:
            stats["converged"] = fit.windows.stopped
        return position, stats

    @property
    def _family(self) -> Guide:
        if not isinstance(self.guide, Guide):
            raise TypeError("wrapped in __post_init__")
        return self.guide


def _prepare(method: VI, target: Target, state: VIState) -> VIState:
    """The state of one chain at a mode."""
    if not isinstance(method.guide, LaplaceGuide):
        raise TypeError("checked before")
    parameters = method.guide.prepare(state.fit.parameters, target)
    return state._replace(fit=state.fit._replace(parameters=parameters, average=parameters))
