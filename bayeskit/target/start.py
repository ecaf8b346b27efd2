"""Starting points: where the log density and its gradient are finite."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from numpyro import handlers
from numpyro.distributions import biject_to
from numpyro.distributions.distribution import validation_enabled

from bayeskit._keys import host_fold_in, host_key, host_split
from bayeskit._typing import Array, Values
from bayeskit.errors import InitError
from bayeskit.program import Program
from bayeskit.target.basins import LARGEST, heavy_basins
from bayeskit.target.given import check_given, pull_back
from bayeskit.target.modes import find_modes
from bayeskit.target.no_start import explain
from bayeskit.target.sites import Watch
from bayeskit.target.target import Target
from bayeskit.xla.cpu_kernel import brief_options
from bayeskit.xla.miscompilation import safe_jit

STRATEGIES = ("auto", "ascent", "likeliest", "uniform", "prior")
"""The first is what the method starts from by itself."""

CANDIDATES = 8
"""Of so many uniform points a chain starts at the likeliest: where a density falls off by powers of thousands, as that
of a process that is not invertible, a chain that starts on the wrong side stays there."""

TRIES_OF_A_STRATEGY = 10


class Points(NamedTuple):
    """One point of each chain.

    Attributes:
        values: unconstrained, by site.
        positions: the same as vectors, shape ``(chain, size)``.
        density: the log density; minus infinity where it, its gradient or a given value is not allowed.
        gradient: shape ``(chain, size)``.
    """

    values: dict[str, np.ndarray]
    positions: np.ndarray
    density: np.ndarray
    gradient: np.ndarray


def _draw_uniform(target: Target, key: Array) -> Values:
    """Uniform on (-2, 2) in every unconstrained coordinate, as in Stan."""
    sites = target.structure.of_kind("latent")
    keys = jax.random.split(key, len(sites))
    return {
        s.name: jax.random.uniform(k, s.unconstrained_shape, minval=-2.0, maxval=2.0)
        for s, k in zip(sites, keys, strict=True)
    }


def draw_prior(target: Target, key: Array) -> Values:
    """One draw of the prior, pulled back to unconstrained values."""
    with handlers.seed(rng_seed=key):
        sites = handlers.trace(target.program).get_trace()
    return {n: biject_to(sites[n]["fn"].support).inv(sites[n]["value"]) for n in target.latent_names}


def _check_drawable(program: Program) -> None:
    """Refuse to draw from a prior that has no sampler, such as an improper one."""
    watch: list[Watch] = []

    def run() -> None:
        watch.append(Watch(program))
        handlers.trace(handlers.seed(watch[0], rng_seed=jax.random.PRNGKey(0))).get_trace()

    try:
        jax.eval_shape(run)
    except NotImplementedError:
        raise InitError(
            f"init='prior': the distribution of site {watch[0].last!r} cannot be drawn from; "
            "use init='uniform' or values by site name"
        ) from None


def _point(target: Target, key: Array, at: Array, is_new: Array, given: Values, strategy: str) -> tuple[Any, ...]:
    """A new candidate, or the point ``at`` (not for draws of the prior): one program for both."""
    if strategy == "prior":
        values = draw_prior(target, key)
    else:
        values = jax.lax.cond(is_new, lambda: _draw_uniform(target, key), lambda: target.unravel(at))
    ok = jnp.array(True)
    if given:
        values, inside = pull_back(target.program, values, given)
        ok = jnp.all(jnp.stack(list(inside.values())))
    density, gradient = jax.value_and_grad(target.log_density)(values)
    slope = target.ravel(gradient)
    ok = ok & jnp.isfinite(density) & jnp.isfinite(slope).all()
    return values, target.ravel(values), jnp.where(ok, density, -jnp.inf), slope


_points = safe_jit(jax.vmap(_point, in_axes=(None, 0, 0, None, 0, None)), static_argnums=5, options=brief_options)


class Search:
    """Candidates of all chains, from one program of one shape. A chain keeps its first candidate that was finite, or
    the likeliest of a few.
    """

    def __init__(self, target: Target, key: Array, num_chains: int, strategy: str, given: Values, tries: int):
        self.target, self.given, self.tries = target, given, tries
        self.num_chains, self.attempts = num_chains, 0
        self._raw = host_key(key)
        self._wanted = min(CANDIDATES, tries) if strategy in ("ascent", "likeliest") else 1
        self._draw = "prior" if strategy == "prior" else "uniform"
        self._keys = host_split(self._raw, num_chains)
        self.dtype = np.dtype(jnp.result_type(float))
        self._placed: tuple[Array, Array] | None = None
        self._nowhere = np.zeros((num_chains, target.size), self.dtype)
        self._candidates: list[Points] = []  # the first ones drawn
        self._taken = np.zeros(num_chains, int)  # which of all was taken for the first start

    def next(self) -> Points:
        """New candidates; their density is minus infinity where no try was finite."""
        kept = self._try()
        best, taken = kept.density, np.zeros(self.num_chains, int)
        is_first = self.attempts == 1
        for attempt in range(1, self.tries):
            if attempt >= self._wanted and np.isfinite(best).all():
                break
            new = self._try()
            take = new.density > best if attempt < self._wanted else (new.density > best) & np.isneginf(best)
            kept, best = choose(take, new, kept), np.where(take, new.density, best)
            taken = np.where(take, attempt, taken)
        self._taken = taken if is_first else self._taken
        return kept

    def spare(self, rounds: int) -> Iterator[Points]:
        """Candidates of every chain that were drawn for its first start and not taken; no new ones are drawn."""
        for number in range(min(rounds, len(self._candidates) - 1)):
            yield choose(number < self._taken, *self._candidates[number : number + 2])

    def at(self, positions: np.ndarray) -> Points:
        """These points, as many as there are chains."""
        return self._call(self._keys, np.asarray(positions, self.dtype), False)

    def evaluate(self, positions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Density and gradient at such points alone: of hundreds of calls, moving arrays takes the longest."""
        if self._placed is None:
            self._placed = jax.device_put((self._keys, np.asarray(False)))
        keys, is_new = self._placed
        at: Any = np.asarray(positions, self.dtype)
        found = _points(self.target, keys, at, is_new, self.given, self._draw)
        return np.asarray(found[2]), np.asarray(found[3])

    def _try(self) -> Points:
        keys = host_split(host_fold_in(self._raw, self.attempts), self.num_chains)
        self.attempts += 1
        found = self._call(keys, self._nowhere, True)
        if len(self._candidates) < self._wanted:
            self._candidates.append(found)
        return found

    def _call(self, keys: np.ndarray, at: np.ndarray, is_new: bool) -> Points:
        k, x, new = (jax.device_put(array) for array in (keys, at, np.asarray(is_new)))
        return Points(*jax.tree.map(np.asarray, _points(self.target, k, x, new, self.given, self._draw)))


def evaluate(target: Target, positions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The log density, minus infinity where it cannot be had, and its gradient at a position of each chain.

    By the program that looks for starts, compiled plainly.
    """
    search = Search(target, jnp.zeros(2, jnp.uint32), len(positions), "uniform", {}, 1)
    return search.evaluate(positions)


def choose(take: np.ndarray, these: Points, those: Points) -> Points:
    """Chain by chain these points where ``take`` holds, those elsewhere."""
    return jax.tree.map(lambda a, b: np.where(take.reshape(-1, *[1] * (a.ndim - 1)), a, b), these, those)


class Start(NamedTuple):
    """Where chains start.

    Attributes:
        values: unconstrained, with a leading chain axis.
        modes: what the attribute ``modes`` of the result says (`bayeskit.target.modes`); empty where it has none.
    """

    values: Values
    modes: str = ""


def start_chains(
    target: Target,
    key: Array,
    num_chains: int,
    *,
    strategy: str = "likeliest",
    given: Mapping[str, object] | None = None,
    max_tries: int = 100,
) -> Start:
    r"""Unconstrained starting values with a leading chain axis, where :math:`\log\pi` and its gradient are finite;
    and, after ascents, what these have found of other modes.

    Args:
        target: the target.
        key: a JAX key.
        num_chains: number of chains.
        strategy: ``"uniform"`` on (-2, 2) in unconstrained space; ``"prior"``; ``"likeliest"``, of `CANDIDATES`
            uniform points the one with the largest density; or ``"ascent"``, from there uphill, away from modes
            without mass (:func:`bayeskit.target.basins.heavy_basins`).
        given: values of some or all latent sites in the model's coordinates, with or without a leading chain axis;
            there is no ascent then.
        max_tries: candidates a chain before giving up.

    Raises:
        InitError: an unknown strategy; no try at all; no candidate was finite, with the site, its distribution and
            its value.
        ModelError: ``given`` names an unknown site, or has a wrong shape or NaN.
    """
    if strategy not in STRATEGIES[1:]:
        raise InitError(
            f"unknown init strategy {strategy!r}; use one of {', '.join(map(repr, STRATEGIES))}, or values by site name"
        )
    if max_tries < 1:
        raise InitError(f"max_tries must be at least 1, got {max_tries}")
    fixed = check_given(target.structure, given or {}, num_chains)
    if strategy == "prior":
        _check_drawable(target.program)
    # with every site given there is only one candidate
    tries = 1 if set(fixed) == set(target.latent_names) else max_tries
    search = Search(target, key, num_chains, strategy, fixed, tries)
    found = search.next()
    if not np.isfinite(found.density).all():
        bad = int(np.argmin(np.isfinite(found.density)))
        given_bad = {n: v[bad] for n, v in fixed.items()}
        raise InitError(explain(target, {n: v[bad] for n, v in found.values.items()}, given_bad, bad, tries))
    if strategy == "ascent" and not fixed and num_chains * target.size <= LARGEST:
        found, climb = heavy_basins(search, found)
        return Start(jax.device_put(found.values), find_modes(search, climb))
    return Start(jax.device_put(found.values))


def find_start(
    target: Target,
    key: Array,
    num_chains: int,
    *,
    strategy: str = "likeliest",
    given: Mapping[str, object] | None = None,
    max_tries: int = 100,
) -> Values:
    """The values of `start_chains`."""
    return start_chains(target, key, num_chains, strategy=strategy, given=given, max_tries=max_tries).values


def find_start_by(strategy: Callable[..., Any], target: Target, key: Array, num_chains: int) -> Values:
    """Starting values as `find_start`, by a strategy of NumPyro's: a function from a site to its value.

    Raises:
        InitError: the strategy raises, or no value was finite.
        ModelError: it names what is not a latent site, or gives a wrong shape or NaN.
    """
    named = getattr(strategy, "keywords", {}).get("values")
    if isinstance(named, Mapping):
        check_given(target.structure, dict(named))
    for attempt in range(TRIES_OF_A_STRATEGY):
        keys = jax.random.split(jax.random.fold_in(key, attempt), num_chains)
        chains = [_values_by(strategy, target, own) for own in keys]
        given = {name: jnp.stack([values[name] for values in chains]) for name in chains[0]}
        try:
            return find_start(target, key, num_chains, given=given)
        except InitError:
            if attempt == TRIES_OF_A_STRATEGY - 1:
                raise
    raise AssertionError


def _values_by(strategy: Callable[..., Any], target: Target, key: Array) -> Values:
    model = handlers.substitute(handlers.seed(target.program, rng_seed=key), substitute_fn=strategy)
    try:
        with validation_enabled(False):  # a value outside its support is found, and named, when chains start there
            sites = handlers.trace(model).get_trace()
    except Exception as error:
        name = getattr(getattr(strategy, "func", strategy), "__name__", type(strategy).__name__)
        reason = str(error) or "no reason given"
        raise InitError(f"the strategy {name} given as init failed: {type(error).__name__}: {reason}") from error
    return {name: jnp.asarray(sites[name]["value"]) for name in target.latent_names}
