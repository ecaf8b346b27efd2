"""A method chosen from the model, the data and the device; the choice is said, with its reason."""

from __future__ import annotations

import contextlib
import dataclasses
from typing import Any

import jax

from bayeskit._settings import is_whole, require
from bayeskit._typing import Array, Values
from bayeskit.errors import ModelError
from bayeskit.inference.batches import lift_batches
from bayeskit.inference.given_discrete import discrete_latents, given_sites, lift_discrete, without_given
from bayeskit.inference.mcmc.chees import ChEES
from bayeskit.inference.mcmc.discrete_hmc_gibbs import DiscreteHMCGibbs
from bayeskit.inference.mcmc.nuts import NUTS
from bayeskit.inference.method import Draws, Method
from bayeskit.inference.model_parameters import lift_parameters, model_parameters
from bayeskit.program import Program
from bayeskit.target import Target

__all__ = ["Auto", "auto"]

DENSE = 200
"""Coordinates up to which a guide has a full covariance: it has half as many numbers as their square."""
MANY_CHAINS = 128


@dataclasses.dataclass(frozen=True, kw_only=True)
class Auto(Method):
    """The setting that a method is still to be chosen; made by `auto`. It has no kind, for no run has ever used it."""

    num_chains: int | None = None  # type: ignore[assignment]
    num_draws: int = 1000

    def __post_init__(self) -> None:
        chains, draws = self.num_chains, self.num_draws
        require(
            chains is None or (is_whole(chains) and chains >= 1), "num_chains", chains, "a positive integer, or None"
        )
        require(is_whole(draws) and draws >= 1, "num_draws", draws, "a positive integer")

    @property
    def num_warmup(self) -> int:  # type: ignore[override]
        """That of the method to be chosen."""
        raise NotImplementedError

    def lift(self, program: Program) -> Program:
        lifted = lift_parameters(lift_batches(program))
        if lifted is program and discrete_latents(program) and _why_not_summed(program):
            with contextlib.suppress(ModelError):  # no way to draw them either: why not is said by the target
                return lift_discrete(program, DiscreteHMCGibbs.__name__)
        return lifted

    def check_target(self, target: Target) -> None:
        """The chosen method does that."""

    def chosen(self, target: Target) -> tuple[Method, str]:
        if model_parameters(target):
            return self._fit(target), "the model has numpyro.param statements, which only a variational fit can learn"
        if target.structure.subsampled:
            plate = target.structure.subsampled[0]
            return self._fit(target), f"plate {plate!r} subsamples its rows, so each step sees a batch of them"
        if given := given_sites(target):
            method = DiscreteHMCGibbs(num_chains=self.num_chains or 4, num_draws=self.num_draws)
            names = ", ".join(site.name for site in given)
            why = _why_not_summed(without_given(target.program))
            return method, f"discrete sites are drawn ({names}), since they cannot be summed out: {why}"
        summed = ", discrete sites summed out" if target.structure.of_kind("discrete") else ""
        what = f"{target.size} continuous coordinates{summed}"
        if jax.default_backend() != "cpu":
            chains = self.num_chains or MANY_CHAINS
            if chains >= 16:
                many = ChEES(num_chains=chains, num_draws=max(1, self.num_draws * 4 // chains))
                return many, f"{what}, and {chains} chains in step on an accelerator ({jax.default_backend()})"
        return NUTS(num_chains=self.num_chains or 4, num_draws=self.num_draws), f"{what}, all rows at once"

    def _fit(self, target: Target) -> Method:
        from bayeskit.inference.vi.fit.method import VI
        from bayeskit.inference.vi.guides import FullRank, LowRank

        guide = FullRank() if target.size <= DENSE else LowRank()
        return VI(guide=guide, num_chains=self.num_chains or 1, num_draws=self.num_draws)

    def init(self, key: Array, target: Target, positions: Values) -> object:
        raise NotImplementedError

    def advance(self, state: Any, target: Target, num_steps: int) -> tuple[object, Draws]:
        raise NotImplementedError


def _why_not_summed(program: Program) -> str:
    """Why the discrete sites of a program cannot be summed out; empty where they can."""
    try:
        Target(program)
    except ModelError as error:
        return str(error)
    return ""


def auto(*, num_chains: int | None = None, num_draws: int = 1000) -> Auto:
    """A method chosen from the model, its data and the device.

    =========================================== ====================================================================
    a ``numpyro.param`` statement               :class:`bayeskit.VI`, which fits it
    a plate that subsamples its rows            :class:`bayeskit.VI` by batches; a full covariance up to 200
                                                coordinates, one of low rank above
    discrete sites that cannot be summed out    :class:`bayeskit.DiscreteHMCGibbs`, which draws them
    an accelerator, and at least 16 chains      :class:`bayeskit.ChEES`, many short chains in step
    all else                                    :class:`bayeskit.NUTS`
    =========================================== ====================================================================

    The result's attributes ``method`` and ``method_settings`` are those of the chosen method, and ``method_reason``
    says why; so does a note beside the progress bar. An approximation is chosen only where there is no other way:
    whether it will do is what :func:`bayeskit.check` says.

    Args:
        num_chains: by default that of the method; 128 for ChEES.
        num_draws: draws of each of four chains; ChEES spreads as many over its chains.

    Raises:
        MethodError: an impossible setting.

    Example:
        >>> import numpyro, numpyro.distributions as dist
        >>> import bayeskit as bk
        >>> def model(y):
        ...     mu = numpyro.sample("mu", dist.Normal(0.0, 10.0))
        ...     numpyro.sample("y", dist.Normal(mu, 1.0).expand([3]).to_event(1), obs=y)
        >>> post = bk.infer(model, {"y": [1.2, 0.7, 1.9]}, bk.auto(num_chains=2, num_draws=200), key=0, progress=False)
        >>> post.attrs["method_reason"].partition(":")[0] in ("NUTS", "ChEES")
        True
    """
    return Auto(num_chains=num_chains, num_draws=num_draws)
