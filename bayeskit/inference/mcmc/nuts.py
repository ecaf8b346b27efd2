"""The no-U-turn sampler, by BlackJAX or NumPyro."""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Sequence
from typing import Any, ClassVar

import jax.numpy as jnp

from bayeskit._settings import check_choice, is_number, is_whole, require
from bayeskit._spelling import did_you_mean
from bayeskit._typing import Array
from bayeskit.errors import MethodError, ModelError
from bayeskit.inference.chains.agreement import Evaluated
from bayeskit.inference.chains.independent import CHAIN_METHODS, ChainMethod, runs_single_kernels
from bayeskit.inference.method import check_accept, check_counts, check_superchains, superchains
from bayeskit.target import Target

BACKENDS = ("blackjax", "numpyro")
ADAPTATIONS = {
    "blackjax": ("auto", "diagonal", "dense", "low_rank", "window"),
    "numpyro": ("auto", "diagonal", "dense"),
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class NUTS(ChainMethod):
    r"""The no-U-turn sampler (Hoffman and Gelman 2014; multinomial variant of Betancourt 2017).

    Trajectories of leapfrog steps for :math:`H(z, p) = -\log\pi(z) + \tfrac12 p^\top M^{-1} p` are doubled until they
    turn back on themselves. The warmup tunes the step size by dual averaging and the metric :math:`M^{-1}`.

    Args:
        num_chains: number of chains, from different starting points.
        num_warmup: adaptation steps a chain; not part of the result.
        num_draws: draws a chain.
        target_accept: acceptance rate that the step size is tuned for, in (0, 1). BlackJAX's chains aim higher, up to
            ``1 - 0.03 * (1 - target_accept)``, where trajectories of the warmup break down; raise it (0.9 to 0.99)
            against divergences that remain.
        max_tree_depth: a trajectory has at most ``2**max_tree_depth - 1`` leapfrogs.
        backend: ``"blackjax"`` or ``"numpyro"``.
        adaptation: how the metric is adapted. ``"auto"``: for BlackJAX the metric that minimises the Fisher divergence
            (Seyboldt, Carlson and Carpenter 2026), dense in few dimensions and diagonal in many; for NumPyro a diagonal
            one by Stan's windows. Or ``"diagonal"``, ``"dense"``, and with BlackJAX ``"low_rank"``, ``"window"``
            (Stan's windows), or blocks of sites such as ``[("slope", "intercept")]``: dense within each block and
            diagonal elsewhere (``dense_mass`` of NumPyro).
        initial_step_size: where the search for the step size starts, in units of the first metric; ``None`` for the
            backend's own.
        chain_method: ``"auto"``, ``"threads"``, ``"vectorized"`` or ``"sharded"``; see
            `bayeskit.inference.chains.independent`.
        num_superchains: where given, so many groups of chains start together, each at a place of its own, which tells
            whether many short chains (``chain_method="vectorized"``) have forgotten their starts: nested R-hat, see
            :func:`bayeskit.check`; ``"auto"`` as for :class:`ChEES`.

    Raises:
        MethodError: an impossible setting.

    Example:
        >>> import bayeskit as bk
        >>> bk.NUTS(num_chains=2, target_accept=0.9).num_draws
        1000
    """

    kind: ClassVar[str] = "nuts"
    starts_from: ClassVar[str] = "ascent"

    num_chains: int = 4
    num_warmup: int = 1000
    num_draws: int = 1000
    target_accept: float = 0.8
    max_tree_depth: int = 10
    backend: str = "blackjax"
    adaptation: str | Sequence[Sequence[str]] = "auto"
    initial_step_size: float | None = None
    chain_method: str = "auto"
    num_superchains: int | str | None = None

    @property
    def num_starts_of_chains(self) -> int:
        return superchains(self.num_chains, self.num_superchains)

    def __post_init__(self) -> None:
        check_counts(self)
        check_superchains(self, self.num_superchains)
        check_choice("backend", self.backend, BACKENDS)
        check_accept(self.target_accept)
        depth = self.max_tree_depth
        require(is_whole(depth) and 1 <= depth <= 20, "max_tree_depth", depth, "an integer from 1 to 20")
        size = self.initial_step_size
        require(size is None or (is_number(size) and size > 0), "initial_step_size", size, "a positive number, or None")
        if not isinstance(self.adaptation, str):
            self._check_blocks()
        elif self.adaptation not in ADAPTATIONS[self.backend]:
            choices = ", ".join(map(repr, ADAPTATIONS[self.backend]))
            raise MethodError(
                f"adaptation must be one of {choices} with backend={self.backend!r}, got {self.adaptation!r}"
            )
        check_choice("chain_method", self.chain_method, CHAIN_METHODS)

    def _check_blocks(self) -> None:
        blocks = self.adaptation
        ok = isinstance(blocks, list | tuple) and len(blocks) > 0
        ok = ok and all(isinstance(block, list | tuple) and len(block) > 0 for block in blocks)
        names = [name for block in blocks for name in block] if ok else []
        ok = ok and all(isinstance(name, str) for name in names) and len(set(names)) == len(names)
        must = 'a name, or blocks of different sites such as [("slope", "intercept"), ("scale",)]'
        require(ok, "adaptation", blocks, must)
        require(self.backend == "blackjax", "backend", self.backend, "'blackjax' where adaptation is blocks of sites")
        object.__setattr__(self, "adaptation", tuple(map(tuple, blocks)))

    def check_target(self, target: Target) -> None:
        super().check_target(target)
        for name in (name for block in self._blocks for name in block):
            if name not in target.latent_names:
                hint = did_you_mean(name, target.latent_names, "the latent sites are")
                raise ModelError(f"adaptation: {name!r} is not a continuous latent site{hint}")

    @property
    def _blocks(self) -> tuple[tuple[str, ...], ...]:
        return () if isinstance(self.adaptation, str) else tuple(map(tuple, self.adaptation))

    @property
    def library(self) -> str:
        return self.backend

    def attributes(self, target: Target) -> dict[str, str | int]:
        return {**super().attributes(target), "max_tree_depth": self.max_tree_depth}

    def _blackjax(self, target: Target) -> Any:
        from bayeskit.inference.mcmc.blackjax_nuts import NUTSSettings

        own: dict[str, Any] = {} if self.initial_step_size is None else {"initial_step_size": self.initial_step_size}
        return NUTSSettings(
            num_warmup=self.num_warmup,
            target_accept=self.target_accept,
            max_tree_depth=self.max_tree_depth,
            adaptation=self.adaptation if isinstance(self.adaptation, str) else self._coordinates(target),
            single_kernel=runs_single_kernels(self.chain_method),
            **own,
        )

    def _coordinates(self, target: Target) -> tuple[tuple[tuple[int, int], ...], ...]:
        """Of each block the ranges of its sites in the flat vector of unconstrained values."""
        sizes = [math.prod(site.unconstrained_shape) for site in target.structure.of_kind("latent")]
        ends = itertools.accumulate(sizes)
        ranges = {name: (end - size, end) for name, size, end in zip(target.latent_names, sizes, ends, strict=True)}
        return tuple(tuple(ranges[name] for name in block) for block in self._blocks)

    def _numpyro(self) -> dict[str, Any]:
        return {
            "num_warmup": self.num_warmup,
            "target_accept_prob": self.target_accept,
            "max_tree_depth": self.max_tree_depth,
            "dense_mass": self.adaptation == "dense",
            **({} if self.initial_step_size is None else {"step_size": self.initial_step_size}),
        }

    def init_chain(self, key: Array, target: Target, position: Array) -> Any:
        if self.backend == "numpyro":
            from bayeskit.inference.mcmc import numpyro_kernels

            return numpyro_kernels.init_chain("NUTS", self._numpyro(), key, target, position)
        from bayeskit.inference.mcmc import blackjax_nuts

        return blackjax_nuts.init_chain(self._blackjax(target), key, _flat(target), position)

    def evaluated(self, state: Any) -> Evaluated | None:
        if self.backend == "numpyro" or not runs_single_kernels(self.chain_method):
            return None
        here = state.position
        return Evaluated(here.position, here.logdensity, here.logdensity_grad)

    def step_chain(self, state: Any, target: Target) -> tuple[Any, Array, dict[str, Array]]:
        if self.backend == "numpyro":
            from bayeskit.inference.mcmc import numpyro_kernels

            return numpyro_kernels.step_chain("NUTS", self._numpyro(), state, target)
        from bayeskit.inference.mcmc import blackjax_nuts

        state, stats = blackjax_nuts.step_chain(self._blackjax(target), state, _flat(target))
        return state, state.position.position, stats


def _flat(target: Target) -> Any:
    return lambda position: jnp.asarray(target.log_density(target.unravel(position)))
