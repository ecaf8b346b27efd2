"""What NumPyro's sums over discrete sites cannot do, found before they are made.

The steps of a scan are summed out by a product of matrices, whose states are the discrete sites that depend on the step
before. A discrete site outside of the scan that only the observations inside depend on would be summed out at every
step anew, and a state that something outside depends on is gone: both give a density, and a wrong one.
"""

from __future__ import annotations

import dataclasses
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp

from bayeskit._typing import Array
from bayeskit.errors import ModelError
from bayeskit.program import Program
from bayeskit.program.failure import Last, named_failures
from bayeskit.target.density import enumerated_sites, summed_log_density
from bayeskit.target.sites import JACOBIAN, Structure
from bayeskit.xla.miscompilation import safe_jit

__all__ = ["check_enumeration"]

PREVIOUS = "_PREV_"
IMPOSSIBLE = -1e30


class _Factor(NamedTuple):
    """The log density of a site: the discrete sites that it depends on (at the step before with a mark), the scan that
    it stands in, whether it is a discrete latent site itself, and whether it depends on values that no site has any
    more.
    """

    name: str
    depends: frozenset[str]
    scan: str | None
    is_discrete: bool
    is_lost: bool


def check_enumeration(program: Program, structure: Structure, moving: frozenset[str]) -> Structure:
    """Refuse models whose sum over discrete sites cannot be made, or would be wrong.

    Returns:
        The structure, which now knows whether a scan has steps of probability zero.

    Raises:
        ModelError: naming the sites, and how to write them.
    """
    watch: list[Last] = []
    with named_failures(program, watch, enumerated=True):
        if structure.scans:
            _check_scans(_factors(program, structure))
            impossible = bool(_is_impossible(program, structure))
            structure = dataclasses.replace(structure, impossible=impossible)
        jax.eval_shape(lambda p, z: summed_log_density(p, structure, moving, z), program, structure.zeros())
    return structure


@partial(safe_jit, static_argnums=1)
def _is_impossible(program: Program, structure: Structure) -> Array:
    """Whether some value of a discrete site, or an observation at some value, has probability zero in a scan."""
    found = [jnp.zeros((), bool)]
    for name, site in enumerated_sites(program, structure, structure.zeros()).items():
        if site["type"] == "sample" and JACOBIAN not in name:
            found.append(jnp.any(jnp.asarray(site["fn"].log_prob(site["value"])) < IMPOSSIBLE))
    return jnp.stack(found).any()


def _factors(program: Program, structure: Structure) -> list[_Factor]:
    found: list[_Factor] = []
    discrete = {site.name for site in structure.of_kind("discrete")}

    def run() -> None:
        for name, site in enumerated_sites(program, structure, structure.zeros()).items():
            if site["type"] != "sample":
                continue
            names = site["infer"].get("dim_to_name", {}).values()
            depends = frozenset(other for other in names if _plain(other) in discrete)
            scan = next((other for other in names if other.startswith("_time")), None)
            lost = any(other.startswith("_pyro_dim") for other in names)
            found.append(_Factor(name, depends, scan, _plain(name) in discrete and not site["is_observed"], lost))

    jax.eval_shape(run)
    return found


def _check_scans(factors: list[_Factor]) -> None:
    if lost := [factor.name for factor in factors if factor.is_lost]:
        raise ModelError(
            f"site {_plain(lost[0])!r} depends on the state of a scan that it is not part of, and states are summed "
            "out with their scan; write what depends on them inside the scan"
        )
    for scan in {factor.scan for factor in factors if factor.scan is not None}:
        steps = [factor for factor in factors if factor.scan == scan]
        inside = {_plain(factor.name) for factor in steps}
        states = {factor.name for factor in steps if factor.is_discrete}
        summed_together = frozenset().union(*(factor.depends for factor in steps if factor.is_discrete))
        for factor in steps:
            for other in sorted(factor.depends - summed_together):
                _refuse_step(factor.name, _plain(other), _plain(other) in states)
        for factor in factors:
            after = sorted({_plain(other) for other in factor.depends} & states)
            if after and _plain(factor.name) not in inside:
                raise ModelError(
                    f"site {_plain(factor.name)!r} depends on the state {after[0]!r} of a scan that it is not part of, "
                    "and states are summed out with their scan; write what depends on them inside the scan"
                )


def _refuse_step(name: str, other: str, is_state: bool) -> None:
    if is_state:
        raise ModelError(
            f"site {name!r} depends on {other!r} of the step before, but no discrete site of the scan does, so the "
            "steps cannot be summed out one after another; let the distribution of a state depend on it (add zero "
            "times it to the probabilities)"
        )
    raise ModelError(
        f"site {name!r} in a scan depends on the discrete site {other!r} outside of it, which would be summed out at "
        "every step anew; let the distribution of a state in the scan depend on it too (add zero times it to the "
        "probabilities)"
    )


def _plain(name: str) -> str:
    return name.replace(PREVIOUS, "")
