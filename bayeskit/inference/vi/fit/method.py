"""`VI`: fit a guide by stochastic optimisation, then draw from it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from bayeskit._settings import check_choice, is_number, is_whole, part, require
from bayeskit._typing import Array, Values
from bayeskit.errors import MethodError, ModelError
from bayeskit.inference.batches import check_batches, lift_batches, over_all_rows
from bayeskit.inference.chains.independent import CHAIN_METHODS, ChainMethod, map_chains
from bayeskit.inference.method import check_counts
from bayeskit.inference.model_parameters import (
    constrained_parameters,
    lift_parameters,
    model_parameters,
    with_parameters,
)
from bayeskit.inference.vi.expectation import expectation
from bayeskit.inference.vi.fit.optimisation import MODEL, FitState, Optimisation
from bayeskit.inference.vi.fit.optimizers import LEARNING_RATES
from bayeskit.inference.vi.fit.stopping import WINDOWS
from bayeskit.inference.vi.guides import Guide, MeanField
from bayeskit.inference.vi.objectives import ELBO, Objective
from bayeskit.program import Program, draw, log_density
from bayeskit.program.weights import number_of
from bayeskit.target import Target
from bayeskit.xla.miscompilation import kept_away

__all__ = ["VI"]

CHOICE = "choice of "


class VIState(NamedTuple):
    """`key`: raw; `step`: so far; `fit`; `loss` and `gradient_norm`: of every step so far, shape `(num_steps,)`, NaN
    where none was taken.
    """

    key: Array
    step: Array
    fit: FitState
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

    With a ``tolerance`` a rule decides when to stop. The steps are divided into 40 windows. Where the mean loss of a
    window is not lower than that of the window before by the tolerance (two standard errors of the difference added),
    the step size is divided by four; where that has not lowered the loss by the tolerance either, the fit stops. The
    parameters are then frozen, at the average over the last window; the traces are NaN after the last step, and
    ``sample_stats/converged`` is true. Where the rule is not met within ``num_steps`` it is false: a bad verdict.
    (After Welandawe, Andersen, Vehtari and Huggins 2022, "Robust, automated, and accurate black-box variational
    inference".) Under ``chain_method="vectorized"`` a fit that has stopped saves no time.

    ``numpyro.param`` statements of the model are parameters without a prior: they are fitted together with the guide,
    by the same objective (for a bound on the evidence this is empirical Bayes), and are reported in the group
    ``model_parameters``.

    Args:
        guide: the family: one of ``bayeskit.guides``, such as :class:`bayeskit.guides.FullRank`; or a guide of your
            own, a NumPyro function of (some of) the model's arguments with ``numpyro.param``
            statements.
        objective: what is maximised: one of ``bayeskit.objectives``, such as :class:`bayeskit.objectives.ELBO`; or a
            function of a model and a guide that draws from programs and returns a number.
        num_steps: optimisation steps (at most, with a tolerance); may be 0 with :class:`bayeskit.guides.Laplace`.
        learning_rate: the largest step size; by default .02 for ``"adam"`` and .1 for ``"natural"``; ``"prodigy"``
            finds its own, and scales it by this.
        optimizer: ``"adam"``; ``"prodigy"`` (Mishchenko and Defazio 2024), which needs no learning rate; or
            ``"natural"``, natural gradients for ``MeanField``, ``FullRank`` and ``Laplace``: the gradient times
            the inverse of the guide's Fisher information, so that units and correlations of the parameters do not
            matter (Amari 1998; Tan 2022).
        tolerance: by how much (in nats, for a bound on the evidence) the loss must fall for the fit to go on.
        num_draws: draws from the fitted guide.
        num_chains: independent fits, from different starts.
        chain_method: how the fits are spread: ``"auto"``, ``"threads"``, ``"vectorized"``, ``"sharded"``.

    Raises:
        MethodError: an impossible setting.
        ModelError: when it runs: the guide does not fit the model.

    Example:
        >>> import numpyro, numpyro.distributions as dist
        >>> import bayeskit as bk
        >>> def model(y):
        ...     mu = numpyro.sample("mu", dist.Normal(0.0, 10.0))
        ...     numpyro.sample("y", dist.Normal(mu, 1.0), obs=y)
        >>> method = bk.VI(guide=bk.guides.FullRank(), num_steps=500)
        >>> post = bk.infer(model, {"y": [1.2, 0.7, 1.9]}, method, key=0, progress=False)
        >>> post["posterior/mu"].shape, post["warmup_sample_stats/loss"].shape
        ((1, 1000), (1, 500))
    """

    kind: ClassVar[str] = "vi"

    guide: Guide | Callable[..., object] = dataclasses.field(metadata=part(Guide), default_factory=MeanField)
    objective: Objective | Callable[..., Any] = dataclasses.field(
        metadata=part(Objective), default_factory=lambda: ELBO(num_particles=8)
    )
    num_steps: int = 10_000
    learning_rate: float | None = None
    optimizer: str = "adam"
    tolerance: float | None = None
    num_draws: int = 1000
    num_chains: int = 1
    chain_method: str = "auto"

    def __post_init__(self) -> None:
        object.__setattr__(self, "guide", Guide.of(self.guide))
        object.__setattr__(self, "objective", Objective.of(self.objective))
        check_choice("optimizer", self.optimizer, tuple(LEARNING_RATES))
        check_choice("chain_method", self.chain_method, CHAIN_METHODS)
        rate = self.learning_rate
        require(rate is None or (is_number(rate) and rate > 0), "learning_rate", rate, "a positive number, or None")
        self._check_steps()
        check_counts(self)
        if self.optimizer == "natural" and not self._family.has_natural_gradient:
            kinds = ", ".join(kind for kind, one in Guide.kinds().items() if one.has_natural_gradient)
            raise MethodError(
                f"optimizer='natural' needs a guide whose Fisher information is known, one of {kinds}; got {self.guide}"
            )

    def _check_steps(self) -> None:
        least = 0 if self._family.prepares else 1
        ok = is_whole(self.num_steps) and self.num_steps >= least
        must = (
            "an integer of at least 0" if least == 0 else "a positive integer (0 with bayeskit.guides.Laplace() only)"
        )
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

    def lift(self, program: Program) -> Program:
        return lift_parameters(lift_batches(program))

    def check_target(self, target: Target) -> None:
        if target.structure.subsampled:
            self._check_batches(target)
        if model_parameters(target) and (self.optimizer == "natural" or self._family.prepares):
            raise ModelError(
                f"model {target.program.name!r} has numpyro.param statements, which neither optimizer='natural' nor "
                "bayeskit.guides.Laplace() can fit; use optimizer='adam' with another guide"
            )
        if model_parameters(target) and not self._goal.fits_model:
            raise ModelError(
                f"model {target.program.name!r} has numpyro.param statements, and the gradient of "
                f"{type(self.objective).__name__} is not one that fits a model; use a bound such as "
                "bayeskit.objectives.ELBO()"
            )

    def _check_batches(self, target: Target) -> None:
        check_batches(target)
        plate = target.structure.subsampled[0]
        if not self._goal.is_affine or self._family.prepares:
            what = self.guide if self._family.prepares else self.objective
            raise MethodError(
                f"plate {plate!r} subsamples its data, and the noise of its batches would bias {what}; use "
                "bayeskit.objectives.ELBO() with another guide, or the full data (no subsample_size)"
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
        return VIState(raw, jnp.zeros((), jnp.int32), self._optimisation.start(parameters, position), trace, trace)

    def warmup(self, state: Any, target: Target) -> Any:
        if not self._family.prepares:
            return state
        state, found = map_chains(self, _prepare, (state,), target)
        self._family.check_prepared(found, target)
        return state

    def step_chain(self, state: VIState, target: Target) -> tuple[VIState, Array, dict[str, Array]]:
        fit_key, draw_key = jax.random.split(jax.random.fold_in(jax.random.wrap_key_data(state.key), state.step))
        if self.num_steps == 0:
            return state._replace(step=state.step + 1), *self._draw(state.fit, target, draw_key)
        fitting = state.step < self.num_steps
        none = jnp.full((), jnp.nan, state.loss.dtype)
        fit, loss, norm = jax.lax.cond(
            fitting & ~state.fit.windows.stopped,
            lambda: self._optimisation.step(state.fit, state.step, target, fit_key),
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
            fit=fit,  # the traces stay outside the conditional, which would copy them at every step
            loss=state.loss.at[state.step].set(loss, mode="drop"),
            gradient_norm=state.gradient_norm.at[state.step].set(norm, mode="drop"),
        )
        return state, position, stats

    def drawn_from(self, state: VIState, target: Target) -> Target:
        return with_parameters(target, state.fit.descent.average.get(MODEL, {}))

    def apart(self, stats: dict[str, Array]) -> tuple[Values, dict[str, Array]]:
        chosen = {name.removeprefix(CHOICE): value for name, value in stats.items() if name.startswith(CHOICE)}
        return chosen, {name: value for name, value in stats.items() if not name.startswith(CHOICE)}

    def traces(self, state: VIState) -> dict[str, np.ndarray]:
        """Loss and norm of the gradient at every step, shape `(chain, num_steps)`; NaN after the fit has stopped."""
        if self.num_steps == 0:
            return {}
        return {"loss": np.asarray(state.loss), "gradient_norm": np.asarray(state.gradient_norm)}

    def learned(self, state: VIState, target: Target) -> dict[str, np.ndarray]:
        """Parameters of the model, shape `(chain, ...)`."""
        values = state.fit.descent.average.get(MODEL)
        if not values:
            return {}
        chains = [
            constrained_parameters(target, {name: jnp.asarray(value[chain]) for name, value in values.items()})
            for chain in range(self.num_chains)
        ]
        return {name: np.stack([np.asarray(one[name]) for one in chains]) for name in chains[0]}

    def _draw(self, fit: FitState, target: Target, key: Array) -> tuple[Array, dict[str, Array]]:
        target = with_parameters(target, fit.descent.average.get(MODEL, {}))
        _, guide = self._family.programs(fit.descent.average, target)

        def drawn() -> tuple[Values, Array]:
            choices, log_q = draw(self._goal.approximation(guide))
            return choices, number_of(log_q)

        def scored(target: Target) -> Array:
            model, _ = self._family.programs(fit.descent.average, target)
            return number_of(expectation(lambda: log_density(model, choices))(key))

        with kept_away():
            choices, log_q = expectation(drawn)(key)
            log_joint = over_all_rows(target, scored)
        position = self._family.position(choices, target)
        lp = over_all_rows(target, lambda target: target.log_density(target.unravel(position)))
        stats = {"lp": lp, "log_q": log_q, "log_weight": log_joint - log_q}
        # discrete sites that the guide draws are no part of the position, where they are summed out
        own = [site.name for site in target.structure.of_kind("discrete") if site.name in choices]
        stats |= {CHOICE + name: jnp.asarray(choices[name], int) for name in own}
        if self.tolerance is not None:
            stats["converged"] = fit.windows.stopped
        return position, stats

    @property
    def _optimisation(self) -> Optimisation:
        rate = self.learning_rate or LEARNING_RATES[self.optimizer]
        return Optimisation(self._family, self._goal, self.optimizer, rate, self.num_steps, self.tolerance)

    @property
    def _family(self) -> Guide:
        return self.guide  # type: ignore[return-value]  # wrapped in __post_init__

    @property
    def _goal(self) -> Objective:
        return self.objective  # type: ignore[return-value]  # wrapped in __post_init__


def _prepare(method: VI, target: Target, state: VIState) -> tuple[VIState, Any]:
    """The state of one chain before its first step, and what the guide's preparation has found."""
    descent = state.fit.descent
    parameters, found = method._family.prepare(descent.parameters, target)
    descent = descent._replace(parameters=parameters, average=parameters)
    return state._replace(fit=state.fit._replace(descent=descent)), found
