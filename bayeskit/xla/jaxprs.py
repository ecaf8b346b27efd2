"""Reading programs as JAX has traced them: names of primitives, programs inside programs, forward readings.

Everything that bayeskit knows of primitives stands here, so that a release of JAX touches one file. The lists are used
one-sidedly: a primitive that is in no list is read in the way that is safe for the question asked.

A *reading* finds out something about every value of a program from what is known of its arguments: which elements of a
choice it depends on, whether it has jumped. `read` walks through the program, into calls, branches and loops; what is
carried by a loop is looked at again until nothing changes.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Generic, TypeVar

from jax.extend import core

__all__ = [
    "CALLS",
    "COMPARISONS",
    "CONTROL",
    "CUMULATIVE",
    "ELEMENTWISE",
    "FACTORISATIONS",
    "INDEXING",
    "LOOPS",
    "OWN_DERIVATIVE",
    "REDUCTIONS",
    "ROUNDINGS",
    "SMOOTH",
    "STRUCTURE",
    "Reading",
    "Rule",
    "equations",
    "execute",
    "inner_program",
    "look",
    "needed_for",
    "read",
    "scan_sizes",
]


_INFO = core.DebugInfo("trace", "one operation", None, None)


def _names(text: str) -> frozenset[str]:
    return frozenset(text.split())


_ARITHMETIC = _names("""
abs acos acosh add add_any asin asinh atan atan2 atanh bessel_i0e bessel_i1e cbrt clamp conj convert_element_type copy
copy_p cos cosh digamma div erf erf_inv erfc exp exp2 expm1 igamma igamma_grad_a igammac imag integer_pow lgamma log
log1p logistic max min mul neg polygamma pow random_gamma random_gamma_grad real reduce_precision
regularized_incomplete_beta rsqrt sin sinh sqrt square stop_gradient sub tan tanh zeta
""")
"""Element by element, and continuous in real arguments wherever these are finite."""

ROUNDINGS = _names("ceil floor round sign nextafter")
COMPARISONS = _names("eq ge gt is_finite le le_to lt lt_to ne")
_BITS = _names(
    "and bitcast_convert_type not or population_count shift_left shift_right_arithmetic shift_right_logical xor"
)

ELEMENTWISE = _ARITHMETIC | ROUNDINGS | COMPARISONS | (_BITS - {"bitcast_convert_type"}) | {"name", "rem", "select_n"}
"""The result has the shape of the arguments, and each element depends on theirs alone."""

REDUCTIONS = _names("reduce_sum reduce_max reduce_min reduce_prod reduce_and reduce_or reduce_xor argmax argmin")
"""Over the axes that are named in ``params["axes"]``."""

CUMULATIVE = _names("cumsum cumprod cummax cummin cumlogsumexp")
"""Along ``params["axis"]``."""

STRUCTURE = _names("""
broadcast_in_dim concatenate dynamic_slice dynamic_update_slice gather iota pad reshape rev scatter scatter-add
scatter-max scatter-min scatter-mul scatter_add scatter_max scatter_min scatter_mul slice split squeeze stack transpose
unstack
""")
"""Elements are moved, repeated or added up."""

INDEXING = _names("""
dynamic_slice dynamic_update_slice gather scatter scatter-add scatter-max scatter-min scatter-mul scatter-sub
scatter_add scatter_max scatter_min scatter_mul scatter_sub
""")
"""An operand, and indices into it."""

FACTORISATIONS = _names("""
cholesky cholesky_update eig eigh geqrf householder_product lu lu_solve qr schur svd triangular_solve
""")

_LINEAR_ALGEBRA = FACTORISATIONS | _names("""
conv_general_dilated custom_lin dot_general fft hessenberg ragged_dot reduce_window_max reduce_window_min
reduce_window_sum select_and_gather_add select_and_scatter_add tridiagonal tridiagonal_solve
""")

OWN_DERIVATIVE = _names("custom_jvp_call custom_vjp_call custom_vjp_call_jaxpr custom_linear_solve")
"""Calls whose derivative is not that of what is inside."""

CALLS = OWN_DERIVATIVE | _names("call checkpoint closed_call core_call jit pjit remat remat2")
LOOPS = _names("scan while")
CONTROL = CALLS | LOOPS | {"cond", "platform_index", "threefry2x32"}

SMOOTH = (
    _ARITHMETIC
    | STRUCTURE
    | _LINEAR_ALGEBRA
    | CUMULATIVE
    | _names("reduce_sum reduce_max reduce_min reduce_prod")
    | _names("device_put optimization_barrier pvary sharding_constraint sort top_k")
)
"""Real results are continuous in real arguments. Whole numbers among the results (ranks, positions) are not."""


def inner_program(equation: Any) -> Any:
    """The one program inside a call, as a ``Jaxpr``; `None` where there is none."""
    found = next((p for p in equation.params.values() if isinstance(p, core.ClosedJaxpr | core.Jaxpr)), None)
    return found.jaxpr if isinstance(found, core.ClosedJaxpr) else found


def equations(jaxpr: Any) -> Iterator[Any]:
    """All equations of a program, those of the programs inside it included."""
    for equation in jaxpr.eqns:
        yield equation
        for parameter in equation.params.values():
            for inner in parameter if isinstance(parameter, tuple | list) else (parameter,):
                if isinstance(inner, core.ClosedJaxpr):
                    yield from equations(inner.jaxpr)
                elif isinstance(inner, core.Jaxpr):
                    yield from equations(inner)


def execute(equation: Any, values: Sequence[Any]) -> list[Any]:
    """Carry out one operation on other values."""
    given = {a: v for a, v in zip(equation.invars, values, strict=True) if not isinstance(a, core.Literal)}
    alone = core.Jaxpr([], list(given), equation.outvars, [equation], equation.effects, _INFO)
    return list(core.jaxpr_as_fun(core.ClosedJaxpr(alone, []))(*given.values()))


def needed_for(jaxpr: Any, atoms: Sequence[Any]) -> list[Any]:
    """The equations that these atoms of a program are made by, and those that do more than compute."""
    wanted, found = {atom for atom in atoms if not isinstance(atom, core.Literal)}, []
    for equation in reversed(jaxpr.eqns):
        if equation.effects or not wanted.isdisjoint(equation.outvars):
            found.append(equation)
            wanted.update(atom for atom in equation.invars if not isinstance(atom, core.Literal))
    return found[::-1]


T = TypeVar("T")
Rule = Callable[[Any, list[T]], list[T]]


class Reading(ABC, Generic[T]):
    """What is to be found out about every value, and how it passes an operation."""

    has_sources: bool = False
    """Whether something may be known of the results of an operation where nothing is known of its arguments."""

    @property
    @abstractmethod
    def nothing(self) -> T:
        """What is known of a constant."""

    @abstractmethod
    def join(self, facts: Sequence[T]) -> T:
        """What holds of a value that may be made of all of these."""

    @abstractmethod
    def through(self, equation: Any, facts: list[T]) -> list[T]:
        """Of the results of an operation that is not looked into, from its arguments."""

    @abstractmethod
    def decides(self, fact: T) -> T:
        """What a value brings to results that it chooses between, or whose number of repetitions it decides."""

    def literal(self, value: Any) -> T:
        """Of a number that is written in the program."""
        del value
        return self.nothing

    def step_of(self, fact: T) -> T:
        """Of one step of an array that a loop runs over, from the array."""
        return fact

    def steps_of(self, fact: T) -> T:
        """Of the array that a loop stacks up, from one step."""
        return fact

    def inside(self, equation: Any) -> Reading[T] | None:
        """The reading to go on with inside an operation that holds programs; `None` takes it as a whole."""
        del equation
        return self


def read(jaxpr: Any, facts: Sequence[T], reading: Reading[T]) -> dict[Any, T]:
    """What is known of every variable of a program.

    Args:
        jaxpr: a ``Jaxpr``.
        facts: of its arguments.
        reading: what is asked.
    """
    known: dict[Any, T] = dict(zip(jaxpr.invars, facts, strict=True))
    for equation in jaxpr.eqns:
        arguments = [look(known, atom, reading) for atom in equation.invars]
        if not reading.has_sources and all(fact == reading.nothing for fact in arguments):
            results = [reading.nothing] * len(equation.outvars)
        else:
            results = _through(equation, arguments, reading)
        known.update(zip(equation.outvars, results, strict=True))
    return known


def look(known: Mapping[Any, T], atom: Any, reading: Reading[T]) -> T:
    """What is known of a variable or a literal."""
    return reading.literal(atom.val) if isinstance(atom, core.Literal) else known.get(atom, reading.nothing)


def _results(jaxpr: Any, facts: Sequence[T], reading: Reading[T]) -> list[T]:
    known = read(jaxpr, facts, reading)
    return [look(known, atom, reading) for atom in jaxpr.outvars]


def _through(equation: Any, facts: list[T], reading: Reading[T]) -> list[T]:
    name = equation.primitive.name
    if name not in CALLS and name not in LOOPS and name != "cond":
        return reading.through(equation, facts)
    inside = reading.inside(equation)
    if inside is None:
        return reading.through(equation, facts)
    if name == "cond":
        outs = [_results(branch.jaxpr, facts[1:], inside) for branch in equation.params["branches"]]
        return [reading.join([*each, reading.decides(facts[0])]) for each in zip(*outs, strict=True)]
    if name == "scan":
        return _scan(equation, facts, inside)
    if name == "while":
        return _while(equation, facts, inside)
    jaxpr = inner_program(equation)
    if jaxpr is None or len(jaxpr.invars) != len(facts):
        return reading.through(equation, facts)
    return _results(jaxpr, facts, inside)


def scan_sizes(equation: Any) -> tuple[int, int]:
    """How many constants a scan has, and how many values it carries; its other arguments are rows."""
    parameters = equation.params
    if "num_consts" in parameters:
        return parameters["num_consts"], parameters["num_carry"]
    constants, carried, _ = map(len, parameters["ft_in"].unpack())  # JAX from 0.12 on
    return constants, carried


def _scan(equation: Any, facts: list[T], reading: Reading[T]) -> list[T]:
    jaxpr = equation.params["jaxpr"].jaxpr
    constants, carries = scan_sizes(equation)
    fixed, carry = facts[:constants], list(facts[constants : constants + carries])
    each = [reading.step_of(fact) for fact in facts[constants + carries :]]
    while True:
        outs = _results(jaxpr, [*fixed, *carry, *each], reading)
        after = [reading.join([old, new]) for old, new in zip(carry, outs[:carries], strict=True)]
        if after == carry:
            return [*carry, *map(reading.steps_of, outs[carries:])]
        carry = after


def _while(equation: Any, facts: list[T], reading: Reading[T]) -> list[T]:
    """What decides how often the body runs has a part in all that comes out."""
    parameters = equation.params
    condition, body = parameters["cond_jaxpr"].jaxpr, parameters["body_jaxpr"].jaxpr
    first, second = parameters["cond_nconsts"], parameters["body_nconsts"]
    for_condition, for_body = facts[:first], facts[first : first + second]
    carry = list(facts[first + second :])
    while True:
        outs = _results(body, [*for_body, *carry], reading)
        again = reading.decides(_results(condition, [*for_condition, *carry], reading)[0])
        after = [reading.join([old, new, again]) for old, new in zip(carry, outs, strict=True)]
        if after == carry:
            return carry
        carry = after
