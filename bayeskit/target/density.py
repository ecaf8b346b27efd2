"""Log densities of a program's sites at given unconstrained values."""

from __future__ import annotations

import math
import sys
import warnings
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from numpyro import handlers
from numpyro.distributions.distribution import Unit
from numpyro.primitives import Messenger, sample

from bayeskit._typing import Array, Values
from bayeskit.errors import ModelError
from bayeskit.program import Program, is_prior_factor
from bayeskit.program.failure import Last, named_failures
from bayeskit.program.runnable import name_of_program
from bayeskit.program.sites import Term, read, site_term
from bayeskit.target.rescored import Rescored
from bayeskit.target.sites import JACOBIAN, Site, Structure, Watch, place
from bayeskit.xla.miscompilation import safe_jit

FLOORS = {8: -500.0, 4: -60.0}
"""By the bytes of a number, a log probability whose exponential is of no account, and not yet zero."""


class Terms(NamedTuple):
    """The log density, site by site: ``prior``, ``jacobian`` (part of the prior) and ``likelihood``."""

    prior: dict[str, Term]
    jacobian: dict[str, Term]
    likelihood: dict[str, Term]


def run_trace(program: Program | Callable[..., object], values: Values, *, seeded: bool = False) -> dict[str, Site]:
    """Run the program with its latent sites at the given unconstrained values.

    ``seeded`` gives the other random sites (discrete ones) some value, for reading what does not depend on them.
    """
    model = handlers.substitute(Watch(_Imputed(program)), substitute_fn=partial(place, values))
    if seeded:
        model = handlers.seed(model, rng_seed=jax.random.PRNGKey(0))
    name = name_of_program(program)
    try:
        return handlers.trace(model).get_trace()
    except ValueError as error:
        if "subsample indices" not in str(error):
            raise
        raise ModelError(
            f"model {name!r}: a plate subsamples its data, so the density is random; use the full data"
        ) from None
    except jax.errors.UnexpectedTracerError:
        raise ModelError(
            f"model {name!r}: a value leaked out of a jax transform; use numpyro.contrib.control_flow inside models"
        ) from None


class _Imputed(Messenger):
    """Gives imputed observations a density everywhere.

    Of an observation with `obs_mask` NumPyro makes two sites of its whole shape, what was observed and what was not,
    and masks in each what the other has. The masked elements of the second appear nowhere else: their density is
    flat, a sampler wanders off along them, and no trajectory ever turns. With their conditional density, which
    integrates to one, the posterior of everything else is what it was.
    """

    def process_message(self, msg: dict[str, Any]) -> None:
        """NumPyro's hook, called at every site, innermost first."""
        if msg["type"] != "sample":
            return
        if msg["name"].endswith("_unobserved") and _is_imputing():
            reading = read(msg["fn"])
            if reading.mask is not True:
                msg["fn"] = reading.elements.to_event(reading.within)


def _is_imputing() -> bool:
    """Whether the site under way is made by NumPyro, of an observation with `obs_mask`, and not the user's own."""
    frame = sys._getframe()
    while frame.f_back is not None:
        frame = frame.f_back
        if frame.f_code.co_name == "_masked_observe" and frame.f_globals.get("__name__") == sample.__module__:
            return True
    return False


def split(sites: dict[str, Site], moving: frozenset[str]) -> Terms:
    """Sort a trace's log densities into prior, Jacobian and likelihood."""
    terms = Terms({}, {}, {})
    for name, site in sites.items():
        if site["type"] != "sample":
            continue
        _add(terms, name, site, site_term(site, guarded=name in moving))
    return terms


def _add(terms: Terms, name: str, site: Site, term: Term) -> None:
    if JACOBIAN in name:  # not always in front: `handlers.scope` puts its own before it
        terms.jacobian[name.rpartition(JACOBIAN)[2]] = term
    elif site["is_observed"] and not is_prior_factor(site):
        terms.likelihood[name] = term
    else:
        terms.prior[name] = term


def total(terms: dict[str, Term]) -> Array:
    """What terms add to the log density, scaled and summed over their elements."""
    return sum((term.total() for term in terms.values()), start=jnp.zeros(()))


# ---- supports ------------------------------------------------------------------------------------------------------


def observations(program: Program, structure: Structure, values: Values) -> dict[str, Site]:
    """The observed sites of one trace; discrete latent sites take all of their values at once, in extra lanes."""
    watch: list[Last] = []
    enumerated = bool(structure.of_kind("discrete"))
    with named_failures(program, watch, enumerated=enumerated):
        if enumerated:
            sites = _enumerated_trace(program, structure, values, watch)
        else:
            sites = run_trace(program, values, seeded=True)
    return {site.name: _of(sites, site.name) for site in structure.of_kind("observed")}


def _of(sites: Mapping[str, Site], name: str) -> Site:
    """A site of an enumerated trace; of a scan that is too short for anything else, of its first step."""
    found = [other for other in sites if other.replace("_PREV_", "") == name]
    return sites[name if name in sites or not found else found[0]]


def moving_supports(program: Program, structure: Structure) -> frozenset[str]:
    """Names of observed sites whose support moves with the latent values.

    What a support is made of (numbers such as the bounds of an interval; the reals have none) moves with a continuous
    site if it has a derivative, in a random direction at a random point: at zero, the slope of a square vanishes. It
    moves with a discrete site if enumeration gives it extra lanes; with one that is data (of a model that knows what
    else it can be, ``elsewhere``), if it differs between its values.
    """

    def bounds(program: Program, values: Values) -> dict[str, list[Array]]:
        sites = observations(program, structure, values)
        leaves = {name: jax.tree.leaves(read(site["fn"]).elements.support) for name, site in sites.items()}
        return {name: [jnp.asarray(leaf, float) for leaf in found] for name, found in leaves.items() if found}

    @safe_jit
    def slopes(program: Program, point: Values, direction: Values) -> dict[str, Array]:
        _, tangents = jax.jvp(lambda z: bounds(program, z), (point,), (direction,))
        return {name: jnp.stack([jnp.abs(t).sum() for t in tangent]) for name, tangent in tangents.items()}

    shapes = jax.eval_shape(bounds, program, structure.origin())
    if not shapes:
        return frozenset()
    moving = {n for n, found in shapes.items() if any(_has_lanes(bound.shape, structure) for bound in found)}
    random = np.random.default_rng(0)
    point, direction = (
        jax.tree.map(lambda zero: zero + random.normal(size=zero.shape), structure.origin()) for _ in "12"
    )
    moving |= {n for n, size in slopes(program, point, direction).items() if (size != 0.0).any()}
    elsewhere = getattr(program.model, "elsewhere", None)
    if elsewhere is not None:
        found = [safe_jit(bounds)(other, point) for other in elsewhere(program)]
        moving |= {n for n in shapes if any(_differ(found[0][n], other[n]) for other in found[1:])}
    return frozenset(moving)


def _differ(some: list[Array], others: list[Array]) -> bool:
    return not all(np.array_equal(one, other) for one, other in zip(some, others, strict=True))


# ---- discrete latent sites, summed out by funsor -------------------------------------------------------------------


def _enumerated(
    program: Callable[..., object], structure: Structure, values: Values, watch: list[Last] | None = None
) -> Any:
    from numpyro.contrib.funsor import config_enumerate, enum

    last = Last(_Imputed(program))
    if watch is not None:
        watch.append(last)
    model = enum(config_enumerate(last), first_available_dim=-1 - structure.max_plate_nesting)
    return handlers.substitute(model, substitute_fn=partial(place, values))


def _enumerated_trace(
    program: Program, structure: Structure, values: Values, watch: list[Last] | None = None
) -> dict[str, Site]:
    from numpyro.contrib.funsor.infer_util import plate_to_enum_plate

    with plate_to_enum_plate(), handlers.seed(rng_seed=jax.random.PRNGKey(0)):  # a key for the rows of plates
        return handlers.trace(_enumerated(program, structure, values, watch)).get_trace()


def enumerated_sites(program: Program, structure: Structure, values: Values) -> dict[str, Site]:
    """The trace that the sums are made of, where each site knows which of its dimensions is which discrete site."""
    from numpyro.contrib.funsor import trace as packed_trace
    from numpyro.contrib.funsor.infer_util import plate_to_enum_plate

    with plate_to_enum_plate():
        return dict(packed_trace(_enumerated(program, structure, values)).get_trace())


def _has_lanes(shape: tuple[int, ...], structure: Structure) -> bool:
    """Whether an array differs with a discrete site: its values are laid out to the left of all plates."""
    nesting = structure.max_plate_nesting
    return bool(structure.of_kind("discrete")) and len(shape) > nesting and math.prod(shape[: len(shape) - nesting]) > 1


class _Guard(Messenger):
    """Reads observations whose support moves as everywhere else: NumPyro sums its own densities, finite outside."""

    def __init__(self, program: Callable[..., object], moving: frozenset[str]):
        super().__init__(program)
        self._moving = moving

    def process_message(self, msg: dict[str, Any]) -> None:
        # the first steps of an enumerated scan are taken apart, and their sites marked
        if msg["type"] == "sample" and msg["name"].replace("_PREV_", "") in self._moving:
            msg["fn"] = Unit(site_term(msg, guarded=True).value)
            msg["value"] = msg["fn"].sample(None)


def _floored(log_prob: Array) -> Array:
    return jnp.maximum(log_prob, FLOORS[log_prob.dtype.itemsize])


class _Floor(Messenger):
    """Keeps what is impossible in a scan just possible."""

    def process_message(self, msg: dict[str, Any]) -> None:
        """NumPyro's hook, called at every site; after a scan once for all of its steps."""
        if msg["type"] == "sample" and JACOBIAN not in msg["name"] and not isinstance(msg["fn"], Unit):
            discrete = msg["fn"].support.is_discrete
            if discrete or msg["is_observed"]:
                msg["fn"] = Rescored(msg["fn"], _floored)


def behind_discrete(program: Program, structure: Structure) -> frozenset[str]:
    """Names of the deterministic sites that depend on a discrete latent site: enumeration gives them extra lanes."""
    if not structure.of_kind("discrete") or not structure.of_kind("deterministic"):
        return frozenset()

    def run() -> Values:
        sites = _enumerated_trace(program, structure, structure.zeros())
        # the trace of an enumerated scan has no deterministic sites: whether they are of one value is not known
        known = [site.name for site in structure.of_kind("deterministic") if site.name in sites]
        return {name: jnp.asarray(sites[name]["value"]) for name in known}

    found = jax.eval_shape(run)
    names = [site.name for site in structure.of_kind("deterministic")]
    hidden = frozenset(n for n in names if n not in found or found[n].shape != structure[n].shape)
    if hidden:
        warnings.warn(
            f"the deterministic sites {sorted(hidden)} depend on discrete latent sites, which are summed out; they "
            "are left out",
            stacklevel=4,
        )
    return hidden


def summed_log_density(
    program: Program, structure: Structure, moving: frozenset[str], values: Values, *, model: Any = None
) -> Array:
    r"""Log density with the discrete sites summed out, :math:`\log \sum_k \pi(z, k)`; of `model` instead, which is the
    program with handlers around it.
    """
    from numpyro.contrib.funsor.infer_util import log_density

    model = program if model is None else model
    model = _Guard(model, moving) if moving else model
    result, _ = log_density(_enumerated(model, structure, values), (), {}, {})
    if not structure.impossible:
        return jnp.asarray(result)
    # With steps that cannot be taken the sum is right, and its slope NaN (the logarithm of a zero that cancels). So the
    # slope is taken where such steps are just possible, and only where that makes no difference to the sum.
    exact = jax.lax.stop_gradient(result)
    floored, _ = log_density(_enumerated(_Floor(model), structure, values), (), {}, {})
    same = jnp.isfinite(exact) & (jnp.abs(floored - exact) <= 1e-6 * (1 + jnp.abs(exact)))
    return jnp.where(same, floored, jnp.where(exact == -jnp.inf, -jnp.inf, jnp.nan))


def summed_terms(program: Program, structure: Structure, moving: frozenset[str], values: Values) -> Terms:
    r"""Prior of the continuous sites, and the likelihood of each element with its discrete sites summed out.

    Exact when each discrete site lies in the same plates as the one observed site that depends on it:
    :math:`\log p(y_i \mid x) = \log \sum_k p(k \mid x)\, p(y_i \mid k, x)`.

    Raises:
        ModelError: the elements cannot be separated exactly.
    """
    if structure.scans:
        names = [site.name for site in structure.of_kind("discrete")]
        raise ModelError(
            f"the discrete sites {names} may be part of a scan, where observations are dependent: there is no exact "
            "density for each observation, nor a split into prior and likelihood"
        )
    sites = enumerated_sites(program, structure, values)
    discrete = {site.name for site in structure.of_kind("discrete")}
    # All sites with lanes enter one joint density, whose lanes are summed out at the end. That is exact for each
    # element only if an element of the joint holds one observation and the choices that are its own: hence one site
    # that depends on the choices, in the same plates as they; no prior that depends on them, for it would have to
    # be both inside the sum and apart from it; and no scale, which would multiply the log of the sum, not its terms.
    terms, joint, summed = Terms({}, {}, {}), jnp.zeros(()), []
    for name, site in sites.items():
        if site["type"] != "sample":
            continue
        term = site_term(site, guarded=name in moving)
        if name not in discrete:
            if not _has_lanes(jnp.shape(term.value), structure):
                _add(terms, name, site, term)
                continue
            summed.append(name)
        if term.is_scaled or not (name in discrete or site["is_observed"]):
            raise ModelError(
                f"site {name!r}: a scaled or continuous site that depends on a discrete one has no exact per-element "
                "density"
            )
        joint = joint + term.value
    plates = {name: tuple(plate.name for plate in structure[name].plates) for name in (*discrete, *summed)}
    if len(summed) != 1 or len(set(plates.values())) != 1:
        raise ModelError(
            f"the discrete sites {sorted(discrete)} and the observations {summed} that depend on them are not in the "
            "same plates, so there is no exact density for each observation; sum the discrete sites out by hand"
        )
    lanes = tuple(range(jnp.ndim(joint) - structure.max_plate_nesting))
    terms.likelihood[summed[0]] = Term(jax.scipy.special.logsumexp(joint, axis=lanes))
    return terms
