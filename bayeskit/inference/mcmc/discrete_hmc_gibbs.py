"""Discrete sites by Gibbs steps, continuous ones by the no-U-turn sampler, by NumPyro."""

from __future__ import annotations

import dataclasses
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp

from bayeskit._settings import check_choice, is_whole, require
from bayeskit._typing import Array
from bayeskit.inference.chains.independent import CHAIN_METHODS
from bayeskit.inference.mcmc.discrete_method import (
    DiscreteMethod,
    Indices,
    at_indices,
    choices,
    first_indices,
    support_sizes,
)
from bayeskit.inference.mcmc.hmc import ADAPTATIONS
from bayeskit.inference.method import check_accept, check_counts
from bayeskit.target import Target


class GibbsState(NamedTuple):
    """Raw key, places of the values of discrete sites in their lists, and NumPyro's state of the continuous ones."""

    key: Array
    indices: Indices
    continuous: Any


@dataclasses.dataclass(frozen=True, kw_only=True)
class DiscreteHMCGibbs(DiscreteMethod):
    r"""Draws of discrete sites by Gibbs steps, and of continuous ones by NUTS, in turn; by NumPyro.

    With :math:`k` the discrete sites and :math:`z` the unconstrained continuous ones, a step first draws every element
    of :math:`k`, in a random order, from its conditional

    .. math:: p(k_i = v \mid k_{-i}, z, y) \propto \pi(z, k_1, \dots, v, \dots, k_n),

    and then :math:`z` by one transition of NUTS that leaves :math:`\pi(z \mid k)` invariant.

    For discrete sites that enumeration cannot sum out. Where :class:`bayeskit.NUTS` can, it is better: it moves in the
    density without them, which joins what they separate, and ``discrete="sample"`` of :func:`bayeskit.infer` draws
    them exactly. A sweep evaluates the density of the whole model once for each other value of each element.

    The draws of discrete sites are integers among the posterior's variables, and :func:`bayeskit.check` judges them by
    their R-hat and effective sample size like all others. The sampler moves one element at a time: where elements
    move together only (two labels of a mixture exchanged), chains stay apart, and the verdict says so.

    Args:
        num_chains: number of chains.
        num_warmup: adaptation steps a chain.
        num_draws: draws a chain.
        target_accept: acceptance rate that the step size is tuned for, in (0, 1).
        max_tree_depth: a trajectory has at most ``2**max_tree_depth - 1`` leapfrogs.
        adaptation: of the metric: ``"auto"`` and ``"diagonal"`` (Stan's windows) or ``"dense"``.
        random_walk: propose a uniform value and accept or reject it, with one evaluation for an element; for sites of
            many values.
        modified: propose other values only (Liu 1996), which moves more often.
        chain_method: as for :class:`bayeskit.NUTS`.

    Raises:
        MethodError: an impossible setting.
        ModelError: when it runs: no discrete site, or only such; a site whose values cannot be listed, such as a
            Poisson count.

    Example:
        >>> import numpyro, numpyro.distributions as dist
        >>> import bayeskit as bk
        >>> def model(y):
        ...     late = numpyro.sample("late", dist.Bernoulli(0.5))
        ...     mu = numpyro.sample("mu", dist.Normal(3.0 * late, 1.0))
        ...     numpyro.sample("y", dist.Normal(mu, 1.0), obs=y)
        >>> method = bk.DiscreteHMCGibbs(num_chains=2, num_warmup=200, num_draws=500)
        >>> post = bk.infer(model, {"y": 1.0}, method, key=0, progress=False)
        >>> bool(abs(post["posterior/late"].mean() - 0.321) < 0.1)  # 1 / (1 + exp(0.75))
        True

    References:
        Liu (1996), "Peskun's theorem and a modified discrete-state Gibbs sampler"; Phan, Pradhan and Jankowiak (2019),
        "Composable effects for flexible and accelerated probabilistic programming in NumPyro".
    """

    kind: ClassVar[str] = "discrete_hmc_gibbs"

    num_chains: int = 4
    num_warmup: int = 1000
    num_draws: int = 1000
    target_accept: float = 0.8
    max_tree_depth: int = 10
    adaptation: str = "auto"
    random_walk: bool = False
    modified: bool = False
    chain_method: str = "auto"

    def __post_init__(self) -> None:
        check_counts(self)
        check_accept(self.target_accept)
        depth = self.max_tree_depth
        require(is_whole(depth) and 1 <= depth <= 20, "max_tree_depth", depth, "an integer from 1 to 20")
        check_choice("adaptation", self.adaptation, ADAPTATIONS)
        self.check_proposals()
        check_choice("chain_method", self.chain_method, CHAIN_METHODS)

    def attributes(self, target: Target) -> dict[str, str | int]:
        return {**super().attributes(target), "max_tree_depth": self.max_tree_depth}

    def _numpyro(self) -> dict[str, Any]:
        return {
            "num_warmup": self.num_warmup,
            "target_accept_prob": self.target_accept,
            "max_tree_depth": self.max_tree_depth,
            "dense_mass": self.adaptation == "dense",
        }

    def init_chain(self, key: Array, target: Target, position: Array) -> GibbsState:
        from bayeskit.inference.mcmc import numpyro_kernels

        own, places, start = jax.random.split(key, 3)
        indices = first_indices(places, target, position)
        here = at_indices(target, indices)
        return GibbsState(own, indices, numpyro_kernels.init_chain("NUTS", self._numpyro(), start, here, position))

    def step_chain(self, state: GibbsState, target: Target) -> tuple[GibbsState, Array, dict[str, Array]]:
        from numpyro.infer.gibbs import discrete_gibbs_sweep, select_discrete_proposal

        from bayeskit.inference.mcmc import numpyro_kernels

        key, sweep = jax.random.split(state.key)
        position = state.continuous.z
        sizes = support_sizes(target)

        def potential(indices: Indices) -> Array:
            return -at_indices(target, indices).log_density(target.unravel(position))

        indices, _ = discrete_gibbs_sweep(
            sweep,
            state.indices,
            state.continuous.potential_energy,
            potential,
            jnp.concatenate([jnp.ravel(leaf) for leaf in jax.tree.leaves(sizes)]),
            select_discrete_proposal(self.random_walk, self.modified),
        )
        here = at_indices(target, indices)
        continuous = numpyro_kernels.refreshed(state.continuous, here)
        continuous, position, stats = numpyro_kernels.step_chain("NUTS", self._numpyro(), continuous, here)
        return GibbsState(key, indices, continuous), position, {**stats, **choices(target, indices)}
