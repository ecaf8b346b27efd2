"""Why there is no starting point: the site to blame, its distribution and its value."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from numpyro.distributions.distribution import validation_enabled

from bayeskit._typing import Values
from bayeskit.program.sites import innermost, site_term
from bayeskit.target.density import run_trace
from bayeskit.target.given import pull_back
from bayeskit.target.sites import JACOBIAN
from bayeskit.target.target import Target


def explain(target: Target, values: Values, given: Values, chain: int, tries: int) -> str:
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
