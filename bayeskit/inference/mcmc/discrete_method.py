"""What methods share that draw discrete sites and continuous ones in turn."""

from __future__ import annotations

from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from bayeskit._settings import require
from bayeskit._typing import Array, Values
from bayeskit.errors import DataError, ModelError
from bayeskit.inference.chains.independent import ChainMethod
from bayeskit.inference.given_discrete import at_discrete, given_sites, lift_discrete
from bayeskit.program import Program
from bayeskit.target import Target, index_check

CHOICE = "choice of "
"""Before the names of discrete sites among the statistics of a step."""

Indices = dict[str, Array]
"""Of each discrete site, the places of its values in their list: NumPyro's proposals number values from zero."""


class DiscreteMethod(ChainMethod):
    """A method whose state has values of the discrete sites, which are data of the target."""

    # All chains begin with the same values of the discrete sites. The likeliest start given these, or uphill of it, is
    # in one labelling of a mixture in all chains, and no diagnostic would see the others.
    starts_from: ClassVar[str] = "uniform"

    random_walk: bool
    modified: bool

    @property
    def library(self) -> str:
        return "numpyro"

    def check_proposals(self) -> None:
        """The switches of the proposals are switches."""
        for name in ("random_walk", "modified"):
            value = getattr(self, name)
            require(isinstance(value, bool), name, value, "True or False")

    def lift(self, program: Program) -> Program:
        return lift_discrete(program, type(self).__name__)

    def check_target(self, target: Target) -> None:
        super().check_target(target)
        name = type(self).__name__
        if not given_sites(target):
            raise ModelError(f"{name} needs the model itself and not a Target, which sums its discrete sites out")
        given = {site.name for site in given_sites(target)}
        if all(site.name in given for site in target.structure.of_kind("observed", "factor")):
            raise ModelError(
                f"model {target.program.name!r} observes nothing: no site has obs=, and there is no factor. Draw from "
                "the prior with bayeskit.predict(model, data, key=...)"
            )
        _check_indices(target)

    def apart(self, stats: dict[str, Array]) -> tuple[Values, dict[str, Array]]:
        chosen = {name.removeprefix(CHOICE): value for name, value in stats.items() if name.startswith(CHOICE)}
        return chosen, {name: value for name, value in stats.items() if not name.startswith(CHOICE)}

    def at_draw(self, target: Target, values: Values) -> Target:
        return at_discrete(target, values)


def _check_indices(target: Target) -> None:
    """What discrete sites index is looked at with all of them at their lowest, and at their highest values."""
    for which in (min, max):
        values = {s.name: _everywhere(which(s.support), target, s.name) for s in given_sites(target)}
        try:
            index_check(at_discrete(target, values))
        except DataError as error:
            text = str(error)
            named = next((s.name for s in given_sites(target) if f"discrete site {s.name}" in text), None)
            if named is None:
                raise
            raise ModelError(f"the discrete site {named!r} takes values that index past an array: {text}") from None


def _everywhere(value: int, target: Target, name: str) -> Array:
    now = target.program.arrays[f"discrete site {name}"]
    return np.full(np.shape(now), value, np.asarray(now).dtype)  # type: ignore[return-value]


def support_sizes(target: Target) -> dict[str, np.ndarray]:
    """How many values each element of each discrete site has."""
    return {s.name: np.full(s.facts.shape, len(s.support)) for s in given_sites(target)}


def values_at(target: Target, indices: Indices) -> Values:
    """Values of the discrete sites from their places in the lists."""
    out = {}
    for site in given_sites(target):
        like = target.program.arrays[f"discrete site {site.name}"]
        out[site.name] = jnp.asarray(site.support, jnp.result_type(like))[indices[site.name]]
    return out


def at_indices(target: Target, indices: Indices) -> Target:
    """The target with its discrete sites at these places."""
    return at_discrete(target, values_at(target, indices))


def choices(target: Target, indices: Indices) -> dict[str, Array]:
    """The values as statistics of a step."""
    return {CHOICE + name: jnp.asarray(value, int) for name, value in values_at(target, indices).items()}


def first_indices(key: Array, target: Target, position: Array) -> Indices:
    """Where a chain starts: anywhere, if the density is finite there; otherwise at the values of the target."""
    sites = given_sites(target)
    keys = jax.random.split(key, len(sites))
    anywhere, known = {}, {}
    for site, own in zip(sites, keys, strict=True):
        anywhere[site.name] = jax.random.randint(own, site.facts.shape, 0, len(site.support))
        value = target.program.arrays[f"discrete site {site.name}"]
        known[site.name] = jnp.argmax(jnp.asarray(site.support) == jnp.asarray(value)[..., None], axis=-1)
    density, slope = jax.value_and_grad(lambda z: at_indices(target, anywhere).log_density(target.unravel(z)))(position)
    ok = jnp.isfinite(density) & jnp.isfinite(slope).all()
    return jax.tree.map(lambda a, b: jnp.where(ok, a, b.astype(a.dtype)), anywhere, known)
