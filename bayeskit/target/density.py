"""Log densities of a program's sites at given unconstrained values."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from numpyro import handlers

from bayeskit._typing import Array, Values
from bayeskit.errors import ModelError
from bayeskit.program import Program, is_prior_factor
from bayeskit.program.runnable import name_of_program
from bayeskit.target.sites import JACOBIAN, Site, Structure, Watch, mask_of, place
from bayeskit.xla.miscompilation import safe_jit


class Term(NamedTuple):
    """The log density of one site.

    Attributes:
        value: one number for each element of the site's batch shape, unscaled; zero where masked.
        scale: what ``handlers.scale`` and subsampling plates multiply it by.
    """

    value: Array
    scale: Array | float = 1.0

    def total(self) -> Array:
        """The scaled sum over elements."""
        return jnp.sum(self.scale * self.value)


class Terms(NamedTuple):
    """The log density, site by site: ``prior``, ``jacobian`` (part of the prior) and ``likelihood``."""

    prior: dict[str, Term]
    jacobian: dict[str, Term]
    likelihood: dict[str, Term]


def run_trace(program: Program | Callable[..., object], values: Values, *, seeded: bool = False) -> dict[str, Site]:
    """Run the program with its latent sites at the given unconstrained values.

    ``seeded`` gives the other random sites (discrete ones) some value, for reading what does not depend on them.
    """
    model = handlers.substitute(Watch(program), substitute_fn=partial(place, values))
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


def site_term(site: Site, dynamic: bool) -> Term:
    """Log density of one site of a trace; outside a support that depends on latent values it is minus infinity."""
    distribution, value = site["fn"], site["value"]
    if site["intermediates"]:
        log_prob = distribution.log_prob(value, site["intermediates"])
    else:
        log_prob = distribution.log_prob(value)
    if dynamic:
        inside = distribution.support(value) | ~jnp.asarray(mask_of(distribution))
        log_prob = jnp.where(inside, log_prob, -jnp.inf)
    scale = site["scale"]
    return Term(log_prob, 1.0 if scale is None else scale)


def split(sites: dict[str, Site], dynamic: frozenset[str]) -> Terms:
    """Sort a trace's log densities into prior, Jacobian and likelihood."""
    terms = Terms({}, {}, {})
    for name, site in sites.items():
        if site["type"] != "sample":
            continue
        term = site_term(site, name in dynamic)
        if name.startswith(JACOBIAN):
            terms.jacobian[name.removeprefix(JACOBIAN)] = term
        elif is_prior_factor(site) or not site["is_observed"]:
            terms.prior[name] = term
        else:
            terms.likelihood[name] = term
    return terms


def total(terms: dict[str, Term]) -> Array:
    """Sum of scaled terms."""
    return sum((term.total() for term in terms.values()), start=jnp.zeros(()))


def supports_hold(sites: dict[str, Site]) -> dict[str, Array]:
    """For each observed site, whether each element of the observation lies in the support (masked elements count as
    inside).
    """
    inside = {}
    for name, site in sites.items():
        if site["type"] == "sample" and site["is_observed"] and not site["infer"].get("is_auxiliary"):
            inside[name] = site["fn"].support(site["value"]) | ~jnp.asarray(mask_of(site["fn"]))
    return inside


def support_parameters(sites: dict[str, Site]) -> dict[str, list[Array]]:
    """The numbers that the supports of the observed sites are made of (none for the reals, say)."""
    parameters = {}
    for name, site in sites.items():
        if site["type"] == "sample" and site["is_observed"] and not site["infer"].get("is_auxiliary"):
            numbers = [jnp.asarray(leaf, float) for leaf in jax.tree.leaves(site["fn"].support)]
            if numbers:
                parameters[name] = numbers
    return parameters


def moving_supports(program: Program, values: Values, structure: Structure) -> frozenset[str]:
    """Names of observed sites whose support moves with the latent values.

    Found from the derivative of the support's parameters in a random direction; models whose supports have no
    parameters (the reals, the positive numbers, ...) cost nothing.
    """
    if structure.of_kind("discrete") or not structure.of_kind("latent"):
        return frozenset()
    if not jax.eval_shape(lambda z: support_parameters(run_trace(program, z, seeded=True)), values):
        return frozenset()

    @safe_jit
    def derivative(program: Program, values: Values) -> dict[str, Array]:
        keys = jax.random.split(jax.random.PRNGKey(0), len(values))
        direction = {
            n: jax.random.normal(k, jnp.shape(v), v.dtype) for k, (n, v) in zip(keys, values.items(), strict=True)
        }
        _, tangents = jax.jvp(lambda z: support_parameters(run_trace(program, z, seeded=True)), (values,), (direction,))
        return {name: sum(jnp.sum(jnp.abs(t)) for t in tangent) for name, tangent in tangents.items()}  # type: ignore[misc]

    return frozenset(name for name, size in derivative(program, values).items() if float(size) != 0.0)


# ---- discrete latent sites, summed out by funsor -------------------------------------------------------------------


def _enumerated(program: Program, structure: Structure) -> Any:
    from numpyro.contrib.funsor import config_enumerate, enum

    return enum(config_enumerate(program), first_available_dim=-1 - structure.max_plate_nesting)


def behind_discrete(program: Program, structure: Structure, values: Values) -> frozenset[str]:
    """Names of the deterministic sites that depend on a discrete latent site: enumeration gives them extra lanes."""
    if not structure.of_kind("discrete") or not structure.of_kind("deterministic"):
        return frozenset()
    from numpyro.contrib.funsor.infer_util import plate_to_enum_plate

    shapes: dict[str, tuple[int, ...]] = {}

    def run() -> None:
        model = handlers.substitute(_enumerated(program, structure), substitute_fn=partial(place, values))
        with plate_to_enum_plate():
            sites = handlers.trace(model).get_trace()
        shapes.update({site.name: jnp.shape(sites[site.name]["value"]) for site in structure.of_kind("deterministic")})

    jax.eval_shape(run)
    hidden = frozenset(name for name, shape in shapes.items() if shape != structure[name].shape)
    if hidden:
        warnings.warn(
            f"the deterministic sites {sorted(hidden)} depend on discrete latent sites, which are summed out; they "
            "are left out",
            stacklevel=4,
        )
    return hidden


def summed_log_density(program: Program, structure: Structure, values: Values) -> Array:
    r"""Log density with the discrete sites summed out, :math:`\log \sum_k \pi(z, k)`."""
    from numpyro.contrib.funsor.infer_util import log_density

    model = handlers.substitute(_enumerated(program, structure), substitute_fn=partial(place, values))
    result, _ = log_density(model, (), {}, {})
    return jnp.asarray(result)


def summed_terms(program: Program, structure: Structure, values: Values) -> Terms:
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
    from numpyro.contrib.funsor import trace as packed_trace
    from numpyro.contrib.funsor.infer_util import plate_to_enum_plate

    model = handlers.substitute(_enumerated(program, structure), substitute_fn=partial(place, values))
    with plate_to_enum_plate():
        sites = packed_trace(model).get_trace()
    nesting, discrete = structure.max_plate_nesting, {s.name for s in structure.of_kind("discrete")}
    terms, joint, summed = Terms({}, {}, {}), jnp.zeros(()), []
    plates = {tuple(p.name for p in structure[name].plates) for name in discrete}
    for name, site in sites.items():
        if site["type"] != "sample":
            continue
        term = site_term(site, False)
        depends = name in discrete or (
            jnp.ndim(term.value) > nesting and math.prod(jnp.shape(term.value)[: -nesting or None]) > 1
        )
        if not depends:
            group = terms.jacobian if name.startswith(JACOBIAN) else None
            if group is None:
                group = terms.likelihood if site["is_observed"] and not is_prior_factor(site) else terms.prior
            group[name.removeprefix(JACOBIAN)] = term
            continue
        if name not in discrete:
            summed.append(name)
        scaled = not (isinstance(term.scale, int | float) and term.scale == 1.0)
        if scaled or not (name in discrete or site["is_observed"]):
            raise ModelError(
                f"site {name!r}: a scaled or continuous site that depends on a discrete one has no exact per-element "
                "density"
            )
        joint = joint + term.value
    same = (
        len(plates) == 1 and len(summed) == 1 and {tuple(p.name for p in structure[n].plates) for n in summed} == plates
    )
    if not same:
        raise ModelError(
            f"the discrete sites {sorted(discrete)} and the observations {summed} that depend on them are not in the "
            "same plates, so there is no exact density for each observation; sum the discrete sites out by hand"
        )
    lanes = tuple(range(jnp.ndim(joint) - nesting))
    terms.likelihood[summed[0]] = Term(jax.scipy.special.logsumexp(joint, axis=lanes))
    return terms
