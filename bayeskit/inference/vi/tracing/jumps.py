r"""Find pathwise choices that reach the result through a step, where their gradient misses a jump.

For $x \sim N(\mu, 1)$ the derivative of $P(x > 0)$ is not zero, but that of `x > 0` is. A look at the program, as JAX
has traced it, tells: a value that goes through a comparison, a rounding, a remainder or an `argmax`, that decides which
branch is taken or how often a loop runs, and from there reaches the result, is named. An operation that is not known to
be smooth counts as a step, and is named as well.

A comparison that chooses between two terms of which one depends on the choice itself is let pass, since most of these
join continuously (`where(x > 0, x, 0)`, and the guards inside densities). So is one that chooses infinity, as
densities do outside their supports: a choice that gets there makes the expectation infinite, which is seen.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend import core

from bayeskit.xla.jaxprs import (
    COMPARISONS,
    ELEMENTWISE,
    LOOPS,
    OWN_DERIVATIVE,
    REDUCTIONS,
    ROUNDINGS,
    SMOOTH,
    Reading,
    look,
    read,
)
from bayeskit.xla.marks import label_of

__all__ = ["Jumps", "jumps"]

Sites = frozenset[str]
NONE: Sites = frozenset()
_MOVES = frozenset(["broadcast_in_dim", "copy", "reshape", "squeeze", "transpose"])
_STEPS = COMPARISONS | ROUNDINGS | {"argmax", "argmin", "reduce_and", "reduce_or", "reduce_xor"}


class Tags(NamedTuple):
    """Choices that a value depends on smoothly, and through a step; operations that are not known, on the way; whether
    it is a constant that is infinite, or asks whether something is finite.
    """

    smooth: Sites = NONE
    step: Sites = NONE
    unknown: frozenset[str] = frozenset()
    infinite: bool = False
    finite: bool = False


class Jumps(NamedTuple):
    """`sites` that reach results through a step, and `unknown` operations on the way that count as one."""

    sites: Sites = NONE
    unknown: frozenset[str] = frozenset()


def jumps(program: Any, results: Sequence[Any]) -> Jumps:
    """The pathwise choices that reach results through a step.

    Args:
        program: a ``Jaxpr``, in which choices are marked: ``path`` and the site where it is pathwise, ``drawn`` where
            it is not. How a value is drawn is the business of its estimator, and not looked into.
        results: the atoms of the program that count.
    """
    reading = _Jumps()
    known = read(program, [Tags()] * len(program.invars), reading)
    found = _union([look(known, atom, reading) for atom in results])
    return Jumps(found.step, found.unknown if found.step else NONE)


@dataclass(frozen=True)
class _Jumps(Reading[Tags]):
    """`loops`: look into loops; not in functions with a derivative of their own, whose loops are numerics."""

    loops: bool = True
    has_sources = True

    @property
    def nothing(self) -> Tags:
        return Tags()

    def literal(self, value: Any) -> Tags:
        return Tags(infinite=bool(np.isinf(np.asarray(value, float)).all()))

    def join(self, facts: Sequence[Tags]) -> Tags:
        return _union(facts)

    def decides(self, fact: Tags) -> Tags:
        return Tags(NONE, fact.smooth | fact.step, fact.unknown)

    def inside(self, equation: Any) -> _Jumps | None:
        name = equation.primitive.name
        if name in LOOPS and not self.loops:
            return None
        return _Jumps(loops=False) if name in OWN_DERIVATIVE else self

    def through(self, equation: Any, facts: list[Tags]) -> list[Tags]:
        name, results = equation.primitive.name, equation.outvars
        everything = _union(facts)
        if (label := label_of(equation)) is not None:
            which, _, site = label.partition(" ")
            return [Tags(smooth=frozenset({site})) if which == "path" else Tags()]
        if name == "select_n":
            return [_chosen(facts)]
        if name == "is_finite":
            return [Tags(finite=True)]
        if name in _MOVES and (facts[0].infinite or facts[0].finite):
            return [facts[0]] * len(results)
        if name in ("eq", "ne") and _asks_whether_finite(equation.invars):
            return [Tags()] * len(results)
        if not (everything.smooth or everything.step):
            return [Tags()] * len(results)
        jumped = self.decides(everything)
        if name in _STEPS:
            return [jumped] * len(results)
        if name == "rem":
            return [Tags(everything.smooth, jumped.step, everything.unknown)]
        if name == "sort" and len(results) > 1:  # what is sorted along with the first key jumps where two keys meet
            ranked = self.decides(facts[0])
            facts = [facts[0], *(_union([fact, ranked]) for fact in facts[1:])]
            return [fact if _is_real(out) else self.decides(fact) for out, fact in zip(results, facts, strict=True)]
        if not (name in SMOOTH | ELEMENTWISE | REDUCTIONS | OWN_DERIVATIVE or (name in LOOPS and not self.loops)):
            jumped = jumped._replace(unknown=jumped.unknown | {name})
            return [jumped] * len(results)
        return [everything if _is_real(out) else jumped for out in results]  # ranks and other whole numbers jump


def _chosen(facts: list[Tags]) -> Tags:
    """A term that a comparison has chosen."""
    if facts[0].finite:
        return facts[2]  # the other term is for numbers that are not finite
    chosen = _union(facts[1:])
    if any(fact.infinite for fact in facts[1:]):
        return chosen
    return chosen._replace(
        step=chosen.step | (facts[0].step - chosen.smooth), unknown=chosen.unknown | facts[0].unknown
    )


def _asks_whether_finite(atoms: Any) -> bool:
    """`x == x` and `x != inf`, which guard densities."""
    if any(isinstance(atom, core.Literal) and np.isinf(atom.val).all() for atom in atoms):
        return True
    return not any(isinstance(atom, core.Literal) for atom in atoms) and atoms[0] is atoms[1]


def _union(facts: Sequence[Tags]) -> Tags:
    smooth, step = NONE.union(*(t.smooth for t in facts)), NONE.union(*(t.step for t in facts))
    return Tags(smooth, step, frozenset().union(*(t.unknown for t in facts)))


def _is_real(variable: Any) -> bool:
    return jnp.issubdtype(variable.aval.dtype, jnp.floating) or variable.aval.dtype == jax.dtypes.float0
