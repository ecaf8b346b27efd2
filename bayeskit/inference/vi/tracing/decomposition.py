"""The number of a program as a sum of terms, which elements of which choices each of them depends on, and a way to
execute the program with choices overridden.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.extend import core

from bayeskit._typing import Array
from bayeskit.errors import ModelError
from bayeskit.inference.vi.estimator import GradientEstimator
from bayeskit.inference.vi.tracing.dependence import Label, Labels, dependence, join
from bayeskit.inference.vi.tracing.jumps import Jumps, jumps
from bayeskit.inference.vi.tracing.reach import reach
from bayeskit.inference.vi.tracing.terms import Term, terms
from bayeskit.program.execution import Choice, Override, Record
from bayeskit.xla.jaxprs import needed_for
from bayeskit.xla.marks import label_of

__all__ = ["Decomposition", "Execution", "Overrides", "Part", "shape_of", "trace", "untraced"]

Overrides = Mapping[str, Override]
ByAddress = Mapping[str, Label]
Outcome = tuple[Any, dict[str, Record], dict[str, Choice]]


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
class Decomposition:
    """Static facts of a program, and a way to execute it.

    Attributes:
        execute: an execution under overrides.
        execute_detached: the same, through whose parameters no gradient passes where that is known.
        plain: the result of an execution without any.
        tree: of the result.
        leaves: of every leaf of the result, the labels of its parts.
        shapes: of the leaves.
        controls: of every choice, how what its control variate is made of depends on other choices.
        choices: by address.
        records: what the choices leave; shapes, or arrays of one execution.
        jumps: pathwise choices whose gradient misses a jump.
        parameters: of every choice, what the number of a detached execution with it overridden depends on, and the law
            of the other choices in it; empty where gradients pass such an execution.
    """

    execute: Callable[[Overrides], Execution]
    execute_detached: Callable[[Overrides], Execution]
    plain: Callable[[], Any]
    tree: Any
    leaves: list[list[ByAddress]]
    shapes: list[tuple[int, ...]]
    controls: Mapping[str, ByAddress]
    choices: Mapping[str, Choice]
    records: Mapping[str, Record]
    jumps: Jumps
    parameters: Callable[[str], list[Array]]

    def estimator(self, address: str) -> GradientEstimator:
        """What estimates the gradient through a choice."""
        return gradient_estimator(self.choices[address])

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


def gradient_estimator(choice: Choice) -> GradientEstimator:
    """The estimator of a choice, which must say how a gradient passes it."""
    if not isinstance(choice.estimator, GradientEstimator):
        raise ModelError(f"site {choice.site!r}: {choice.estimator!r} does not say how a gradient passes it")
    return choice.estimator


def shape_of(choice: Choice) -> tuple[int, ...]:
    """The shape of a choice with the loops around it."""
    return (*choice.stack, *choice.shape)


def untraced(run: Callable[[Overrides], Outcome]) -> Decomposition:
    """Nothing known: every leaf of the result is one term, which depends on all elements of all choices."""
    result, records, choices = run({})
    everything: ByAddress = {address: {} for address in choices}
    leaves, tree = jax.tree.flatten(result)

    def execute(overrides: Overrides) -> Execution:
        result, records, _ = run(overrides)
        return Execution([[Part(leaf, 1.0, everything)] for leaf in jax.tree.leaves(result)], records)

    return Decomposition(
        execute=execute,
        execute_detached=execute,
        plain=lambda: result,
        tree=tree,
        leaves=[[everything]] * len(leaves),
        shapes=[jnp.shape(leaf) for leaf in leaves],
        controls=dict.fromkeys(choices, everything),
        choices=choices,
        records=records,
        jumps=Jumps(),
        parameters=lambda address: [],  # noqa: ARG005
    )


def trace(run: Callable[[], Outcome]) -> Decomposition:
    """Trace a program once, and look at how it uses its choices.

    Choices that gradients do not pass have left blanks in the program (see `Level.blank`): a mask and values that are
    constants as it was traced, and arguments of what is executed.
    """
    choices: dict[str, Choice] = {}

    def traced() -> tuple[Any, dict[str, Record]]:
        result, records, found = run()
        choices.update(found)
        return result, records

    closed, (result, records) = jax.make_jaxpr(traced, return_shape=True)()
    given = {address: choice for address, choice in choices.items() if not choice.estimator.passes_values}
    # its constants become arguments as well: from version 0.12 on, a ``Jaxpr`` has constants only with their values
    consts, constants = list(closed.consts), list(closed.jaxpr.constvars)
    jaxpr = _with_blanks_as_arguments(closed.jaxpr, given)
    whole = _program(closed.jaxpr, constants, closed.jaxpr.outvars, closed.jaxpr.eqns)
    labels = _labels(jaxpr, len(constants), given)
    addresses = list(given)

    def named(atom: Any) -> ByAddress:
        found = {} if isinstance(atom, core.Literal) else labels.get(atom, {})
        return {addresses[number]: label for number, label in found.items()}

    results, tree = jax.tree.flatten(result)
    outs = jaxpr.outvars[: len(results)]
    found = [
        terms(jaxpr, out, labels) if shape.shape == () else [Term(out)]
        for out, shape in zip(outs, results, strict=True)
    ]
    parts = [
        [_whole(named(t.array)) if shape.shape else named(t.array) for t in leaf]
        for leaf, shape in zip(found, results, strict=True)
    ]
    atoms = jax.tree.unflatten(jax.tree.structure(records), jaxpr.outvars[len(results) :])

    def parameters(address: str) -> list[Array]:
        alone = math.prod(shape_of(choices[address])) == 1
        laws = [gradient_estimator(c).law(atoms[a].own, is_own=alone and a == address) for a, c in choices.items()]
        reached = reach(jaxpr, constants, [*outs, *jax.tree.leaves(laws)])
        return [const for variable, const in zip(constants, consts, strict=True) if variable in reached]

    fixed = jax.lax.stop_gradient(consts)
    return Decomposition(
        execute=_executor(jaxpr, consts, found, parts, given, records),
        execute_detached=_executor(jaxpr, fixed, found, parts, given, records),
        plain=lambda: jax.tree.unflatten(tree, _evaluate(whole, consts, outs)()),
        tree=tree,
        leaves=parts,
        shapes=[shape.shape for shape in results],
        controls={
            address: join([named(atom) for atom in jax.tree.leaves(choice.estimator.controls(atoms[address].own))])
            for address, choice in given.items()
        },
        choices=choices,
        records=records,
        jumps=jumps(jaxpr, outs),
        parameters=parameters,
    )


def _labels(jaxpr: Any, num_constants: int, given: Mapping[str, Choice]) -> dict[Any, Labels]:
    """On which elements of which choices, by number, each variable of a program depends."""
    inputs: list[Labels] = [{}] * num_constants
    for number, choice in enumerate(given.values()):
        axes = {axis: axis for axis, length in enumerate(shape_of(choice)) if length > 1}
        inputs += [{}, {number: axes}]
    return dependence(jaxpr, inputs)


def _with_blanks_as_arguments(jaxpr: Any, given: Mapping[str, Choice]) -> Any:
    """The program as a function of its constants, and of mask and values of every choice."""
    marked = {label_of(equation): equation for equation in jaxpr.eqns}
    blanks = [marked[f"{which} {address}"] for address in given for which in ("mask", "value")]
    arguments = [equation.outvars[0] for equation in blanks]
    shapes = [argument.aval.shape for argument in arguments[1::2]]
    if shapes != [shape_of(choice) for choice in given.values()]:
        raise AssertionError(f"blanks of the shapes {shapes} for {given}")
    left = [equation for equation in jaxpr.eqns if equation not in blanks]
    return _program(jaxpr, [*jaxpr.constvars, *arguments], jaxpr.outvars, left)


def _program(jaxpr: Any, arguments: list[Any], results: list[Any], equations: list[Any]) -> Any:
    info = core.DebugInfo("trace", "objective", None, None)
    return core.Jaxpr([], arguments, results, equations, jaxpr.effects, info)


def _evaluate(jaxpr: Any, consts: Any, wanted: list[Any]) -> Callable[..., list[Array]]:
    """Values of atoms of a program, as a function of its arguments after its constants."""
    asked = [atom for atom in wanted if not isinstance(atom, core.Literal)]
    equations = needed_for(jaxpr, asked)
    run = core.jaxpr_as_fun(core.ClosedJaxpr(_program(jaxpr, jaxpr.invars, asked, equations), []))

    def values(*arguments: Array) -> list[Array]:
        answers = iter(run(*consts, *arguments))
        return [jnp.asarray(atom.val) if isinstance(atom, core.Literal) else next(answers) for atom in wanted]

    return values


def _whole(labels: ByAddress) -> ByAddress:
    """A leaf that is not a scalar keeps its shape, so what it depends on multiplies all of it."""
    return {address: {} for address in labels}


def _executor(
    jaxpr: Any,
    consts: Any,
    found: list[list[Term]],
    parts: list[list[ByAddress]],
    given: Mapping[str, Choice],
    records: Any,
) -> Callable[[Overrides], Execution]:
    """Execute what was traced, for the elements of the terms."""
    flat = [term for leaf in found for term in leaf]
    arrays = [term.array for term in flat]
    scalars = [atom for term in flat for atom in (*term.factors, *term.divisors)]
    left, tree = jax.tree.flatten(records)
    kept = jaxpr.outvars[len(jaxpr.outvars) - len(left) :]
    run = _evaluate(jaxpr, consts, [*arrays, *scalars, *kept])

    def execute(overrides: Overrides) -> Execution:
        arguments = [leaf for a, choice in given.items() for leaf in _as_traced(overrides.get(a), choice)]
        values = run(*arguments)
        elements, scales = iter(values[: len(arrays)]), iter(values[len(arrays) : len(arrays) + len(scalars)])
        leaves = []
        for leaf, labels in zip(found, parts, strict=True):
            leaves.append(
                [Part(next(elements), _scale(t, scales), label) for t, label in zip(leaf, labels, strict=True)]
            )
        return Execution(leaves, jax.tree.unflatten(tree, values[len(values) - len(kept) :]))

    return execute


def _as_traced(given: Override | None, choice: Choice) -> tuple[Array, Array]:
    shape = shape_of(choice)
    if given is None:
        return jnp.zeros(shape, bool), jnp.zeros(shape, choice.dtype)
    mask = True if given.mask is None else given.mask
    return jnp.broadcast_to(mask, shape), jnp.broadcast_to(given.value, shape).astype(choice.dtype)


def _scale(term: Term, scalars: Any) -> Any:
    scale: Any = float(term.sign)
    for _ in term.factors:
        scale = scale * next(scalars)
    for _ in term.divisors:
        scale = scale / next(scalars)
    return scale
