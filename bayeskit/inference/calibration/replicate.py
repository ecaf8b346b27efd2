"""One replicate: simulate, fit, and rank what was simulated among the draws."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from bayeskit._keys import host_fold_in, host_split
from bayeskit._typing import Array, ArrayLike, Model, Values
from bayeskit.errors import BayeskitError, ModelError
from bayeskit.inference.calibration.augmented import Augmented
from bayeskit.inference.calibration.ranks import Ranks, equally_spaced, rank
from bayeskit.inference.calibration.simulate import Simulated, Simulator, with_arrays
from bayeskit.inference.likelihoods import positions_of
from bayeskit.inference.method import DirectMethod, Method
from bayeskit.inference.run import infer
from bayeskit.numerics.effective_size import effective_sizes
from bayeskit.target import Target
from bayeskit.xla.miscompilation import safe_jit

if TYPE_CHECKING:
    import xarray as xr

Quantity = Callable[[Values, Mapping[str, Any]], ArrayLike]

LOG_LIKELIHOOD = "log_likelihood"
FEWEST = 9
"""Draws that are kept of the worst of fits: chains that do not move are to be seen in the ranks."""


class Replicate(NamedTuple):
    """What one replicate brings.

    Attributes:
        ranks: of each site and test quantity; empty where the fit failed.
        truth: what was simulated.
        num_draws: draws that were kept of the fit.
        ess: the smallest effective sample size of the fit.
        num_divergences: of the fit.
        failure: why there is no rank; empty where there is.
    """

    ranks: dict[str, Ranks]
    truth: dict[str, np.ndarray]
    num_draws: int
    ess: float
    num_divergences: int
    failure: str


class Replication:
    """The function of a replicate's number that :func:`bayeskit.sbc` calls for each, here or on a worker.

    What is compiled for one replicate serves all: data are arguments of the programs.

    Args:
        model: the NumPyro function.
        data: covariates, and the shapes of the observations.
        method: how each data set is fitted.
        raw: the raw key.
        num_draws: draws to keep of each fit, at most.
        quantities: further test quantities.
        around: draws of the posterior to simulate from, shape ``(draw, ...)``, in place of the prior.
    """

    def __init__(
        self,
        model: Model,
        data: Mapping[str, Any],
        method: Method | DirectMethod,
        raw: np.ndarray,
        num_draws: int,
        quantities: Mapping[str, Quantity],
        around: Mapping[str, np.ndarray] | None,
    ):
        self.model, self.data, self.method, self.raw, self.num_draws = model, data, method, raw, num_draws
        self.quantities, self.around = dict(quantities), around

    def __getstate__(self) -> dict[str, Any]:
        """Without what is made from it: traces of JAX cannot travel."""
        made = {name for name, value in vars(type(self)).items() if isinstance(value, cached_property)}
        return {name: value for name, value in vars(self).items() if name not in made}

    @cached_property
    def simulator(self) -> Simulator:
        """Draws data."""
        return Simulator(self.model, self.data)

    @cached_property
    def augmented(self) -> Augmented | None:
        """The model of given and simulated data together, where the simulation starts from a posterior."""
        return None if self.around is None else Augmented(self.model, self.simulator)

    @cached_property
    def target(self) -> Target | None:
        """The density that is fitted, with the data of some replicate; none where a method answers at once."""
        program = self.simulator.program if self.augmented is None else self.augmented.program
        if isinstance(self.method, Method):
            program = self.method.lift(program)
            target = Target(program)
            self.method.check_target(target)
            return target
        try:
            return Target(program)
        except ModelError:  # it may answer where there is no density
            return None

    @cached_property
    def tells_likelihood(self) -> bool:
        """Whether the likelihood can be told from the rest of the density."""
        if self.target is None:
            return False
        try:
            zeros = self.target.structure.zeros()
            jax.eval_shape(lambda target: target.log_likelihood(zeros), self.target)
        except ModelError:  # discrete sites that are summed out
            return False
        return True

    @cached_property
    def discrete(self) -> str | None:
        """Discrete latent sites are drawn from their exact posterior, and ranked like the others."""
        return "sample" if self.target is not None and self.target.structure.of_kind("discrete") else None

    def prepare(self) -> None:
        """Raise what is wrong with the model or the method before any replicate is run.

        Raises:
            ModelError: see :class:`Simulator`.
        """
        simulated = self.simulator(self.raw, self._origin(0))
        _ = self.target, self.tells_likelihood
        for name in {*self.quantities, LOG_LIKELIHOOD} & simulated.truth.keys():
            raise ModelError(f"{name!r} is a site of the model, so no test quantity can have that name")

    def __call__(self, number: int) -> Replicate:
        """The replicate of this number; it depends on nothing else."""
        simulate, fit, ties = host_split(host_fold_in(self.raw, number), 3)
        simulated = self.simulator(simulate, self._origin(number))
        nothing = {**simulated.truth}
        if bad := [n for n, v in {**nothing, **simulated.data}.items() if not np.isfinite(v).all()]:
            return Replicate({}, nothing, 0, 0.0, 0, f"the simulated {bad[0]!r} is not finite")
        try:
            post = self._fit(simulated, fit)
        except BayeskitError as error:
            if type(error).__name__ == "Interrupted":
                raise
            return Replicate({}, nothing, 0, 0.0, 0, f"{type(error).__name__}: {error}")
        return self._ranked(simulated, post, ties)

    def _origin(self, number: int) -> dict[str, np.ndarray] | None:
        """The draw of the posterior that a replicate is simulated from."""
        if self.around is None:
            return None
        total = len(next(iter(self.around.values())))
        words = host_fold_in(host_fold_in(self.raw, number), zlib.crc32(b"around"))
        return {n: v[int(words[0]) % total] for n, v in self.around.items()}

    def _fit(self, simulated: Simulated, key: np.ndarray) -> xr.DataTree:
        if isinstance(self.method, DirectMethod):
            return self.method.answer(self.model, {**self.data, **simulated.data}, key=jnp.asarray(key))
        target = self._at(simulated)
        return infer(target, None, self.method, key=jnp.asarray(key), discrete=self.discrete, progress=False)

    def _at(self, simulated: Simulated) -> Target:
        """The density of the simulated data: the same programs with other arguments."""
        assert self.target is not None
        arrays = simulated.data if self.augmented is None else self.augmented.arrays(simulated.data)
        return eqx.tree_at(lambda t: t.program, self.target, with_arrays(self.target.program, arrays))

    def _ranked(self, simulated: Simulated, post: xr.DataTree, ties: np.ndarray) -> Replicate:
        draws, chains = _pooled(post, simulated.truth)
        if bad := [n for n, v in draws.items() if not np.isfinite(v).all()]:
            return Replicate({}, simulated.truth, 0, 0.0, 0, f"draws of {bad[0]!r} are not finite")
        ess = _smallest_ess(draws, chains)
        total = len(next(iter(draws.values())))
        kept = equally_spaced(total, int(min(self.num_draws, max(ess, FEWEST), total)))
        draws = {n: v[kept] for n, v in draws.items()}
        truth = {n: simulated.truth[n] for n in draws}
        for name, (values, value) in self._quantities(simulated, draws).items():
            if not np.isfinite(np.append(values, value)).all():
                return Replicate({}, truth, 0, ess, 0, f"the test quantity {name!r} is not finite")
            draws[name], truth[name] = values, value
        uniform = np.random.default_rng([int(word) for word in ties])
        ranks = {n: rank(truth[n], v, uniform) for n, v in draws.items()}
        return Replicate(ranks, truth, len(kept), ess, _divergences(post), "")

    def _quantities(self, simulated: Simulated, draws: Mapping[str, np.ndarray]) -> dict[str, Any]:
        """Test quantities at the draws and at the truth."""
        found: dict[str, Any] = {}
        joint = {n: np.concatenate([v, simulated.truth[n][None]]) for n, v in draws.items()}
        if self.target is not None and self.tells_likelihood and set(self.target.latent_names) <= joint.keys():
            latent = {n: jnp.asarray(joint[n]) for n in self.target.latent_names}
            values = np.asarray(_log_likelihood(self._at(simulated), latent))
            found[LOG_LIKELIHOOD] = values[:-1], values[-1]
        data = {**self.simulator.program.data, **simulated.data}
        for name, quantity in self.quantities.items():
            values = np.stack(
                [np.asarray(quantity({n: v[i] for n, v in joint.items()}, data)) for i in range(len(draws_of(joint)))]
            )
            found[name] = values[:-1], values[-1]
        return found


def draws_of(joint: Mapping[str, np.ndarray]) -> np.ndarray:
    """One of the arrays, for its length."""
    return next(iter(joint.values()))


@safe_jit
def _log_likelihood(target: Target, latent: Values) -> Array:
    # one after another: a batch of factorisations would wait on XLA's own workers
    positions = positions_of(target, latent)
    return jax.lax.map(lambda position: target.log_likelihood(target.unravel(position)), positions)


def _pooled(post: xr.DataTree, truth: Mapping[str, np.ndarray]) -> tuple[dict[str, np.ndarray], int]:
    """Draws of what is known of the truth, chains in a row, and how many chains there are.

    Raises:
        ModelError: there are none: the method integrates latent sites out.
    """
    from bayeskit.storage import site_values

    values = site_values(post, optional=True)
    found = {n: v for n, v in values.items() if n in truth and v.shape[2:] == truth[n].shape}
    if not found:
        raise ModelError(f"the method brings draws of no site of the model, which has {', '.join(truth)}")
    chains = draws_of(found).shape[0]
    return {n: v.reshape(-1, *v.shape[2:]) for n, v in found.items()}, chains


def _smallest_ess(draws: Mapping[str, np.ndarray], chains: int) -> float:
    """Of all elements that move; that of as many draws where none does."""
    total = len(draws_of(draws))
    if total // chains < 4:
        return float(total)
    sizes = [effective_sizes(v.reshape(chains, total // chains, -1)) for v in draws.values()]
    known = np.concatenate(sizes)
    known = known[np.isfinite(known)]
    return float(known.min()) if known.size else float(total)


def _divergences(post: xr.DataTree) -> int:
    if "sample_stats" not in post.children or "diverging" not in post["sample_stats"].data_vars:
        return 0
    return int(np.asarray(post["sample_stats"].to_dataset()["diverging"].values).sum())
