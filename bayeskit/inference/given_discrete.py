"""Discrete latent sites that are values and not summed out.

The program is rewritten so that the values of its discrete latent sites are data. A target then carries them as leaves,
its density is that of the continuous sites and these values together, and one at other values is the same target with
the leaves replaced.
"""

from __future__ import annotations

import dataclasses
from functools import partial
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from numpyro import handlers
from numpyro.primitives import Messenger

from bayeskit._keys import host_fold_in
from bayeskit._typing import Array, Model, Values
from bayeskit.errors import ModelError
from bayeskit.program import Program
from bayeskit.program.constants import settle
from bayeskit.program.factors import as_prior_factor
from bayeskit.program.sites import describe, elements, site_term
from bayeskit.target import Structure, Target
from bayeskit.target.sites import SiteFacts, facts_of, trace_at_zero
from bayeskit.xla.miscompilation import safe_jit

__all__ = [
    "GivenSite",
    "at_discrete",
    "discrete_latents",
    "given_sites",
    "is_given_discrete",
    "lift_discrete",
    "reported",
    "without_given",
]

_PREFIX = "discrete site "
TRIES = 100
"""Draws of the prior among which one is looked for that the data allow."""


@dataclasses.dataclass(frozen=True)
class GivenSite:
    """A discrete latent site: its facts, and the values that each of its elements can take."""

    facts: SiteFacts
    support: tuple[int, ...]

    @property
    def name(self) -> str:
        """The site's name."""
        return self.facts.name


@dataclasses.dataclass(frozen=True)
class GivenDiscrete:
    """A model whose discrete latent sites are among its arguments."""

    model: Model
    sites: tuple[GivenSite, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "__module__", getattr(self.model, "__module__", ""))  # for the record of a run

    @property
    def __name__(self) -> str:
        return str(getattr(self.model, "__name__", type(self.model).__name__))

    def elsewhere(self, program: Program) -> list[Program]:
        """The program with all discrete sites at their lowest, at their highest, and at random values."""
        random, programs = np.random.default_rng(0), []
        for which in ([0], [-1], None):
            arrays = dict(program.arrays)
            for name, support in ((_PREFIX + site.name, sorted(site.support)) for site in self.sites):
                like = arrays[name]
                picked = random.choice(support if which is None else np.take(support, which), jnp.shape(like))
                arrays[name] = jnp.asarray(picked, jnp.result_type(like))
            programs.append(dataclasses.replace(program, arrays=arrays))
        return programs

    def __call__(self, **given: Any) -> object:
        values = {n.removeprefix(_PREFIX): given.pop(n) for n in list(given) if is_given_discrete(n)}
        with _Give(values):
            return self.model(**given)


class _Give(Messenger):
    """Puts discrete sites at their values; their density counts as prior, as before."""

    def __init__(self, values: dict[str, Array]):
        super().__init__(None)
        self._values = values

    def process_message(self, msg: dict[str, Any]) -> None:
        """NumPyro's hook, called at every site; of a scan once inside, for a step, and once after it, for all."""
        if msg["type"] == "control_flow":
            msg["kwargs"]["substitute_stack"].append(("condition", self._values))
        elif msg["type"] == "sample" and msg["name"] in self._values:
            if msg["value"] is None:
                msg["value"], msg["is_observed"] = self._values[msg["name"]], True
            as_prior_factor(msg)


def discrete_latents(program: Program) -> tuple[str, ...]:
    """Names of the discrete latent sites of a program, in its order; none where it cannot be traced."""
    found: list[str] = []

    def trace(program: Program) -> None:
        def run(p: Program) -> None:
            found[:] = [name for name, site in trace_at_zero(p).items() if _is_discrete(site)]

        jax.eval_shape(run, program)

    try:
        settle(program, trace)
    except Exception:  # whatever is wrong with the model is reported when its target is made
        return ()
    return tuple(found)


def lift_discrete(program: Program, method: str) -> Program:
    """The program with its discrete latent sites among its data, at a draw of their prior.

    Args:
        program: the program.
        method: its name, for messages.

    Raises:
        ModelError: no discrete latent site; no continuous one; values that cannot be enumerated.
    """
    sites: list[GivenSite] = []
    latent: list[str] = []

    def trace(program: Program) -> None:
        def run(p: Program) -> None:
            found = trace_at_zero(p)
            latent[:] = [n for n, s in found.items() if s["type"] == "sample" and not s["is_observed"]]
            sites[:] = [_given_site(site, method) for site in found.values() if _is_discrete(site)]

        jax.eval_shape(run, program)

    try:
        program, _ = settle(program, trace)
    except ModelError:
        raise
    except Exception:  # whatever is wrong with the model is reported when its target is made
        return program
    if not sites:
        raise ModelError(
            f"model {program.name!r} has no discrete latent site for {method} to draw; use bayeskit.NUTS()"
        )
    names = tuple(site.name for site in sites)
    if len(names) == len(latent):
        raise ModelError(
            f"model {program.name!r} has no continuous latent site, and {method} moves continuous sites along with "
            f"discrete ones ({', '.join(names)}); sum these out by hand"
        )
    arrays = {_PREFIX + name: value for name, value in _possible(names, program).items()}
    model = GivenDiscrete(program.model, tuple(sites))
    return dataclasses.replace(program, model=model, arrays={**program.arrays, **arrays})


def without_given(program: Program) -> Program:
    """The program before `lift_discrete`."""
    model = program.model
    if not isinstance(model, GivenDiscrete):
        return program
    arrays = {name: value for name, value in program.arrays.items() if not is_given_discrete(name)}
    return dataclasses.replace(program, model=model.model, arrays=arrays)


def is_given_discrete(name: str) -> bool:
    """Whether this name among the data of a program is that of a discrete latent site."""
    return name.startswith(_PREFIX)


def given_sites(target: Target) -> tuple[GivenSite, ...]:
    """The discrete latent sites that are values of a target."""
    model = target.program.model
    return model.sites if isinstance(model, GivenDiscrete) else ()


def at_discrete(target: Target, values: Values) -> Target:
    """The target at other values of the discrete sites."""
    if not values:
        return target
    names = [_PREFIX + name for name in values]
    return eqx.tree_at(lambda t: [t.program.arrays[name] for name in names], target, list(values.values()))


def reported(target: Target) -> Structure:
    """The structure that a result has, where a discrete site is one whether or not it is summed out."""
    given = {site.name: site.facts for site in given_sites(target)}
    sites = tuple(given.get(site.name, site) for site in target.structure.sites)
    return dataclasses.replace(target.structure, sites=sites) if given else target.structure


def _is_discrete(site: dict[str, Any]) -> bool:
    return site["type"] == "sample" and not site["is_observed"] and bool(site["fn"].support.is_discrete)


def _given_site(site: dict[str, Any], method: str) -> GivenSite:
    name, kind = site["name"], describe(site["fn"])
    if not site["fn"].has_enumerate_support:
        raise ModelError(
            f"site {name!r} ({kind}) is a discrete latent with values that cannot be listed, and {method} proposes "
            "from a list; give it a finite range (a Categorical over the values that matter), or sum it out by hand"
        )
    try:
        with jax.ensure_compile_time_eval():
            support = np.asarray(elements(site["fn"]).enumerate_support(expand=False))
    except Exception as error:
        why = str(error).partition("\n")[0] or "no reason given"
        raise ModelError(
            f"site {name!r} ({kind}) is a discrete latent whose values cannot be listed ({type(error).__name__}: "
            f"{why}); they must not depend on latent values, and must be the same for all elements"
        ) from error
    return GivenSite(
        dataclasses.replace(facts_of(site, "discrete"), is_prior=True), tuple(map(int, support.reshape(-1)))
    )


def _possible(names: tuple[str, ...], program: Program) -> Values:
    """The first draw of the prior whose density is finite, with continuous sites at the image of zero; else the first
    draw.
    """
    first: Values = {}
    for attempt in range(TRIES):
        values, density = _drawn(names, program, jnp.asarray(host_fold_in(np.zeros(2, np.uint32), attempt)))
        if bool(jnp.isfinite(density)):
            return values
        first = first or values
    return first


@partial(safe_jit, static_argnums=0)
def _drawn(names: tuple[str, ...], program: Program, key: Array) -> tuple[Values, Array]:
    sites = trace_at_zero(handlers.seed(program, rng_seed=key))
    terms = [site_term(site, guarded=True).total() for site in sites.values() if site["type"] == "sample"]
    return {name: jnp.asarray(sites[name]["value"]) for name in names}, jnp.sum(jnp.stack(terms))
