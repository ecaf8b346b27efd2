"""Which constants of a traced program its results can be differentiated by."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp

from bayeskit.xla.jaxprs import Reading, look, read

__all__ = ["reach"]

Variables = frozenset[Any]


def reach(jaxpr: Any, constants: Sequence[Any], atoms: Sequence[Any]) -> Variables:
    """The constants, the first arguments of a program, that atoms of it depend on by more than a `stop_gradient` or a
    whole number.
    """
    facts = [frozenset({v}) if _is_real(v) else frozenset() for v in constants]
    reading = _Reach()
    known = read(jaxpr, [*facts, *[frozenset()] * (len(jaxpr.invars) - len(facts))], reading)
    return reading.join([look(known, atom, reading) for atom in atoms])


class _Reach(Reading[Variables]):
    @property
    def nothing(self) -> Variables:
        return frozenset()

    def join(self, facts: Sequence[Variables]) -> Variables:
        return frozenset().union(*facts)

    def decides(self, fact: Variables) -> Variables:
        return fact

    def through(self, equation: Any, facts: list[Variables]) -> list[Variables]:
        everything = self.nothing if equation.primitive.name == "stop_gradient" else self.join(facts)
        return [everything if _is_real(out) else self.nothing for out in equation.outvars]


def _is_real(variable: Any) -> bool:
    return bool(jnp.issubdtype(variable.aval.dtype, jnp.floating))
