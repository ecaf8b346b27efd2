"""Where a program, as JAX has traced it, indexes an array: which indices it uses, and which there are.

JAX does not refuse an index out of range: it takes the nearest element, drops the update, and lets no gradient pass.
A negative index counts from the end, as in NumPy; for indices made of data that is as wrong, so they are looked at as
they were just before that. `ranges` finds all places where something indexes, and evaluates what they index with: the
program is run again with everything left out that no index depends on.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
from jax.extend import core
from jax.lax import GatherScatterMode

from bayeskit._typing import Array
from bayeskit.xla.jaxprs import CALLS, INDEXING, equations, execute, inner_program, needed_for, scan_sizes

__all__ = ["QUICKLY", "Range", "Use", "indexes", "ranges"]

QUICKLY = {"xla_backend_optimization_level": "0"}
"""Options of a program that runs once."""
_ON_THE_WAY = frozenset(
    ["broadcast_in_dim", "concatenate", "convert_element_type", "reshape", "squeeze", "stack", "transpose"]
)
"""Operations between where an index is counted from the end and where it is used."""
LOWEST, HIGHEST = np.iinfo(np.int32).min, np.iinfo(np.int32).max


class Use(NamedTuple):
    """One place where an array is indexed.

    Attributes:
        sizes: how many indices there are, for each axis that is indexed.
        shape: that of the array.
        where: file and line of the model, empty where they are not known.
        from_data: whether data decide the indices.
        from_rest: whether something else does, such as a latent value.
    """

    sizes: tuple[int, ...]
    shape: tuple[int, ...]
    where: str
    from_data: bool
    from_rest: bool


class Range(NamedTuple):
    """The lowest and the highest index that was used, for each axis; above the highest where none was."""

    lowest: Array
    highest: Array


def indexes(jaxpr: Any) -> bool:
    """Whether a program, a ``Jaxpr``, indexes at all."""
    return any(equation.primitive.name in INDEXING for equation in equations(jaxpr))


def ranges(program: Any, from_data: Sequence[bool]) -> tuple[list[Use], Callable[..., list[Range]]]:
    """The places where a program indexes, and a function of its arguments that gives the range at each.

    Args:
        program: a ``ClosedJaxpr``.
        from_data: for each of its arguments, whether it is data.
    """
    found: list[Use] = []

    def evaluate(*arguments: Any) -> list[Range]:
        values = [_Value(a, data, not data) for a, data in zip(arguments, from_data, strict=True)]
        _, reports = _run(program.jaxpr, [_Value(c) for c in program.consts], values)
        found[:] = [use for use, _ in reports]
        return [reached for _, reached in reports]

    traced, shapes = jax.make_jaxpr(evaluate, return_shape=True)(*program.in_avals)
    whole, structure = traced.jaxpr, jax.tree.structure(shapes)
    needed = core.Jaxpr(
        whole.constvars, whole.invars, whole.outvars, needed_for(whole, whole.outvars), whole.effects, whole.debug_info
    )
    run = core.jaxpr_as_fun(core.ClosedJaxpr(needed, traced.consts))
    return found, lambda *arguments: jax.tree.unflatten(structure, run(*arguments))


@dataclass(frozen=True)
class _Value:
    """A value, and what is known of it: whether data, or something else, decides it; the index it was before it was
    counted from the end (`uncounted`); the value of which it is another type (`root`), of which it says that it is
    negative (`sign`), or to which it has added a size (`moved`).
    """

    value: Any
    data: bool = False
    rest: bool = False
    uncounted: Any = None
    root: Any = None
    sign: Any = None
    moved: Any = None

    @property
    def origin(self) -> Any:
        return self if self.root is None else self.root

    @property
    def index(self) -> Any:
        """As an index that is not counted from the end."""
        return self.value if self.uncounted is None else self.uncounted


_Report = tuple[Use, Range]


def _run(jaxpr: Any, consts: Sequence[_Value], arguments: Sequence[_Value]) -> tuple[list[_Value], list[_Report]]:
    known: dict[Any, _Value] = dict(zip(jaxpr.constvars, consts, strict=True))
    known.update(zip(jaxpr.invars, arguments, strict=True))
    reports: list[_Report] = []

    def look(atom: Any) -> _Value:
        return _Value(atom.val) if isinstance(atom, core.Literal) else known[atom]

    for equation in jaxpr.eqns:
        results, found = _through(equation, [look(atom) for atom in equation.invars])
        known.update(zip(equation.outvars, results, strict=True))
        reports += found
    return [look(atom) for atom in jaxpr.outvars], reports


def _through(equation: Any, values: list[_Value]) -> tuple[list[_Value], list[_Report]]:
    name = equation.primitive.name
    data, rest = any(v.data for v in values), any(v.rest for v in values)
    if name in ("scan", "while", "cond") and indexes_inside(equation):
        return {"scan": _scan, "while": _while, "cond": _cond}[name](equation, values, data, rest)
    inner = inner_program(equation)
    if name in CALLS and inner is not None and len(inner.invars) == len(values):
        closed = next(p for p in equation.params.values() if _is_program(p))
        results, found = _run(inner, [_Value(c) for c in getattr(closed, "consts", ())], values)
        # a function that JAX has traced before remembers the line of that time, or none
        line = _line(equation)
        return results, [(use._replace(where=line or use.where), reached) for use, reached in found]
    results = execute(equation, [v.value for v in values])
    facts: dict[str, Any] = {}
    if name == "select_n" and len(values) == 3 and _counts_from_the_end(values):
        facts = {"uncounted": values[1].value}
    elif name == "convert_element_type" and jnp.issubdtype(jnp.result_type(results[0]), jnp.integer):
        facts = {"root": values[0].origin, "moved": values[0].moved}
    elif name == "lt" and _is_zero(equation.invars[1]):
        facts = {"sign": values[0].origin}
    elif name == "add" and isinstance(equation.invars[1], core.Literal):
        facts = {"moved": values[0].origin}
    if name in _ON_THE_WAY and any(v.uncounted is not None for v in values):
        facts["uncounted"] = execute(equation, [v.index for v in values])[0]
    reports = [_report(equation, values)] if name in INDEXING and _is_written(equation) else []
    return [_Value(result, data, rest, **facts) for result in results], [r for r in reports if r is not None]


def indexes_inside(equation: Any) -> bool:
    """Whether a program inside a loop or branch indexes."""
    programs = [p for p in jax.tree.leaves(list(equation.params.values()), is_leaf=_is_program) if _is_program(p)]
    return any(indexes(getattr(p, "jaxpr", p)) for p in programs)


def _is_program(value: Any) -> bool:
    return isinstance(value, core.ClosedJaxpr | core.Jaxpr)


def _is_zero(atom: Any) -> bool:
    return isinstance(atom, core.Literal) and bool(np.all(np.asarray(atom.val) == 0))


def _counts_from_the_end(values: list[_Value]) -> bool:
    """`where(i < 0, i + size, i)` of an index that data decide."""
    negative, index, moved = values
    root = index.origin
    return root.data and negative.sign is root and moved.moved is root


def _report(equation: Any, values: list[_Value]) -> _Report | None:
    """The range of the indices of one equation."""
    name, shape = equation.primitive.name, tuple(equation.invars[0].aval.shape)
    if name in ("dynamic_slice", "dynamic_update_slice"):
        first = 1 if name == "dynamic_slice" else 2
        window = equation.params["slice_sizes"] if first == 1 else equation.invars[1].aval.shape
        starts = values[first : first + len(shape)]
        axes, used = tuple(range(len(shape))), starts
        indices = jnp.stack([jnp.asarray(s.index) for s in starts]) if starts else jnp.zeros(0, int)
    else:
        if equation.params["mode"] == GatherScatterMode.CLIP or _is_filled(equation):
            return None  # what was asked for
        numbers = equation.params["dimension_numbers"]
        if name == "gather":
            axes, window = numbers.start_index_map, equation.params["slice_sizes"]
        else:
            axes, window = numbers.scatter_dims_to_operand_dims, _window(equation, numbers)
        used, indices = [values[1]], values[1].index
    if not axes or 0 in np.shape(indices):
        return None
    sizes = tuple(shape[axis] - window[axis] + 1 for axis in axes)
    flat = jnp.asarray(indices).reshape(-1, len(axes))
    reached = Range(jnp.min(flat, axis=0).astype(int), jnp.max(flat, axis=0).astype(int))
    use = Use(sizes, shape, _line(equation), any(v.data for v in used), any(v.rest for v in used))
    return use, reached


def _is_filled(equation: Any) -> bool:
    """Whether what is out of range becomes a number of the user's choice, and neither NaN nor what types default to."""
    fill = equation.params.get("fill_value")
    return fill is not None and fill == fill and fill not in (LOWEST, np.iinfo(np.int64).min)


def _window(equation: Any, numbers: Any) -> list[int]:
    """The shape of what one index of a scatter reaches."""
    updates, rank = equation.invars[2].aval.shape, len(equation.invars[0].aval.shape)
    alone = {*numbers.inserted_window_dims, *numbers.operand_batching_dims}
    sizes = iter([updates[axis] for axis in numbers.update_window_dims])
    return [1 if axis in alone else next(sizes) for axis in range(rank)]


def _is_written(equation: Any) -> bool:
    """Whether somebody wrote that it indexes, and called no function of JAX or NumPyro that does so for reasons of its
    own: some of those, such as `jnp.tril_indices`, count on what is out of range being dropped, and others, such as the
    sampler of the binomial and solvers of differential equations, discard what they read there.
    """
    traceback, entry = equation.source_info.traceback, ""
    for frame in traceback.frames if traceback is not None else ():
        if not frame.file_name.startswith(_JAX):
            if any(inside in frame.file_name for inside in _OWN_AFFAIR):
                return False
            break
        entry = frame.function_name
    return entry in _ENTRIES or entry.startswith(("_IndexUpdateRef.", "segment_"))


_JAX = str(Path(str(jax.__file__)).parent)
_OWN_AFFAIR = (
    str(Path(str(numpyro.__file__)).parent),
    *(
        f"-packages{os.sep}{library}{os.sep}"  # of `site-packages` and `dist-packages`; they may not be installed
        for library in ("diffrax", "optimistix", "lineax", f"equinox{os.sep}internal")
    ),
)
"""Where the code lies that indexes by a number it has made itself."""
_ENTRIES = frozenset(
    {
        "_forward_operator_to_aval.<locals>.op",
        "_take",
        "take",
        "take_along_axis",
        "dynamic_slice",
        "dynamic_slice_in_dim",
        "dynamic_index_in_dim",
        "dynamic_update_slice",
        "dynamic_update_slice_in_dim",
        "dynamic_update_index_in_dim",
    }
)
"""Functions of JAX that people call to index, the first of them for `array[index]`. A name that is missing here is an
index that is not looked at, which the tests would see."""


def _line(equation: Any) -> str:
    """The innermost line that belongs to none of the libraries."""
    traceback = equation.source_info.traceback
    for frame in traceback.frames if traceback is not None else ():
        if not any(frame.file_name.startswith(folder) for folder in _LIBRARIES) and frame.file_name[:1] != "<":
            return f"{Path(frame.file_name).name}, line {frame.line_num}"
    return ""


_LIBRARIES = tuple(
    str(Path(sys.modules[name].__file__ or "").parent) for name in ("jax", "numpyro", "bayeskit") if name in sys.modules
) + tuple({str(Path(np.__file__).parents[1])})


# ---- loops and branches ----------------------------------------------------------------------------------------------


def _extent(reports: Sequence[_Report]) -> tuple[list[Use], list[Range]]:
    return [use for use, _ in reports], [reached for _, reached in reports]


def _nothing_yet(uses: Sequence[Use]) -> list[Range]:
    return [Range(jnp.full(len(u.sizes), HIGHEST, int), jnp.full(len(u.sizes), LOWEST, int)) for u in uses]


def _joined(first: Sequence[Range], second: Sequence[Range]) -> list[Range]:
    return [
        Range(jnp.minimum(a.lowest, b.lowest), jnp.maximum(a.highest, b.highest))
        for a, b in zip(first, second, strict=True)
    ]


Flags = tuple[bool, bool]
"""Whether data decide a value, and whether something else does."""


def _settled(body: Callable[[list[Flags]], list[_Value]], start: Sequence[_Value]) -> list[Flags]:
    """The flags of what a loop carries, after any number of rounds."""
    now: list[Flags] = [(v.data, v.rest) for v in start]
    while True:
        made = body(now)
        after = [(d or v.data, r or v.rest) for (d, r), v in zip(now, made, strict=True)]
        if after == now:
            return now
        now = after


def _scan(equation: Any, values: list[_Value], data: bool, rest: bool) -> tuple[list[_Value], list[_Report]]:
    settings, last = equation.params, list[Any]()
    constants, carried = scan_sizes(equation)
    body, start, slices = settings["jaxpr"], values[constants : constants + carried], values[constants + carried :]

    def step(flags: list[Flags], carry: Any, xs: Any) -> Any:
        inside = [*values[:constants], *(_Value(v, *f) for v, f in zip(carry, flags, strict=True))]
        inside += [_Value(x, v.data, v.rest) for x, v in zip(xs, slices, strict=True)]
        results, reports = _run(body.jaxpr, [_Value(c) for c in body.consts], inside)
        uses, reached = _extent(reports)
        last[:] = [uses, results]
        made = [r.value for r in results]
        return made[:carried], (made[carried:], reached)

    first, rows = [v.value for v in start], [v.value for v in slices]

    def once(flags: list[Flags]) -> list[_Value]:
        jax.eval_shape(lambda c, xs: step(flags, c, [x[0] for x in xs])[0], first, rows)
        return list(last[1][:carried])

    # a scan without rounds has no row to look at
    flags = _settled(once, start) if settings["length"] else [(data, rest)] * carried
    carry, (stacked, reached) = jax.lax.scan(
        lambda c, xs: step(flags, c, xs), first, rows, length=settings["length"], reverse=settings["reverse"]
    )
    reports = [
        (use, Range(r.lowest.min(axis=0, initial=HIGHEST), r.highest.max(axis=0, initial=LOWEST)))
        for use, r in zip(last[0], reached, strict=True)
    ]
    flags = flags + [(v.data, v.rest) for v in last[1][carried:]]
    return [_Value(v, *f) for v, f in zip((*carry, *stacked), flags, strict=True)], reports


def _while(equation: Any, values: list[_Value], data: bool, rest: bool) -> tuple[list[_Value], list[_Report]]:
    settings, last = equation.params, list[Any]()
    for_test, for_body = settings["cond_nconsts"], settings["body_nconsts"]
    test, body, start = settings["cond_jaxpr"], settings["body_jaxpr"], values[for_test + for_body :]
    first = [v.value for v in start]

    def step(flags: list[Flags], carry: Any) -> tuple[list[Any], list[Range]]:
        inside = [*values[for_test : for_test + for_body], *(_Value(v, *f) for v, f in zip(carry, flags, strict=True))]
        results, reports = _run(body.jaxpr, [_Value(c) for c in body.consts], inside)
        uses, reached = _extent(reports)
        last[:] = [uses, results]
        return [r.value for r in results], reached

    def once(flags: list[Flags]) -> list[_Value]:
        jax.eval_shape(lambda carry: step(flags, carry), first)
        return list(last[1])

    flags = _settled(once, start)

    def both(state: Any) -> Any:
        carry, reached = step(flags, state[0])
        return carry, _joined(state[1], reached)

    def goes_on(state: Any) -> Any:
        return core.jaxpr_as_fun(test)(*(v.value for v in values[:for_test]), *state[0])[0]

    carry, reached = jax.lax.while_loop(goes_on, both, (first, _nothing_yet(last[0])))
    return [_Value(v, data, rest) for v in carry], list(zip(last[0], reached, strict=True))


def _cond(equation: Any, values: list[_Value], data: bool, rest: bool) -> tuple[list[_Value], list[_Report]]:
    branches = equation.params["branches"]
    uses: list[list[Use]] = [[] for _ in branches]
    given = [v.value for v in values[1:]]

    def taken(which: int, inside: list[Any]) -> tuple[list[Any], list[Range]]:
        known = [_Value(x, v.data, v.rest) for x, v in zip(inside, values[1:], strict=True)]
        results, reports = _run(branches[which].jaxpr, [_Value(c) for c in branches[which].consts], known)
        uses[which], reached = _extent(reports)
        return [r.value for r in results], reached

    for which in range(len(branches)):
        jax.eval_shape(lambda inside, which=which: taken(which, inside), given)

    def alone(which: int, inside: list[Any]) -> Any:
        results, reached = taken(which, inside)
        return results, [reached if i == which else _nothing_yet(u) for i, u in enumerate(uses)]

    results, reached = jax.lax.switch(
        values[0].value,
        [lambda inside, which=which: alone(which, inside) for which in range(len(branches))],
        given,
    )
    reports = [report for found, slots in zip(uses, reached, strict=True) for report in zip(found, slots, strict=True)]
    return [_Value(v, data, rest) for v in results], reports
