"""Pathfinder: normal distributions along the paths of an optimiser, resampled towards the posterior."""

from __future__ import annotations

import dataclasses
from collections.abc import Generator
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from bayeskit._keys import host_fold_in, host_split
from bayeskit._settings import check_choice, is_number, is_whole, require
from bayeskit._typing import Array, Values
from bayeskit.errors import SamplingError
from bayeskit.inference.chains.independent import (
    CHAIN_METHODS,
    CONSTRAINED_AT_ONCE,
    ChainMethod,
    factorises,
    map_chains,
)
from bayeskit.inference.method import check_counts
from bayeskit.inference.starts import more_starts
from bayeskit.inference.weighted import Pool, Weighted, choose, nothing_chosen
from bayeskit.numerics.low_rank_normal import LowRankNormal, low_rank_normal
from bayeskit.numerics.quasi_newton import Walk, climb, factors, start
from bayeskit.target import Target

__all__ = ["Pathfinder"]


class PathfinderState(NamedTuple):
    """All with a leading chain axis. `key`: raw; `step`: draws so far; `starts`: shape `(paths, size)`; `chosen`: the
    draws to come; `failed`: paths; `gradients` and `densities`: how many were computed.
    """

    key: Array
    step: Array
    starts: Array
    chosen: Weighted
    failed: Array
    gradients: Array
    densities: Array


@dataclasses.dataclass(frozen=True)
class Pathfinder(ChainMethod):
    r"""Pathfinder (Zhang, Carpenter, Gelman and Vehtari 2022), with several paths and importance resampling.

    From each of :math:`P` points, uniform on (-2, 2) in unconstrained space, L-BFGS goes up the log density, and at
    every point of its path its estimate :math:`H` of the inverse Hessian gives a normal distribution
    :math:`N(z + H \nabla \log\pi(z), H)`. The one with the largest evidence lower bound, from ``num_elbo_draws`` draws,
    is the approximation :math:`q_i` of the path. Draws of all paths are weighted against their mixture,

    .. math:: w = \pi(z) \Big/ \frac1P \sum_i q_i(z),

    so that a path that ends in a place without mass costs draws and nothing else (the paper weights each draw by its
    own path; the mixture has the smaller variance, Elvira, Martino, Luengo and Bugallo 2019, "Generalized multiple
    importance sampling"). The weights are Pareto smoothed, and ``num_draws`` draws are taken in proportion to them:
    they follow the posterior where :math:`\hat k \le 0.7`, and :func:`bayeskit.check` says so. Where it is above, the
    draws are still where chains can start: ``bk.infer(model, data, bk.NUTS(), key=..., init=fast)``.

    A path fails where the density is zero at all draws of all its normal distributions. It is left out; the result says
    how many have failed, and the verdict warns.

    Args:
        num_paths: :math:`P`. The first starts where ``init`` of :func:`bayeskit.infer` says.
        num_draws: draws of each chain.
        draws_per_path: draws of each path that are weighted.
        num_elbo_draws: draws for each estimate of the bound.
        history: steps that L-BFGS remembers: the rank of :math:`H - \mathrm{diag}` is twice that.
        max_iterations: of L-BFGS.
        tolerance: a gain in log density that ends a path when two steps in a row have no more.
        resample: if false, ``num_draws`` draws of the mixture as they are, with ``log_q`` and ``log_weight``.
        num_chains: independent repetitions.
        chain_method: how paths are spread: ``"auto"``, ``"threads"``, ``"vectorized"``, ``"sharded"``.

    Raises:
        MethodError: an impossible setting.
        SamplingError: when it runs: every path has failed.

    Example:
        >>> import numpyro, numpyro.distributions as dist
        >>> import bayeskit as bk
        >>> def model(y):
        ...     mu = numpyro.sample("mu", dist.Normal(0.0, 10.0))
        ...     scale = numpyro.sample("scale", dist.HalfNormal(2.0))
        ...     with numpyro.plate("row", len(y)):
        ...         numpyro.sample("y", dist.Normal(mu, scale), obs=y)
        >>> data = {"y": [1.2, 0.7, 1.9, 1.1, 0.3]}
        >>> fast = bk.infer(model, data, bk.Pathfinder(num_paths=4), key=0, progress=False)
        >>> fast["posterior/mu"].shape, fast.attrs["num_paths_failed"]
        ((1, 1000), 0)
        >>> nuts = bk.NUTS(num_chains=2, num_warmup=200, num_draws=200)
        >>> post = bk.infer(model, data, nuts, key=1, init=fast, progress=False)
    """

    kind: ClassVar[str] = "pathfinder"
    extends: ClassVar[bool] = False

    num_paths: int = 8
    num_draws: int = 1000
    draws_per_path: int = 1000
    num_elbo_draws: int = 10
    history: int = 6
    max_iterations: int = 1000
    tolerance: float = 1e-4
    resample: bool = True
    num_chains: int = 1
    chain_method: str = "auto"

    def __post_init__(self) -> None:
        for name in ("num_paths", "draws_per_path", "num_elbo_draws", "history", "max_iterations"):
            value = getattr(self, name)
            require(is_whole(value) and value >= 1, name, value, "a positive integer")
        require(is_number(self.tolerance) and self.tolerance >= 0, "tolerance", self.tolerance, "a number, 0 or more")
        require(isinstance(self.resample, bool), "resample", self.resample, "True or False")
        check_counts(self)
        check_choice("chain_method", self.chain_method, CHAIN_METHODS)

    @property
    def num_warmup(self) -> int:  # type: ignore[override]
        """None: the paths are one stage before the draws."""
        return 0

    @property
    def _weighed(self) -> int:
        """Draws of each path; without resampling one path must do, where all others fail."""
        return self.draws_per_path if self.resample else self.num_draws

    def init(self, key: Array, target: Target, positions: Values) -> PathfinderState:
        raw = np.asarray(key)
        first = np.asarray(jax.vmap(target.ravel)(positions))
        zero = np.zeros(self.num_chains, np.int32)
        chosen = nothing_chosen(self.num_chains, self.num_draws, target.size, first.dtype)
        starts = more_starts(target, host_fold_in(raw, 0), first, self.num_paths)
        leaves: list[Any] = [host_split(raw, self.num_chains), zero, starts, chosen, zero, zero, zero]  # on the host
        return PathfinderState(*leaves)

    def stages(self, state: Any, target: Target) -> Generator[tuple[Any, str], None, None]:
        state = self.warmup(state, target)
        failed, k = int(np.sum(state.failed)), float(np.max(state.chosen.pareto_k))
        paths = self.num_paths * self.num_chains
        yield state, f"{paths - failed} of {paths} paths, Pareto k {k:.2f}"

    def warmup(self, state: Any, target: Target) -> PathfinderState:
        chains, paths = self.num_chains, self.num_paths
        each = dataclasses.replace(self, num_chains=chains * paths)
        keys = np.concatenate([host_split(host_fold_in(key, 1), paths) for key in np.asarray(state.key)])
        found = map_chains(each, _follow, (keys, state.starts.reshape(chains * paths, -1)), target)
        found = jax.tree.map(lambda leaf: np.asarray(leaf).reshape(chains, paths, *leaf.shape[1:]), found)
        if not found.arrived.any(axis=1).all():
            raise SamplingError(_why_none(self, found))
        log_q = np.asarray(map_chains(self, _mixture, (found.normal, found.points, found.arrived), target))
        chosen = [self._choose(key, found, log_q, chain) for chain, key in enumerate(np.asarray(state.key))]
        return state._replace(
            chosen=jax.tree.map(lambda *leaves: np.stack(leaves), *chosen),
            failed=np.sum(~found.arrived, axis=1).astype(np.int32),
            gradients=found.gradients.sum(axis=1, dtype=np.int32),
            densities=found.densities.sum(axis=1, dtype=np.int32),
        )

    def _choose(self, key: np.ndarray, found: Any, log_q: np.ndarray, chain: int) -> Weighted:
        """The draws of one chain, from those of the paths that have arrived; one path after another."""
        arrived = np.flatnonzero(found.arrived[chain])

        def pooled(array: np.ndarray) -> np.ndarray:
            return np.swapaxes(array[chain][arrived], 0, 1).reshape(-1, *array.shape[3:])

        pool = Pool(pooled(found.points), pooled(found.lp), pooled(log_q))
        return choose(pool, self.num_draws, jnp.asarray(host_fold_in(key, 2)), resample=self.resample)

    def init_chain(self, key: Array, target: Target, position: Array) -> Any:
        raise NotImplementedError  # `init` starts all paths

    def step_chain(self, state: PathfinderState, target: Target) -> tuple[PathfinderState, Array, dict[str, Array]]:
        del target
        position, stats = state.chosen.at(state.step, weights=not self.resample)
        return state._replace(step=state.step + 1), position, stats

    def found(self, state: Any) -> dict[str, float]:
        """The log evidence by importance sampling, paths and draws that were of no use, and what was computed."""
        failed = int(np.sum(state.failed))
        return {
            **state.chosen.found(),
            "num_weighted": (self.num_paths * self.num_chains - failed) * self._weighed,
            "num_paths_failed": failed,
            "num_gradients": int(np.sum(state.gradients)),
            "num_densities": int(np.sum(state.densities)),
        }


class _Best(NamedTuple):
    bound: Array
    normal: LowRankNormal


class _Path(NamedTuple):
    """What has become of a path: `points`, their log densities `lp`."""

    normal: LowRankNormal
    points: Array
    lp: Array
    arrived: Array
    gradients: Array
    densities: Array


def _follow(method: Pathfinder, target: Target, key: Array, position: Array) -> _Path:
    """One path, the normal distribution of it with the largest bound, and draws of that."""

    def density(flat: Array) -> Array:
        return jnp.asarray(target.log_density(target.unravel(flat)))

    together = None if factorises(density, target.size) else CONSTRAINED_AT_ONCE

    def densities(points: Array) -> Array:
        return jnp.asarray(jax.lax.map(density, points, batch_size=together))

    def step(carry: tuple[Walk, _Best]) -> tuple[Walk, _Best]:
        walk, best = carry
        walk = climb(jax.value_and_grad(density), walk, method.tolerance)
        noise = jax.random.normal(jax.random.fold_in(bound_key, walk.step), (method.num_elbo_draws, target.size))
        normal = _around(walk)
        points, log_q = normal.at(noise.astype(position.dtype))
        bound = _bound(densities(points) - log_q)
        better = bound > best.bound
        return walk, jax.tree.map(lambda new, old: jnp.where(better, new, old), _Best(bound, normal), best)

    bound_key, draw_key = jax.random.split(jax.random.wrap_key_data(key))
    walk = start(jax.value_and_grad(density), position, method.history)
    begin = walk, _Best(jnp.asarray(-jnp.inf, position.dtype), _around(walk))
    walk, best = jax.lax.while_loop(lambda c: c[0].goes_on & (c[0].step < method.max_iterations), step, begin)
    noise = jax.random.normal(draw_key, (method._weighed, target.size), position.dtype)
    points, _ = best.normal.at(noise)
    arrived = jnp.isfinite(best.bound)  # NaN is never better than minus infinity
    evaluated = walk.step * method.num_elbo_draws + method._weighed
    return _Path(best.normal, points, densities(points), arrived, walk.gradients, evaluated)


def _bound(log_weights: Array) -> Array:
    r"""The evidence lower bound of a normal distribution that is cut off where the density is zero (or NaN): with a
    share :math:`s` of it left, the density there is :math:`q / s`.
    """
    inside = log_weights > -jnp.inf
    number = jnp.sum(inside).astype(log_weights.dtype)
    return jnp.sum(jnp.where(inside, log_weights, 0.0)) / number + jnp.log(number / log_weights.size)


def _around(walk: Walk) -> LowRankNormal:
    """The normal distribution at a point of a path, with one Newton step as its mean."""
    left, middle = factors(walk.curvature)
    diagonal, slope = walk.curvature.diagonal, walk.point.slope
    mean = walk.point.position + diagonal * slope + left @ (middle @ (left.T @ slope))
    return low_rank_normal(mean, diagonal, left, middle)


def _mixture(method: Pathfinder, target: Target, normals: Any, points: Array, arrived: Array) -> Array:
    """Log density of the mixture of the paths that have arrived at the draws of all, shape `(paths, draws)`."""
    del method, target
    flat = points.reshape(-1, points.shape[-1])
    each = jax.lax.map(lambda normal: normal.log_prob(flat), normals)
    each = jnp.where(arrived[:, None], each, -jnp.inf)
    total = jax.scipy.special.logsumexp(each, axis=0) - jnp.log(jnp.sum(arrived)).astype(each.dtype)
    return jnp.asarray(total.reshape(points.shape[:2]))


def _why_none(method: Pathfinder, found: _Path) -> str:
    chain = int(np.argmin(np.asarray(found.arrived).any(axis=1)))
    return (
        f"none of the {method.num_paths} paths of chain {chain} has found a normal distribution with a draw at which "
        "the log density is finite. Start elsewhere (init=), use float64, or bayeskit.NUTS()"
    )
