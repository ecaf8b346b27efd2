"""Starting points: where the log density and its gradient are finite."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np
from numpyro import handlers
from numpyro.distributions import biject_to
from numpyro.distributions.distribution import validation_enabled

from bayeskit._keys import host_fold_in, host_key, host_split
from bayeskit._spelling import did_you_mean
from bayeskit._typing import Array, Values
from bayeskit.errors import InitError, ModelError
from bayeskit.program import Program
from bayeskit.program.sites import innermost, site_term
from bayeskit.target.density import run_trace
from bayeskit.target.sites import JACOBIAN, Structure, Watch, place
from bayeskit.xla.cpu_kernel import brief_options
from bayeskit.xla.miscompilation import safe_jit

if TYPE_CHECKING:
    from bayeskit.target.target import Target

STRATEGIES = ("auto", "uniform", "prior")

CANDIDATES = 8
"""Of so many uniform points a chain starts at the likeliest: where a density falls off by powers of thousands, as that
of a process that is not invertible, a chain that starts on the wrong side stays there."""

TRIES_OF_A_STRATEGY = 10


def check_given(structure: Structure, given: Mapping[str, object], num_chains: int | None = None) -> Values:
    """Values of latent sites in the model's coordinates as arrays; with ``num_chains``, all with a leading chain axis.

    Raises:
        ModelError: an unknown site, NaN, or a wrong shape.
    """
    latent = {site.name: site for site in structure.of_kind("latent")}
    out: Values = {}
    for name, value in given.items():
        if name not in latent:
            hint = did_you_mean(name, latent, "the latent sites are")
            raise ModelError(f"{name!r} is not a continuous latent site{hint}")
        try:
            array, shape = jnp.asarray(value, float), latent[name].shape
        except (TypeError, ValueError) as error:
            raise ModelError(f"the value given for site {name!r} is not an array of numbers: {error}") from None
        if not bool(jnp.isfinite(array).all()):
            what = "NaN" if bool(jnp.isnan(array).any()) else "infinite numbers"
            raise ModelError(f"the value given for site {name!r} holds {what}")
        chain = () if num_chains is None else (num_chains,)
        if array.shape not in (shape, chain + shape):
            raise ModelError(f"site {name!r} has shape {shape}, but the value given has shape {array.shape}")
        out[name] = jnp.broadcast_to(array, chain + shape)
    return out


def pull_back(
    program: Program | Callable[..., object], values: Values, given: Values
) -> tuple[Values, dict[str, Array]]:
    """Unconstrained values of all latent sites: those of ``given`` inverted, in the model's order, the others as in
    ``values``.

    Also whether each given value lies in its support, which may depend on the sites before it.
    """
    rest = {name: value for name, value in values.items() if name not in given}
    model = handlers.substitute(handlers.substitute(program, data=given), substitute_fn=lambda site: place(rest, site))
    with validation_enabled(False), handlers.seed(rng_seed=jax.random.PRNGKey(0)):
        sites = handlers.trace(model).get_trace()
    out, inside = dict(rest), {}
    for name, value in given.items():
        support = sites[name]["fn"].support
        out[name] = biject_to(support).inv(value)
        inside[name] = jnp.all(support(value))
    return out, inside


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


def _candidate(target: Target, key: Array, given: Values, strategy: str) -> tuple[Values, Array]:
    """A candidate, and its log density where that and its gradient are finite (and the given values inside their
    supports); minus infinity elsewhere.
    """
    values = (draw_prior if strategy == "prior" else _draw_uniform)(target, key)
    ok = jnp.array(True)
    if given:
        values, inside = pull_back(target.program, values, given)
        ok = jnp.all(jnp.stack(list(inside.values())))
    density, gradient = jax.value_and_grad(target.log_density)(values)
    finite = jnp.stack([jnp.isfinite(density), *(jnp.isfinite(g).all() for g in jax.tree.leaves(gradient))])
    return values, jnp.where(ok & finite.all(), density, -jnp.inf)


_candidates = safe_jit(jax.vmap(_candidate, in_axes=(None, 0, 0, None)), static_argnums=3, options=brief_options)


def find_start(
    target: Target,
    key: Array,
    num_chains: int,
    *,
    strategy: str = "auto",
    given: Mapping[str, object] | None = None,
    max_tries: int = 100,
) -> Values:
    r"""Unconstrained starting values with a leading chain axis, where :math:`\log\pi` and its gradient are finite.

    Args:
        target: the target.
        key: a JAX key.
        num_chains: number of chains.
        strategy: ``"uniform"`` on (-2, 2) in unconstrained space; ``"prior"``; or ``"auto"``, of `CANDIDATES` uniform
            ones the one with the largest density.
        given: values of some or all latent sites in the model's coordinates, with or without a leading chain axis.
        max_tries: candidates a chain before giving up.

    Raises:
        InitError: an unknown strategy; no try at all; no candidate was finite, with the site, its distribution and
            its value.
        ModelError: ``given`` names an unknown site, or has a wrong shape or NaN.
    """
    if strategy not in STRATEGIES:
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
    found: Values | None = None
    # All chains try again until every chain has a start, so that one program of one shape serves all attempts. A chain
    # keeps the first of its candidates that was finite, or the best: its start does not depend on how others fare.
    wanted = min(CANDIDATES, tries) if strategy == "auto" else 1
    best, raw = np.full(num_chains, -np.inf), host_key(key)
    for attempt in range(tries):
        keys = jax.device_put(host_split(host_fold_in(raw, attempt), num_chains))
        values, density = _candidates(target, keys, fixed, strategy)
        reached = np.asarray(density)
        take = reached > best if attempt < wanted else (reached > best) & np.isneginf(best)
        if found is None:
            found = values
        else:
            found = {n: jnp.where(take.reshape(-1, *[1] * (v.ndim - 1)), values[n], v) for n, v in found.items()}
        best = np.where(take, reached, best)
        if attempt + 1 >= wanted and np.isfinite(best).all():
            return found
    good = np.isfinite(best)
    bad = int(np.argmin(good))
    assert found is not None
    given_bad = {n: v[bad] for n, v in fixed.items()}
    raise InitError(_explain(target, {n: v[bad] for n, v in values.items()}, given_bad, bad, tries))


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


def _explain(target: Target, values: Values, given: Values, chain: int, tries: int) -> str:
    """Name the site to blame at the last candidate."""
    start = f"chain {chain}: no starting point with a finite log density and gradient in {tries} tries; "
    if given:
        _, inside = pull_back(target.program, values, given)
        outside = [name for name, ok in inside.items() if not bool(ok)]
        if outside:
            return start + f"the init value {_show(given[outside[0]])} of site {outside[0]!r} is outside its support"
    with validation_enabled(False):
        sites = run_trace(target.program, values, seeded=True)
    for name, site in sites.items():
        if site["type"] != "sample":
            continue
        wrong = _wrong_parameter(site)
        density = jnp.sum(site_term(site, guarded=name in target.moving).value)
        if wrong or not bool(jnp.isfinite(density)):
            plain = name.rpartition(JACOBIAN)[2]
            kind = target.structure[plain].distribution
            return start + (
                f"at the last one, site {plain!r} ~ {kind} has log density {float(density):g} at value "
                f"{_show(site['value'])}"
                + (f", and its parameter {wrong}" if wrong else "")
                + ". Check its parameters and data, or pass init= with values by site name"
            )
    gradient = jax.grad(target.log_density)(values)
    for name, part in gradient.items():
        if not bool(jnp.isfinite(part).all()):
            return (
                start
                + f"the log density is finite there, but its gradient with respect to site {name!r} is {_show(part)}"
            )
    return start + "the sum of its terms is not finite; rescale the data"


def _wrong_parameter(site: dict) -> str | None:
    """The first parameter of the distribution outside its constraint, such as a negative scale."""
    distribution = innermost(site["fn"])
    for name, constraint in type(distribution).arg_constraints.items():
        value = distribution.__dict__.get(name)
        if value is None or constraint.is_discrete or type(constraint).__name__.startswith("_Dependent"):
            continue
        try:
            inside = np.asarray(constraint(value))
        except (TypeError, NotImplementedError):
            continue
        if not inside.all():
            where = tuple(np.argwhere(~inside)[0]) if inside.ndim == np.ndim(value) else ()
            return f"{name} = {np.asarray(value)[where]} must satisfy {constraint}"
    return None


def _show(value: object) -> str:
    text = np.array2string(np.asarray(value), precision=4, threshold=6, edgeitems=2).replace("\n", "")
    return text if len(text) < 120 else text[:117] + "..."
