"""Hamiltonian Monte Carlo whose trajectories move discrete sites as well, by NumPyro."""

from __future__ import annotations

import dataclasses
import math
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpyro
import numpyro.distributions as dist
from numpyro.handlers import block

from bayeskit._settings import check_choice, is_number, is_whole, require
from bayeskit._typing import Array
from bayeskit.inference.chains.independent import CHAIN_METHODS
from bayeskit.inference.given_discrete import given_sites
from bayeskit.inference.mcmc.discrete_method import DiscreteMethod, at_indices, choices, first_indices
from bayeskit.inference.mcmc.hmc import ADAPTATIONS
from bayeskit.inference.method import check_accept, check_counts
from bayeskit.target import Target

POSITION, PLACE = "position", "place of "


@dataclasses.dataclass(frozen=True, kw_only=True)
class MixedHMC(DiscreteMethod):
    r"""Hamiltonian Monte Carlo whose trajectories also move discrete sites (Zhou 2020), by NumPyro.

    An element :math:`i` of the discrete sites :math:`k` has a clock of its own and a kinetic energy
    :math:`K_i \sim \mathrm{Exp}(1)`. A trajectory of :math:`z` is interrupted whenever a clock rings: the element is
    proposed another value, which is taken where :math:`K_i` pays for the change of density, and the trajectory goes on
    in the density with the new one. The whole trajectory is accepted or rejected by its energy. So :math:`z` and
    :math:`k` move far together, where :class:`bayeskit.DiscreteHMCGibbs` moves one given the other.

    The draws of discrete sites are integers among the posterior's variables, and :func:`bayeskit.check` judges them by
    their R-hat and effective sample size like all others. A trajectory counts as divergent where its energy is so far
    off that its acceptance rate is zero.

    Args:
        num_chains: number of chains.
        num_warmup: adaptation steps a chain.
        num_draws: draws a chain.
        target_accept: acceptance rate that the step size is tuned for, in (0, 1).
        trajectory_length: integration time of one trajectory, in the units of the adapted metric.
        num_discrete_updates: how often clocks ring in a trajectory; by default as often as there are elements.
        adaptation: of the metric: ``"auto"`` and ``"diagonal"`` (Stan's windows) or ``"dense"``.
        random_walk: propose a uniform value, not one from its conditional; for sites of many values.
        modified: propose other values only (Liu 1996).
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
        >>> method = bk.MixedHMC(num_chains=2, num_warmup=200, num_draws=500)
        >>> post = bk.infer(model, {"y": 1.0}, method, key=0, progress=False)
        >>> bool(abs(post["posterior/late"].mean() - 0.321) < 0.1)  # 1 / (1 + exp(0.75))
        True

    Reference: Zhou (2020), "Mixed Hamiltonian Monte Carlo for mixed discrete and continuous variables".
    """

    kind: ClassVar[str] = "mixed_hmc"

    num_chains: int = 4
    num_warmup: int = 1000
    num_draws: int = 1000
    target_accept: float = 0.8
    trajectory_length: float = math.pi / 2
    num_discrete_updates: int | None = None
    adaptation: str = "auto"
    random_walk: bool = False
    modified: bool = False
    chain_method: str = "auto"

    def __post_init__(self) -> None:
        check_counts(self)
        check_accept(self.target_accept)
        length, updates = self.trajectory_length, self.num_discrete_updates
        require(is_number(length) and length > 0, "trajectory_length", length, "positive and finite")
        some = updates is None or (is_whole(updates) and updates >= 1)
        require(some, "num_discrete_updates", updates, "a positive integer, or None")
        check_choice("adaptation", self.adaptation, ADAPTATIONS)
        self.check_proposals()
        check_choice("chain_method", self.chain_method, CHAIN_METHODS)

    def _kernel(self) -> Any:
        from numpyro.infer import HMC
        from numpyro.infer import MixedHMC as Kernel

        inner = HMC(
            _model,
            target_accept_prob=self.target_accept,
            trajectory_length=self.trajectory_length,
            dense_mass=self.adaptation == "dense",
        )
        return Kernel(
            inner,
            num_discrete_updates=self.num_discrete_updates,
            random_walk=self.random_walk,
            modified=self.modified,
        )

    def _start(self, kernel: Any, key: Array, target: Target, places: dict[str, Array]) -> Any:
        state = kernel.init(key, self.num_warmup, places, (target,), {})
        return jax.tree.map(jnp.asarray, state)

    def init_chain(self, key: Array, target: Target, position: Array) -> Any:
        places, start = jax.random.split(key)
        first = {PLACE + name: place for name, place in first_indices(places, target, position).items()}
        return self._start(self._kernel(), start, target, {POSITION: position, **first})

    def step_chain(self, state: Any, target: Target) -> tuple[Any, Array, dict[str, Array]]:
        kernel = self._kernel()
        # an abstract start fills what the kernel keeps in closures, so that a stored state goes on in a new process
        jax.eval_shape(lambda key, z: self._start(kernel, key, target, z), state.rng_key, state.z)
        new = kernel.sample(state, (target,), {})
        new = jax.tree.map(lambda fresh, old: jnp.asarray(fresh, jnp.result_type(old)), new, state)
        hmc = new.hmc_state
        stats = {
            "diverging": new.accept_prob == 0,
            "lp": -hmc.potential_energy,
            "acceptance_rate": new.accept_prob,
            "step_size": hmc.adapt_state.step_size,
            "n_steps": hmc.num_steps,
        }
        places = {site.name: new.z[PLACE + site.name] for site in given_sites(target)}
        return new, new.z[POSITION], {**stats, **choices(target, places)}


def _model(target: Target) -> None:
    """The density of a target, as a model of which NumPyro's kernel finds the discrete sites."""
    flat = dist.ImproperUniform(dist.constraints.real_vector, (), (target.size,))
    position = numpyro.sample(POSITION, flat)
    places = {}
    for site in given_sites(target):
        values = dist.DiscreteUniform(0, len(site.support) - 1).expand(list(site.facts.shape)).mask(False)
        places[site.name] = numpyro.sample(PLACE + site.name, values)
    with block():  # the sites of the model itself are none of this one
        density = at_indices(target, places).log_density(target.unravel(position))
    numpyro.factor("density", density)
