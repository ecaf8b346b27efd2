"""`VI`: fit a guide by stochastic optimisation, then draw from it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from optax import contrib

from bayeskit._errors import MethodError
from bayeskit._typing import Array
from bayeskit.inference.mcmc.chains import CHAIN_METHODS, ChainMethod
from bayeskit.inference.method import check_choice, check_counts, is_number, is_whole, require
from bayeskit.inference.vi.expectation import expectation
from bayeskit.inference.vi.guides import (
    FullRank,
    FunctionGuide,
    Guide,
    LowRank,
    MeanField,
    mean_field,
)
from bayeskit.inference.vi.objectives import (
    ELBO,
    AnnealedELBO,
    CauchySchwarz,
    ForwardKL,
    ImportanceWeightedELBO,
    LogVariance,
    NamedFDivergence,
    Objective,
    RenyiBound,
    ReweightedWakeSleep,
    SymmetricKL,
    TemperedELBO,
    WakeGuide,
)
from bayeskit.program import draw, log_density
from bayeskit.program.weights import number_of
from bayeskit.target import Target

__all__ = ["VI"]

OPTIMIZERS = ("adam", "prodigy")
AVERAGED = 0.25
"""The last part of the steps, over which the parameters are averaged."""

_KINDS: dict[str, type] = {
    "mean_field": MeanField,
    "full_rank": FullRank,
    "low_rank": LowRank,
    "elbo": ELBO,
    "importance_weighted_elbo": ImportanceWeightedELBO,
    "renyi_bound": RenyiBound,
    "tempered_elbo": TemperedELBO,
    "annealed_elbo": AnnealedELBO,
    "wake_guide": WakeGuide,
    "reweighted_wake_sleep": ReweightedWakeSleep,
    "forward_kl": ForwardKL,
    "symmetric_kl": SymmetricKL,
    "f_divergence": NamedFDivergence,
    "cauchy_schwarz": CauchySchwarz,
    "log_variance": LogVariance,
}


class VIState(NamedTuple):
    """`key`: raw; `step`: taken so far; `parameters` of the guide; `optimizer`: its state; `average`: of the last
    parameters; `loss` and `gradient_norm`: of every step so far, shape `(num_steps,)`.
    """

    key: Array
    step: Array
    parameters: dict[str, Array]
    optimizer: Any
    average: dict[str, Array]
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
    num_draws: int = 1000
    num_chains: int = 1
    chain_method: str = "auto"

    def __post_init__(self) -> None:
        if callable(self.guide) and not isinstance(self.guide, Guide | Objective):
            object.__setattr__(self, "guide", FunctionGuide(self.guide))
        require(isinstance(self.guide, Guide), "guide", self.guide, "a guide such as bayeskit.full_rank()")
        require(isinstance(self.objective, Objective), "objective", self.objective, "one such as bayeskit.elbo()")
        check_counts(self)
        require(is_whole(self.num_steps) and self.num_steps >= 1, "num_steps", self.num_steps, "a positive integer")
        check_choice("optimizer", self.optimizer, OPTIMIZERS)
        check_choice("chain_method", self.chain_method, CHAIN_METHODS)
        rate = self.learning_rate
        require(rate is None or (is_number(rate) and rate > 0), "learning_rate", rate, "a positive number, or None")

    @property
    def num_warmup(self) -> int:  # type: ignore[override]
        """The optimisation steps, whose draws are not kept."""
        return self.num_steps

    def settings(self) -> dict[str, object]:
        given = super().settings()
        return given | {name: _describe(given[name]) for name in ("guide", "objective")}

    @classmethod
    def from_settings(cls, settings: Mapping[str, Any]) -> VI:
        return cls(**{name: _revive(name, value) for name, value in settings.items()})

    def init_chain(self, key: Array, target: Target, position: Array) -> VIState:
        parameters = self._family.init(key, target, position)
        trace = jnp.zeros((self.num_steps,), position.dtype)
        raw = jax.random.key_data(key) if jnp.issubdtype(key.dtype, jax.dtypes.prng_key) else key
        first = self._transformation().init(parameters)
        return VIState(raw, jnp.zeros((), jnp.int32), parameters, first, parameters, trace, trace)

    def step_chain(self, state: VIState, target: Target) -> tuple[VIState, Array, dict[str, Array]]:
        fit_key, draw_key = jax.random.split(jax.random.fold_in(jax.random.wrap_key_data(state.key), state.step))
        fitting = state.step < self.num_steps
        state = jax.lax.cond(fitting, lambda: self._improve(state, target, fit_key), lambda: state)
        position, stats = jax.lax.cond(
            fitting,
            lambda: jax.tree.map(
                lambda s: jnp.zeros(s.shape, s.dtype), jax.eval_shape(self._draw, state, target, draw_key)
            ),
            lambda: self._draw(state, target, draw_key),
        )
        return state._replace(step=state.step + 1), position, stats

    def traces(self, state: VIState) -> dict[str, np.ndarray]:
        """Loss and norm of the gradient at every step, shape `(chain, num_steps)`."""
        return {"loss": np.asarray(state.loss), "gradient_norm": np.asarray(state.gradient_norm)}

    def _transformation(self) -> optax.GradientTransformation:
        schedule = optax.cosine_decay_schedule(
            self.learning_rate or (0.02 if self.optimizer == "adam" else 1.0), self.num_steps
        )
        if self.optimizer == "prodigy":
            return contrib.prodigy(schedule)
        return optax.adam(schedule)

    def _improve(self, state: VIState, target: Target, key: Array) -> VIState:
        def loss(parameters: dict[str, Array]) -> Array:
            model, guide = self._family.programs(parameters, target)
            return -number_of(expectation(lambda: self.objective(model, guide))(key))

        value, gradient = jax.value_and_grad(loss)(state.parameters)
        norm = optax.tree.norm(gradient)
        fine = jnp.isfinite(value) & jnp.isfinite(norm)
        updates, optimizer = self._transformation().update(gradient, state.optimizer, state.parameters)
        moved = optax.apply_updates(state.parameters, updates), optimizer
        parameters, optimizer = (
            jax.tree.map(  # a step whose gradient is not finite is not taken, and shows in the trace
                lambda new, old: jnp.where(fine, new, old).astype(old.dtype), moved, (state.parameters, state.optimizer)
            )
        )
        count = state.step - (self.num_steps - max(1, round(AVERAGED * self.num_steps))) + 1
        share = 1.0 / jnp.maximum(count, 1)
        average = jax.tree.map(
            lambda old, new: (old + (new - old) * share).astype(old.dtype), state.average, parameters
        )
        return state._replace(
            parameters=parameters,
            optimizer=optimizer,
            average=average,
            loss=state.loss.at[state.step].set(value.astype(state.loss.dtype)),
            gradient_norm=state.gradient_norm.at[state.step].set(norm.astype(state.loss.dtype)),
        )

    def _draw(self, state: VIState, target: Target, key: Array) -> tuple[Array, dict[str, Array]]:
        model, guide = self._family.programs(state.average, target)

        def weighted() -> tuple[dict[str, Array], Array, Array]:
            choices, log_q = draw(guide)
            return choices, number_of(log_q), number_of(log_density(model, choices))

        choices, log_q, log_joint = expectation(weighted)(key)
        position = self._family.position(choices, target)
        lp = target.log_density(target.unravel(position))
        return position, {"lp": lp, "log_q": log_q, "log_weight": log_joint - log_q}

    @property
    def _family(self) -> Guide:
        if not isinstance(self.guide, Guide):
            raise TypeError("wrapped in __post_init__")
        return self.guide


def _describe(setting: object) -> object:
    """A guide or an objective as plain data."""
    for name, kind in _KINDS.items():
        if type(setting) is kind:
            return {"kind": name, **dataclasses.asdict(setting)}  # type: ignore[call-overload]
    return repr(setting)


def _revive(name: str, setting: Any) -> Any:
    """The inverse of `_describe`; also from a name alone, as in a run file."""
    if name not in ("guide", "objective") or isinstance(setting, Guide | Objective):
        return setting
    fields = {"kind": setting} if isinstance(setting, str) else dict(setting)
    kind = _KINDS.get(str(fields.pop("kind", None)))
    if kind is None:
        known = ", ".join(repr(known) for known in _KINDS)
        raise MethodError(f"{name} must be one of {known}, or a table with such a kind and its settings; got {setting}")
    return kind(**fields)
