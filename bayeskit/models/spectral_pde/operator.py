r"""The left side of a differential equation: an ordinary function of the solution and its derivatives, made linear."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from bayeskit._spelling import did_you_mean
from bayeskit._typing import Array
from bayeskit.errors import DataError, ModelError
from bayeskit.xla.miscompilation import safe_jit

__all__ = ["Derivative", "Operator", "arguments_of", "derivative_of", "trace_operator"]

MOST = 4
"""The highest order of a derivative."""

Derivative = tuple[int, ...]
"""The order along each coordinate."""


class _At:
    """What an operator sees of the solution at a point; reading an attribute asks for a derivative."""

    def __init__(self, coordinates: Sequence[str], find: Callable[[Derivative], Array]):
        self._coordinates, self._find = coordinates, find

    def __getattr__(self, name: str) -> Array:
        if name.startswith("_"):
            raise AttributeError(name)
        return self._find(derivative_of(name, self._coordinates, ModelError))


def derivative_of(
    name: str, coordinates: Sequence[str], error: type[ModelError] | type[DataError] = DataError
) -> Derivative:
    """The orders that a name such as ``"xx"`` or ``"value"`` asks for.

    Raises:
        ModelError: or another `error`; the name has letters that are no coordinates, or an order above `MOST`.
    """
    letters = "" if name == "value" else name
    unknown = sorted(set(letters) - set(coordinates))
    if unknown or (not letters and name != "value"):
        such_as = dict.fromkeys([*coordinates[:1], coordinates[0] * 2, coordinates[0] + coordinates[-1]])
        raise error(
            f"u.{name} is no derivative: the coordinates are {', '.join(coordinates)}, so that u has u.value, "
            f"{', '.join(f'u.{one}' for one in such_as)} and so on, to order {MOST}"
        )
    if len(letters) > MOST:
        raise error(f"u.{name} is of order {len(letters)}; derivatives go to order {MOST}")
    return tuple(letters.count(coordinate) for coordinate in coordinates)


def name_of(orders: Derivative, coordinates: Sequence[str]) -> str:
    """The name of a derivative, as an operator calls it."""
    return "".join(c * order for c, order in zip(coordinates, orders, strict=True)) or "value"


def arguments_of(what: str, function: Callable[..., Any], skip: int, known: Sequence[str]) -> tuple[str, ...]:
    """The names of what a function wants beside its first `skip` arguments.

    Raises:
        ModelError: too few arguments, or a name that nothing has.
    """
    try:
        parameters = list(inspect.signature(function).parameters.values())
    except (TypeError, ValueError) as problem:
        raise ModelError(f"{what} must be a Python function whose arguments can be read: {problem}") from problem
    if any(p.kind is p.VAR_POSITIONAL for p in parameters[: skip + 1]):
        return ()
    if len(parameters) < skip:
        raise ModelError(f"{what} takes {len(parameters)} arguments; it is called with {skip}")
    rest = [p for p in parameters[skip:] if p.kind is not p.VAR_KEYWORD]
    names = tuple(p.name for p in rest if p.name in known or p.default is p.empty)
    for name in names:
        if name not in known:
            raise ModelError(
                f"{what} has the argument {name!r}, which is neither a coordinate nor in coefficients"
                f"{did_you_mean(name, known, 'there are')}"
            )
    return names


@dataclasses.dataclass(frozen=True)
class Operator:
    """An operator that has been looked at.

    Attributes:
        function: as it was given.
        coordinates: their names.
        terms: the derivatives that it reads.
        uses: the names of the coordinates and coefficients that it asks for.
        is_linear: whether it is an affine function of the derivatives.
    """

    function: Callable[..., Any]
    coordinates: tuple[str, ...]
    terms: tuple[Derivative, ...]
    uses: tuple[str, ...]
    is_linear: bool

    @property
    def varies(self) -> bool:
        """Whether what multiplies the derivatives may differ from point to point."""
        return not self.is_linear or any(name in self.coordinates for name in self.uses)

    def order(self, axis: int) -> int:
        """The highest derivative along a coordinate."""
        return max(term[axis] for term in self.terms)

    def at(self, values: Array, point: Array, coefficients: Mapping[str, Array]) -> Array:
        """The operator at one point, of the values of its derivatives, shape `(terms,)`."""
        table = dict(zip(self.terms, values, strict=True))
        known = {**dict(zip(self.coordinates, point, strict=True)), **coefficients}
        wanted = {name: known[name] for name in self.uses}
        return jnp.asarray(self.function(_At(self.coordinates, lambda d: table[d]), **wanted))

    def linearise(self, values: Array, points: Array, coefficients: Mapping[str, Array]) -> tuple[Array, Array]:
        """The operator and its slopes: shapes `(points,)` and `(points, terms)`.

        Args:
            values: of the derivatives, shape `(points, terms)`.
            points: shape `(points, coordinates)`.
            coefficients: by name.
        """
        return _linearise(self, values, points, dict(coefficients))


def _at_points(operator: Operator, values: Array, points: Array, coefficients: dict[str, Array]) -> tuple[Array, Array]:
    both = jax.value_and_grad(operator.at)
    return jax.vmap(both, in_axes=(0, 0, None))(values, points, coefficients)


_linearise = safe_jit(_at_points, compile=eqx.filter_jit)


def trace_operator(
    function: Callable[..., Any],
    coordinates: tuple[str, ...],
    coefficients: Mapping[str, np.ndarray],
    domain: np.ndarray,
) -> Operator:
    """Look at an operator: which derivatives it reads, and whether it is linear in them.

    Linear means that the slopes are the same at derivatives of either sign and of sizes from 1e-3 to 1e3; where an
    operator bends only elsewhere, the residuals at fresh points of a solution tell.

    Args:
        function: of `u`, and of coordinates and coefficients by name.
        coordinates: their names.
        coefficients: values to try it with.
        domain: shape `(coordinates, 2)`.

    Raises:
        ModelError: it is no function, reads no derivative, has an unknown argument, or returns anything but a number.
    """
    if not callable(function):
        raise ModelError(f"operator must be a function such as lambda u: u.xx, got {function!r}")
    uses = arguments_of("operator", function, 1, (*coordinates, *coefficients))
    seen: dict[Derivative, None] = {}

    def look(orders: Derivative) -> Array:
        seen[orders] = None
        return jnp.zeros(())

    def call() -> Array:
        given = {**dict.fromkeys(coordinates, jnp.zeros(())), **coefficients}
        return jnp.asarray(function(_At(coordinates, look), **{name: jnp.asarray(given[name]) for name in uses}))

    try:
        shape = jax.eval_shape(call).shape
    except (TypeError, IndexError) as problem:
        raise ModelError(f"operator cannot be called at a point: {type(problem).__name__}: {problem}") from problem
    if not seen:
        raise ModelError("operator reads nothing of u: write it with u.value, u.x, u.xx and so on")
    if shape != ():
        raise ModelError(
            f"operator must return one number at a point, where each derivative is one number; it returned shape "
            f"{shape}"
        )
    terms = tuple(sorted(seen, key=lambda orders: (sum(orders), tuple(reversed(orders)))))
    operator = Operator(function, coordinates, terms, uses, True)
    return dataclasses.replace(operator, is_linear=_is_linear(operator, coefficients, domain))


def _is_linear(operator: Operator, coefficients: Mapping[str, np.ndarray], domain: np.ndarray) -> bool:
    generator = np.random.default_rng(0)
    count = 32
    sizes = 10.0 ** generator.uniform(-3, 3, (count, 1))
    values = sizes * generator.normal(size=(count, len(operator.terms)))
    point = np.repeat(generator.uniform(domain[:, 0], domain[:, 1])[None], count, axis=0)
    given = {name: jnp.asarray(value) for name, value in coefficients.items()}
    _, slopes = operator.linearise(jnp.asarray(values), jnp.asarray(point), given)
    found = np.asarray(slopes)
    return bool(np.allclose(found, found[:1], rtol=1e-12, atol=0.0))
