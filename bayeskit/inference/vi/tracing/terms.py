"""A number as a sum of terms, read from the program as JAX has traced it.

An objective ends in sums: of the log densities of sites, over plates, of the mean over particles. Walking back from
its result through additions, multiples and sums finds the arrays whose elements it adds up. What a random choice has no
part in need not be multiplied by its score, nor summed over its values.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

from jax.extend import core

from bayeskit.inference.vi.tracing.dependence import Labels

__all__ = ["Term", "terms"]

_SAME_ELEMENTS = frozenset({"reshape", "squeeze", "transpose", "copy", "rev", "reduce_sum"})


MAX_TERMS = 1000
"""What is used twice is made of twice as many terms; past this number, what is left is not taken apart."""


class Term(NamedTuple):
    """`sign` times the product of the scalars `factors` over that of `divisors`, times the sum of `array`."""

    array: Any
    sign: int = 1
    factors: tuple[Any, ...] = ()
    divisors: tuple[Any, ...] = ()


def terms(jaxpr: Any, result: Any, labels: Mapping[Any, Labels]) -> list[Term]:
    """The terms of a scalar result, an atom of a jaxpr whose variables have `labels`."""
    producers = {variable: equation for equation in jaxpr.eqns for variable in equation.outvars}
    found: list[Term] = []
    todo = [Term(result)]
    while todo:
        term = todo.pop()
        below = _below(term, producers, labels)
        if below is None or len(found) + len(todo) >= MAX_TERMS:
            found.append(term)
        else:
            todo += below
    return found


def _below(term: Term, producers: Mapping[Any, Any], labels: Mapping[Any, Labels]) -> list[Term] | None:
    """Terms that add up to this one, where its last operation is linear."""
    if isinstance(term.array, core.Literal) or term.array not in producers or not labels.get(term.array):
        return None
    equation = producers[term.array]
    name, atoms, size = equation.primitive.name, equation.invars, math.prod(term.array.aval.shape)
    sizes = [math.prod(atom.aval.shape) for atom in atoms]
    if name in ("add", "add_any", "sub") and sizes == [size, size]:
        second = -term.sign if name == "sub" else term.sign
        return [term._replace(array=atoms[0]), term._replace(array=atoms[1], sign=second)]
    if name == "neg":
        return [term._replace(array=atoms[0], sign=-term.sign)]
    if name in ("mul", "div") and size in sizes:
        return _scaled(term, equation, labels)
    if name in _SAME_ELEMENTS or (name == "broadcast_in_dim" and sizes[0] == size):
        return [term._replace(array=atoms[0])]
    if name in ("concatenate", "stack"):
        return [term._replace(array=atom) for atom in atoms]
    return None


def _scaled(term: Term, equation: Any, labels: Mapping[Any, Labels]) -> list[Term] | None:
    """A product with a scalar that no choice has a part in."""
    atoms, name = equation.invars, equation.primitive.name
    rank = len(term.array.aval.shape)
    for array, scalar in ((0, 1), (1, 0))[: 1 if name == "div" else 2]:
        plain = isinstance(atoms[scalar], core.Literal) or not labels.get(atoms[scalar])
        if plain and atoms[scalar].aval.shape == () and len(atoms[array].aval.shape) == rank:
            if name == "div":
                return [term._replace(array=atoms[array], divisors=(*term.divisors, atoms[scalar]))]
            return [term._replace(array=atoms[array], factors=(*term.factors, atoms[scalar]))]
    return None
