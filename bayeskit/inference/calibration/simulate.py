"""Data sets that a model makes, and the latent values that they were made from."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from bayeskit._typing import Array, Data, Model, Values
from bayeskit.errors import ModelError
from bayeskit.inference.predictive import left_out, replicate_trace
from bayeskit.program import Program, bind
from bayeskit.program.bind import named
from bayeskit.program.constants import settle
from bayeskit.xla.miscompilation import safe_jit

__all__ = ["Simulated", "Simulator"]

_SEED = np.array([0, 0], np.uint32)


class Simulated(NamedTuple):
    """One draw of everything.

    Attributes:
        truth: latent and deterministic sites.
        data: observations by the name of their argument.
    """

    truth: dict[str, np.ndarray]
    data: dict[str, np.ndarray]


class Simulator:
    r"""Draws latent values and observations of a model, :math:`x \sim p(x)`, :math:`y \sim p(y \mid x)`.

    Args:
        model: the NumPyro function.
        data: its arguments; observations may be ``None``.

    Attributes:
        program: the model with all data bound; observations that were not given, simulated.
        is_given: whether all observations were given.
        arguments: of each observed site, the argument that it observes.

    Raises:
        ModelError: the model cannot be simulated: it has a factor, or a parameter without a prior; it observes nothing,
            or something that is no argument as it stands; or an observation enters elsewhere too.
        DataError: as for :func:`bayeskit.bind`.
    """

    def __init__(self, model: Model, data: Data | None):
        given = named(data)
        first = bind(model, given)
        first, _ = settle(first, lambda program: jax.eval_shape(_simulate, program, _SEED, {}))
        self.arguments = _arguments(first)
        drawn = _draw(first, _SEED, {})
        missing = {a: drawn[s] for s, a in self.arguments.items() if given.get(a) is None}
        self.is_given = not missing
        numbers = {a: jnp.asarray(given[a]) for a in self.arguments.values() if isinstance(given.get(a), int)}
        program = bind(model, {**given, **numbers, **missing})
        self.program, _ = settle(program, lambda p: jax.eval_shape(_simulate, p, _SEED, {}))
        if fixed := [a for a in self.arguments.values() if a not in self.program.arrays]:
            raise ModelError(
                f"the model reads its observation {fixed[0]!r} as a Python value, so it cannot be simulated"
            )
        self._check_alone()

    def __call__(self, key: np.ndarray, given: Mapping[str, np.ndarray] | None = None) -> Simulated:
        """Everything that `given` does not hold, drawn; the key is raw."""
        values = _draw(self.program, key, given or {})
        observed = {a: values[s] for s, a in self.arguments.items()}
        dtypes = {a: self.program.arrays[a].dtype for a in observed}
        return Simulated(
            {n: v for n, v in values.items() if n not in self.arguments},
            {a: v.astype(dtypes[a]) for a, v in observed.items()},
        )

    def _check_alone(self) -> None:
        """Refuse an observation that the model also reads elsewhere: simulated data would depend on the data given."""
        one = _draw(self.program, _SEED, {})
        for site, argument in self.arguments.items():
            array = self.program.arrays[argument]
            other = jnp.asarray(np.roll(np.asarray(one[site]), 1) + 1, array.dtype)
            again = _draw(with_arrays(self.program, {argument: other}), _SEED, {})
            if any(not np.array_equal(v, again[n], equal_nan=v.dtype.kind == "f") for n, v in one.items()):
                raise ModelError(
                    f"the observation {argument!r} is not only observed by site {site!r}: the model reads it elsewhere "
                    "too (a prior set by the data, or a step that depends on the one before), so what the prior "
                    "predicts depends on the data given; pass what is read elsewhere as an argument of its own"
                )


def with_arrays(program: Program, arrays: Mapping[str, Any]) -> Program:
    """The program with other arrays in place of some of its arguments."""
    return dataclasses.replace(program, arrays={**program.arrays, **jax.tree.map(jnp.asarray, dict(arrays))})


def _simulate(program: Program, key: Array, given: Values) -> Values:
    trace = replicate_trace(program, key, given)
    return {name: jnp.asarray(site["value"]) for name, site in trace.items() if _is_value(site)}


_simulated = safe_jit(_simulate)


def _draw(program: Program, key: np.ndarray, given: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    values = _simulated(program, jnp.asarray(key), {n: jnp.asarray(v) for n, v in given.items()})
    return {n: np.asarray(v) for n, v in values.items()}


def _is_value(site: Mapping[str, Any]) -> bool:
    if site["type"] == "deterministic":
        return True
    return bool(site["type"] == "sample" and not site["infer"].get("is_auxiliary"))


def _arguments(program: Program) -> dict[str, str]:
    """The argument that each observed site observes, found by identity, or by name where it is to come."""
    found: dict[str, str] = {}
    to_come = left_out(program)
    arrays = {id(value): name for name, value in program.arrays.items() if isinstance(value, jax.Array)}

    def run() -> None:
        plain = _observed_values(program)
        for name, site in replicate_trace(program, jax.random.PRNGKey(0), {}).items():
            _check_simulated(name, site)
            if site["type"] != "sample" or site["infer"].get("is_auxiliary"):
                continue
            if site["infer"].get("was_observed"):
                if isinstance(plain[name], int) and name in program.data:
                    found[name] = name
                    continue
                if id(plain[name]) not in arrays:
                    raise ModelError(
                        f"observed site {name!r} does not observe an argument as it stands, so simulated data cannot "
                        "take its place; pass what is observed as an argument of the model"
                    )
                found[name] = arrays[id(plain[name])]
            elif name in to_come:
                found[name] = name

    jax.eval_shape(run)
    if not found:
        raise ModelError(
            f"model {program.name!r} observes nothing that could be simulated: no site observes an argument, or "
            "has the name of one that is None"
        )
    if len(set(found.values())) < len(found):
        raise ModelError(f"two sites observe one argument: {', '.join(found)}; pass each an argument of its own")
    return found


def _observed_values(program: Program) -> dict[str, object]:
    """What each observed site observes, the object itself."""
    from numpyro import handlers

    with handlers.trace() as trace, handlers.seed(rng_seed=jax.random.PRNGKey(0)):
        program()
    return {n: s["value"] for n, s in trace.items() if s["type"] == "sample" and s["is_observed"]}


def _check_simulated(name: str, site: Mapping[str, Any]) -> None:
    """Refuse what has no distribution that could be drawn from, or is not what is fitted."""
    if site["type"] == "param":
        raise ModelError(f"numpyro.param {name!r} has no prior to simulate from; make it a sample site")
    if site["type"] == "sample" and site["infer"].get("is_auxiliary"):
        raise ModelError(f"factor {name!r} has no distribution to simulate from; write it as a sample site")
    if site["type"] == "sample" and site["scale"] is not None:
        raise ModelError(
            f"site {name!r} is scaled, by handlers.scale or a plate that subsamples: data simulated from the model are "
            "not those that it is fitted to"
        )
