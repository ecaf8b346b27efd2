"""Hamiltonian Monte Carlo with trajectories of fixed length, by NumPyro."""

from __future__ import annotations

import dataclasses
import math
from typing import Any, ClassVar

from bayeskit._settings import check_choice, is_number, require
from bayeskit._typing import Array
from bayeskit.inference.chains.independent import CHAIN_METHODS, ChainMethod
from bayeskit.inference.method import check_accept, check_counts
from bayeskit.target import Target

ADAPTATIONS = ("auto", "diagonal", "dense")


@dataclasses.dataclass(frozen=True, kw_only=True)
class HMC(ChainMethod):
    r"""Hamiltonian Monte Carlo with trajectories of fixed length (Duane et al. 1987; Neal 2011), by NumPyro.

    Args:
        num_chains: number of chains.
        num_warmup: adaptation steps a chain.
        num_draws: draws a chain.
        target_accept: acceptance rate that the step size is tuned for, in (0, 1).
        trajectory_length: integration time of one trajectory, in the units of the adapted metric (:math:`2\pi` is a
            full period of a standard normal target).
        adaptation: ``"auto"`` and ``"diagonal"`` (Stan's windows) or ``"dense"``.
        initial_step_size: where the search for the step size starts; ``None`` for NumPyro's own.
        chain_method: as for :class:`NUTS`.

    Raises:
        MethodError: an impossible setting.
    """

    kind: ClassVar[str] = "hmc"
    starts_from: ClassVar[str] = "ascent"

    num_chains: int = 4
    num_warmup: int = 1000
    num_draws: int = 1000
    target_accept: float = 0.8
    trajectory_length: float = math.pi / 2
    adaptation: str = "auto"
    initial_step_size: float | None = None
    chain_method: str = "auto"

    def __post_init__(self) -> None:
        check_counts(self)
        check_accept(self.target_accept)
        length = self.trajectory_length
        require(
            is_number(length) and length > 0,
            "trajectory_length",
            length,
            "positive and finite",
        )
        size = self.initial_step_size
        require(size is None or (is_number(size) and size > 0), "initial_step_size", size, "a positive number, or None")
        check_choice("adaptation", self.adaptation, ADAPTATIONS)
        check_choice("chain_method", self.chain_method, CHAIN_METHODS)

    @property
    def library(self) -> str:
        return "numpyro"

    def _numpyro(self) -> dict[str, Any]:
        return {
            "num_warmup": self.num_warmup,
            "target_accept_prob": self.target_accept,
            "trajectory_length": self.trajectory_length,
            "dense_mass": self.adaptation == "dense",
            **({} if self.initial_step_size is None else {"step_size": self.initial_step_size}),
        }

    def init_chain(self, key: Array, target: Target, position: Array) -> Any:
        from bayeskit.inference.mcmc import numpyro_kernels

        return numpyro_kernels.init_chain("HMC", self._numpyro(), key, target, position)

    def step_chain(self, state: Any, target: Target) -> tuple[Any, Array, dict[str, Array]]:
        from bayeskit.inference.mcmc import numpyro_kernels

        return numpyro_kernels.step_chain("HMC", self._numpyro(), state, target)
