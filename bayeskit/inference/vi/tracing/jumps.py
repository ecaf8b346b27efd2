r"""Find pathwise choices that reach the result through a step, where their gradient misses a jump.

For $x \sim N(\mu, 1)$ the derivative of $P(x > 0)$ is not zero, but that of `x > 0` is. A look at the program, as JAX
has traced it, tells: a value that goes through a comparison, a rounding, a remainder or an `argmax`, and from there
into the result, is named; in loops (`scan`) and branches too. A `while` loop is not looked into.

A comparison that chooses between two terms of which one depends on the choice itself is let pass, since most of these
join continuously (`where(x > 0, x, 0)`, and the guards inside of densities). So is one that chooses infinity, as
densities do outside of their supports: a choice that gets there makes the expectation infinite, which is seen.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend import core

__all__ = ["steps"]

_STEPS = frozenset({"gt", "lt", "ge", "le", "eq", "ne", "floor", "ceil", "round", "sign", "argmax", "argmin"})
_STEPS |= {"reduce_and", "reduce_or"}
_OWN_DERIVATIVE = frozenset({"custom_jvp_call", "custom_vjp_call"})
_CALLS = frozenset({"jit", "pjit", "closed_call", "core_call", "custom_jvp_call", "custom_vjp_call"})
_CALLS |= {"remat", "remat2", "checkpoint"}
Sites = frozenset[str]
NONE: Sites = frozenset()


class Tags(NamedTuple):
    """Choices that a value depends on smoothly, and through a step; whether it is a constant that is infinite, or asks
    whether something is finite.
    """

    smooth: Sites = NONE
    step: Sites = NONE
    infinite: bool = False
    finite: bool = False


def steps(program: core.ClosedJaxpr, sites: list[str | None]) -> Sites:
    """The choices whose values (the program's arguments, in this order) reach its results through a step.

    Arguments without a name are let pass.
    """
    outputs = _run(program.jaxpr, [Tags(smooth=frozenset({site} if site else ())) for site in sites], loops=True)
    return frozenset().union(*(tags.step for tags in outputs))


def _run(jaxpr: Any, arguments: list[Tags], *, loops: bool) -> list[Tags]:
    """`loops`: look into scans; not in functions with a derivative of their own, whose loops are numerics."""
    known: dict[Any, Tags] = dict(zip(jaxpr.invars, arguments, strict=True))

    def look(atom: Any) -> Tags:
        if isinstance(atom, core.Literal):
            return Tags(infinite=bool(np.isinf(np.asarray(atom.val, float)).all()))
        return known.get(atom, Tags())

    for equation in jaxpr.eqns:
        tags = [look(atom) for atom in equation.invars]
        for variable, out in zip(equation.outvars, _through(equation, tags, loops=loops), strict=True):
            known[variable] = out
    return [look(atom) for atom in jaxpr.outvars]


def _through(equation: Any, tags: list[Tags], *, loops: bool) -> list[Tags]:
    """Tags of what an operation returns."""
    name, number = equation.primitive.name, len(equation.outvars)
    if name in _CALLS:
        inner = next((p for p in equation.params.values() if isinstance(p, core.ClosedJaxpr | core.Jaxpr)), None)
        if inner is not None:
            jaxpr = inner.jaxpr if isinstance(inner, core.ClosedJaxpr) else inner
            if len(jaxpr.invars) == len(tags):
                return _run(jaxpr, tags, loops=loops and name not in _OWN_DERIVATIVE)
    if name == "scan" and loops:
        return _scan(equation, tags)
    if name == "cond":
        branches = [_run(branch.jaxpr, tags[1:], loops=loops) for branch in equation.params["branches"]]
        return [_union([tags[0], *each]) for each in zip(*branches, strict=True)]
    if name == "select_n":
        if tags[0].finite:
            return [tags[2]]  # the other term is for numbers that are not finite
        chosen = _union(tags[1:])
        if any(tag.infinite for tag in tags[1:]):
            return [chosen]
        return [Tags(chosen.smooth, chosen.step | (tags[0].step - chosen.smooth))]
    if name == "is_finite":
        return [Tags(finite=True)]
    everything = _union(tags)
    if name in ("broadcast_in_dim", "reshape") and tags[0].infinite:
        return [tags[0]] * number
    if name in ("eq", "ne") and _asks_whether_finite(equation.invars):
        return [Tags()] * number
    jumps = Tags(NONE, everything.smooth | everything.step)
    if name in _STEPS:
        return [jumps] * number
    if name == "rem":
        return [Tags(everything.smooth, jumps.step)]
    return [everything if _is_real(out) else jumps for out in equation.outvars]  # ranks and other whole numbers


def _scan(equation: Any, tags: list[Tags]) -> list[Tags]:
    """What is carried is looked at again until nothing changes."""
    constants, carries = equation.params["num_consts"], equation.params["num_carry"]
    fixed, carry, each = tags[:constants], tags[constants : constants + carries], tags[constants + carries :]
    while True:
        outs = _run(equation.params["jaxpr"].jaxpr, [*fixed, *carry, *each], loops=True)
        after = [_union([old, new]) for old, new in zip(carry, outs[:carries], strict=True)]
        if after == [_union([tag]) for tag in carry]:
            return [*after, *outs[carries:]]
        carry = after


def _asks_whether_finite(atoms: Any) -> bool:
    """`x == x` and `x != inf`, which guard densities."""
    if any(isinstance(atom, core.Literal) and np.isinf(atom.val).all() for atom in atoms):
        return True
    return not any(isinstance(atom, core.Literal) for atom in atoms) and atoms[0] is atoms[1]


def _union(tags: list[Tags]) -> Tags:
    return Tags(NONE.union(*(t.smooth for t in tags)), NONE.union(*(t.step for t in tags)))


def _is_real(variable: Any) -> bool:
    return jnp.issubdtype(variable.aval.dtype, jnp.floating) or variable.aval.dtype == jax.dtypes.float0
