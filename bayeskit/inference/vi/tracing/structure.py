"""How the number of a program is made of terms, and which elements of which choices each of them depends on."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.extend import core

from bayeskit._typing import Array
from bayeskit.inference.vi.tracing.dependence import Label, Labels, dependence, join
from bayeskit.inference.vi.tracing.terms import Term, terms
from bayeskit.program.execution import Choice, Override, Record

__all__ = ["Execution", "Part", "Structure", "shape_of", "trace", "untraced"]

Overrides = Mapping[str, Override]
ByAddress = Mapping[str, Label]
Run = Callable[[Overrides], tuple[Any, dict[str, Record]]]


class Part(NamedTuple):
    """A term of a result: its elements, to be summed and multiplied by `scale`, and how they depend on choices."""

    array: Array
    scale: Array | float
    labels: ByAddress


class Execution(NamedTuple):
    """What one execution brings: of every leaf of the result its parts, and the records of the choices."""

    leaves: list[list[Part]]
    records: dict[str, Record]


@dataclass(frozen=True)
class Structure:
    """Static facts of a program, and a way to execute it.

    Attributes:
        execute: an execution under overrides.
        tree: of the result.
        leaves: of every leaf of the result, the labels of its parts.
        shapes: of the leaves.
        scores: of every choice that leaves a log density, how that and its baseline depend on other choices.
        choices: by address.
    """

    execute: Callable[[Overrides], Execution]
    tree: Any
    leaves: list[list[ByAddress]]
    shapes: list[tuple[int, ...]]
    scores: Mapping[str, ByAddress]
    choices: Mapping[str, Choice]

    def parallel(self, address: str) -> tuple[int, ...]:
        """The axes of a choice whose elements nothing mixes, so that all may be given another value at once."""
        shape = shape_of(self.choices[address])
        return tuple(axis for axis in range(len(shape)) if shape[axis] > 1 and self._apart(address, axis))

    def lanes(self, address: str) -> int:
        """How many executions all combinations of values of an enumerated choice need."""
        return len(self.choices[address].support or ()) ** self.mixed(address)

    def mixed(self, address: str) -> int:
        """How many elements of a choice, at most, cannot be given another value at once."""
        parallel = self.parallel(address)
        lengths = enumerate(shape_of(self.choices[address]))
        return math.prod(length for axis, length in lengths if axis not in parallel)

    def _apart(self, address: str, axis: int) -> bool:
        parts = [labels[address] for leaf in self.leaves for labels in leaf if address in labels]
        return all(axis in label for label in parts)


def shape_of(choice: Choice) -> tuple[int, ...]:
    """The shape of a choice with the loops around it."""
    return (*choice.stack, *choice.shape)


def untraced(run: Run, choices: Mapping[str, Choice], result: Any, records: Mapping[str, Record]) -> Structure:
    """Nothing known: every leaf of the result is one term, which depends on all elements of all choices."""
    everything: ByAddress = {address: {} for address in choices}
    leaves, tree = jax.tree.flatten(result)

    def execute(overrides: Overrides) -> Execution:
        result, records = run(overrides)
        return Execution([[Part(leaf, 1.0, everything)] for leaf in jax.tree.leaves(result)], records)

    shapes = [jnp.shape(leaf) for leaf in leaves]
    scores = {address: everything for address, record in records.items() if "log_q" in record}
    return Structure(execute, tree, [[everything]] * len(leaves), shapes, scores, choices)


def trace(run: Run, choices: Mapping[str, Choice]) -> Structure:
    """Trace a program once, with the values of its choices as arguments, and look at how it uses them."""
    given = {a: c for a, c in choices.items() if not c.estimator.passes_values}
    default = {a: Override(jnp.zeros(shape_of(c), bool), jnp.zeros(shape_of(c), c.dtype)) for a, c in given.items()}
    closed, shaped = jax.make_jaxpr(run, return_shape=True)(default)
    jaxpr = closed.jaxpr
    numbers = dict(enumerate(sorted(given)))
    inputs: list[Labels] = []
    for number, address in numbers.items():  # a mapping is flattened by its sorted keys
        shape = shape_of(given[address])
        inputs += [{}, {number: {axis: axis for axis, length in enumerate(shape) if length > 1}}]
    labels = dependence(jaxpr, inputs)

    def named(atom: Any) -> ByAddress:
        found = {} if isinstance(atom, core.Literal) else labels.get(atom, {})
        return {numbers[number]: label for number, label in found.items()}

    results, tree = jax.tree.flatten(shaped[0])
    outs = jaxpr.outvars[: len(results)]
    found = [
        terms(jaxpr, out, labels) if shape.shape == () else [Term(out)]
        for out, shape in zip(outs, results, strict=True)
    ]
    parts = [
        [_whole(named(t.array)) if shape.shape else named(t.array) for t in leaf]
        for leaf, shape in zip(found, results, strict=True)
    ]
    execute = _executor(closed, found, parts, default, shaped[1])
    record_atoms = jax.tree.unflatten(jax.tree.structure(shaped[1]), jaxpr.outvars[len(results) :])
    scores = {
        a: join([named(record[name]) for name in ("log_q", "baseline") if name in record])
        for a, record in record_atoms.items()
        if "log_q" in record
    }
    return Structure(execute, tree, parts, [shape.shape for shape in results], scores, choices)


def _whole(labels: ByAddress) -> ByAddress:
    """A leaf that is no scalar keeps its shape, so what it depends on multiplies all of it."""
    return {address: {} for address in labels}


def _executor(
    closed: Any, found: list[list[Term]], parts: list[list[ByAddress]], default: Overrides, records: Any
) -> Callable[[Overrides], Execution]:
    """Execute what was traced, for the elements of the terms."""
    flat = [term for leaf in found for term in leaf]
    arrays = [term.array for term in flat]
    scalars = [atom for term in flat for atom in (*term.factors, *term.divisors)]
    left, tree = jax.tree.flatten(records)
    kept = closed.jaxpr.outvars[len(closed.jaxpr.outvars) - len(left) :]
    wanted = [*arrays, *scalars, *kept]
    asked = [atom for atom in wanted if not isinstance(atom, core.Literal)]
    old = closed.jaxpr
    info = core.DebugInfo("trace", "objective", None, None)
    jaxpr = core.Jaxpr(old.constvars, old.invars, asked, old.eqns, old.effects, info)
    run = core.jaxpr_as_fun(core.ClosedJaxpr(jaxpr, closed.consts))

    def execute(overrides: Overrides) -> Execution:
        given = {a: _as_traced(overrides[a], o) if a in overrides else o for a, o in default.items()}
        answers = iter(run(*jax.tree.leaves(given)))
        values = [jnp.asarray(a.val) if isinstance(a, core.Literal) else next(answers) for a in wanted]
        scales = iter(values[len(arrays) : len(arrays) + len(scalars)])
        elements = iter(values[: len(arrays)])
        leaves = []
        for leaf, labels in zip(found, parts, strict=True):
            leaves.append(
                [Part(next(elements), _scale(t, scales), label) for t, label in zip(leaf, labels, strict=True)]
            )
        return Execution(leaves, jax.tree.unflatten(tree, values[len(wanted) - len(kept) :]))

    return execute


def _as_traced(given: Override, default: Override) -> Override:
    shape, dtype = default.value.shape, default.value.dtype
    mask = True if given.mask is None else given.mask
    return Override(jnp.broadcast_to(mask, shape), jnp.broadcast_to(given.value, shape).astype(dtype))


def _scale(term: Term, scalars: Any) -> Any:
    scale: Any = float(term.sign)
    for _ in term.factors:
        scale = scale * next(scalars)
    for _ in term.divisors:
        scale = scale / next(scalars)
    return scale
