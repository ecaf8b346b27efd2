r"""The expectation of a program's number, and its gradient.

Let the program make choices $x_1, \dots, x_n$ and return $S(x)$. One execution gives the number

$$g(x) = \Bigl(\prod_{i \in E} q_i(x_i)\Bigr) \; \Bigl( S(x)\, e^{\sum_{j \in R} d_j} - \sum_{j \in R} b_j (e^{d_j} - 1)
\Bigr), \qquad d_j = \log q_j(x_j) - \bot \log q_j(x_j),$$

with $E$ the enumerated choices, given their values, and $R$ those with the score estimator, baselines $b_j$ (Foerster
et al. 2018, "DiCE", whose form is right for higher derivatives too). A measure-valued choice $m$ adds
$\sum_v \bot g(x_m := v)\,(q_m(v) - \bot q_m(v))$, from executions in which it is overridden and those after it are
coupled by their keys. The result is the sum over all values of the enumerated choices. Since every weight is inside of
$g$, the order in which choices are made needs no account, and choices in loops are like any others.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Mapping
from typing import Any, ParamSpec, TypeVar

import jax
import jax.numpy as jnp
import numpy as np

from bayeskit._errors import ModelError
from bayeskit._typing import Array
from bayeskit.inference.vi.estimators import Custom, Enumeration, MeasureValued, Pathwise, default_estimator
from bayeskit.inference.vi.steps import steps
from bayeskit.program.execution import Choice, Level, Override, Record, as_key, at, is_executing
from bayeskit.program.weights import LogWeight, number_of

__all__ = ["expectation"]

P = ParamSpec("P")
T = TypeVar("T")
Overrides = dict[str, Override]

MAX_LANES = 4096


def expectation(f: Callable[P, T], *, max_lanes: int = MAX_LANES) -> Callable[..., T]:
    r"""An unbiased estimate of :math:`\mathrm E\, f`, whose derivative is an unbiased estimate of the derivative.

    Args:
        f: a function that draws from programs (:func:`bayeskit.draw`) and returns a number, or a pytree of numbers.
        max_lanes: how many executions enumeration and measure-valued gradients may ask for.

    Returns:
        ``estimate(key, *args)``: ``f``'s arguments after a key. ``jax.grad``, ``value_and_grad``, ``vmap`` and ``jit``
        apply to it as to any function. Draws are in ``f``, never in a transformation inside of it.

    Raises:
        ModelError: when called: an estimator that would be wrong for its distribution; too many lanes, naming sites and
            their number; a draw inside a JAX transformation of ``f``'s own; a second derivative through a
            measure-valued choice.

    Example:
        >>> import jax, numpyro, numpyro.distributions as dist
        >>> import bayeskit as bk
        >>> def f(p):
        ...     choices, _ = bk.draw(
        ...         lambda: numpyro.sample("b", dist.Bernoulli(p), infer={"estimator": bk.enumeration()})
        ...     )
        ...     return (2 * choices["b"] + 1) ** 2.0
        >>> value, gradient = jax.value_and_grad(bk.expectation(f), argnums=1)(0, 0.3)
        >>> round(float(value), 5), round(float(gradient), 5)
        (3.4, 8.0)
    """

    def estimate(key: Array | int, *args: Any, **kwargs: Any) -> T:
        if is_executing():
            raise ModelError(
                "an expectation inside the function of another one would reuse its key, and a log or a quotient of it "
                "would be biased; draw in the outer function itself (bayeskit.replicate and bayeskit.average repeat)"
            )
        return _Estimate(lambda: f(*args, **kwargs), as_key(key, "an expectation"), max_lanes).total()

    return estimate


class _Estimate:
    """One evaluation of an expectation."""

    def __init__(self, f: Callable[[], Any], key: Array, max_lanes: int):
        self._f, self._key, self._max_lanes = f, key, max_lanes

    def total(self) -> Any:
        result, records, choices = self._execute({})
        enumerated = {a: c for a, c in choices.items() if isinstance(c.estimator, Enumeration)}
        self._check_lanes(choices, records)
        self._check_steps(choices)
        if not enumerated:
            return self._surrogate({}, result, records, choices)
        return self._lanes(list(enumerated.items()), {})

    def _execute(self, overrides: Overrides) -> tuple[Any, dict[str, Record], dict[str, Choice]]:
        level = Level(self._key, "", overrides, default_estimator, is_draw=False)
        with at(level):
            result = self._f()
        return jax.tree.map(_number, result, is_leaf=_is_weight), level.records, level.choices

    def _lanes(self, enumerated: list[tuple[str, Choice]], overrides: Overrides) -> Any:
        """The sum over all values of the enumerated choices; each has a `vmap` of its own."""
        if not enumerated:
            return self._surrogate(overrides, *self._execute(overrides))
        (address, choice), *rest = enumerated
        shape = (*choice.stack, *choice.shape)
        values = _combinations(choice)
        mask = jnp.ones(shape, bool)
        lane = jax.vmap(lambda value: self._lanes(rest, {**overrides, address: Override(mask, value)}))
        return jax.tree.map(lambda number: jnp.sum(number, axis=0), lane(values))

    def _surrogate(
        self,
        overrides: Overrides,
        result: Any,
        records: dict[str, Record],
        choices: dict[str, Choice],
        done: frozenset[str] = frozenset(),
    ) -> Any:
        """The number of one lane, with the terms of its measure-valued choices, in the hands of custom estimators.

        The terms of a choice before a custom one are outside of that one's hands, those of a choice after it inside.
        """
        terms = []
        for address, choice in choices.items():
            if isinstance(choice.estimator, MeasureValued) and address not in done:
                terms.append(self._phantoms(overrides, address, choice, records[address]))
                done |= {address}
            if isinstance(choice.estimator, Custom) and address not in overrides:
                total = self._custom(overrides, address, choice, choice.estimator, records[address], done)
                break
        else:
            total = _combine(result, records, choices)
        return jax.tree.map(lambda *leaves: sum(leaves[1:], start=leaves[0]), total, *terms)

    def _custom(
        self,
        overrides: Overrides,
        address: str,
        choice: Choice,
        estimator: Custom,
        record: Record,
        done: frozenset[str],
    ) -> Any:
        """What a custom estimator makes of the rest of the program."""
        if choice.stack or "taken" in record:
            raise ModelError(
                f"site {choice.site!r}: a custom estimator cannot be used in bayeskit.scan, cond or replicate; use one "
                "of the others there"
            )
        mask = jnp.ones(choice.shape, bool)

        def continuation(value: Array) -> Any:
            given = {**overrides, address: Override(mask, value)}
            return self._surrogate(given, *self._execute(given), done)

        return estimator.function(record["key"], record["distribution"], continuation)

    def _phantoms(self, overrides: Overrides, address: str, choice: Choice, record: Record) -> Any:
        """Executions with one element of a choice at another value; forward only."""
        shape = (*choice.stack, *choice.shape)
        size = math.prod(shape)
        masks = jnp.eye(size, dtype=bool).reshape(size, *shape)

        def phantom(mask: Array, value: Array) -> Any:
            given = {**overrides, address: Override(mask, jnp.broadcast_to(value, shape))}
            result, records, choices = self._execute(given)
            depends = _forgotten(address, records, choices)
            number = _combine(result, records, choices, forward=True)
            return jax.tree.map(lambda leaf: _forward_only(leaf, depends), number)

        def elementwise(values: Array) -> Any:
            """For values of shape `(n, *shape)`: numbers of shape `(n, elements)`, each element replaced in turn."""
            return jax.vmap(lambda value: jax.vmap(phantom, (0, None))(masks, value))(values)

        taken = record.get("taken", jnp.asarray(True)).reshape(-1)
        each = jnp.repeat(taken, size // taken.size) if taken.size else taken
        if "probabilities" in record:
            support = jnp.asarray(choice.support, choice.dtype)
            numbers = elementwise(jnp.broadcast_to(support.reshape(-1, *[1] * len(shape)), (support.size, *shape)))
            leading = _values_first(record["probabilities"], choice)
            weights = leading - jax.lax.stop_gradient(leading)
        else:
            plus, minus = (elementwise(_parameters_first(record[name], choice)) for name in ("plus", "minus"))
            numbers = jax.tree.map(jnp.subtract, plus, minus)
            parameters = _parameters_first(record["parameters"], choice)
            constants = _parameters_first(record["constants"], choice)
            weights = constants * (parameters - jax.lax.stop_gradient(parameters))
        weights = jnp.where(each, weights.reshape(weights.shape[0], -1), 0.0)
        return jax.tree.map(lambda number: jnp.tensordot(weights, number, axes=2), numbers)

    def _check_steps(self, choices: Mapping[str, Choice]) -> None:
        """Warn of pathwise choices whose gradient misses a jump."""
        free = {a: c for a, c in choices.items() if isinstance(c.estimator, Pathwise)}
        if not free:
            return
        shapes = [jax.ShapeDtypeStruct((*c.stack, *c.shape), c.dtype) for c in free.values()]

        def run(*values: Array) -> Any:
            pairs = zip(free, values, strict=True)
            return self._execute({a: Override(jnp.ones(value.shape, bool), value) for a, value in pairs})[0]

        traced = jax.make_jaxpr(run)(*shapes)
        found = steps(traced, [choice.site for choice in free.values()])
        if found:
            names = ", ".join(map(repr, sorted(found)))
            warnings.warn(
                f"the value of {names} reaches the result through a step (a comparison, a rounding, an argmax), of "
                "which a pathwise gradient sees nothing: it is biased. Use bayeskit.score() there",
                stacklevel=4,
            )

    def _check_lanes(self, choices: Mapping[str, Choice], records: Mapping[str, Record]) -> None:
        lanes = {}
        for address, choice in choices.items():
            elements = math.prod((*choice.stack, *choice.shape))
            if isinstance(choice.estimator, Enumeration):
                lanes[address] = len(choice.support or ()) ** elements
            elif isinstance(choice.estimator, MeasureValued):
                record = records[address]
                values = record["plus"].shape[len(choice.stack)] * 2 if "plus" in record else len(choice.support or ())
                lanes[address] = values * elements
        kinds = [isinstance(choices[address].estimator, Enumeration) for address in lanes]
        number = math.prod(n for n, enumerated in zip(lanes.values(), kinds, strict=True) if enumerated)
        number *= 1 + sum(n for n, enumerated in zip(lanes.values(), kinds, strict=True) if not enumerated)
        if number > self._max_lanes:
            sites = ", ".join(f"{choices[a].site!r} ({_describe(choices[a])}, {n})" for a, n in lanes.items())
            raise ModelError(
                f"enumeration and measure-valued gradients would execute the program {number} times, more than "
                f"max_lanes={self._max_lanes}: {sites}; use bayeskit.score() for some of them, or raise max_lanes"
            )


def _is_weight(leaf: Any) -> bool:
    return isinstance(leaf, LogWeight)


def _number(leaf: Any) -> Array:
    array = number_of(leaf if _is_weight(leaf) else jnp.asarray(leaf))
    if jnp.issubdtype(array.dtype, jnp.complexfloating):
        raise ModelError("the function given to bayeskit.expectation must return real numbers")
    return array.astype(jnp.result_type(float)) if not jnp.issubdtype(array.dtype, jnp.floating) else array


def _describe(choice: Choice) -> str:
    kind = "enumerated" if isinstance(choice.estimator, Enumeration) else "measure-valued"
    return f"{kind}, shape {(*choice.stack, *choice.shape)}"


def _combinations(choice: Choice) -> Array:
    """All values of a choice, shape `(combinations, *stack, *shape)`."""
    shape = (*choice.stack, *choice.shape)
    support = np.asarray(choice.support)
    size = math.prod(shape)
    index = np.indices((support.size,) * size).reshape(size, -1).T
    return jnp.asarray(support[index].reshape(-1, *shape), choice.dtype)


def _values_first(array: Array, choice: Choice) -> Array:
    """From `(*stack, values, *shape)` to `(values, elements)`."""
    array = jnp.moveaxis(array, len(choice.stack), 0)
    return array.reshape(array.shape[0], -1)


def _parameters_first(array: Array, choice: Choice) -> Array:
    """From `(*stack, parameters, *shape)` to `(parameters, *stack, *shape)`."""
    return jnp.moveaxis(array, len(choice.stack), 0)


def _combine(
    result: Any, records: Mapping[str, Record], choices: Mapping[str, Choice], *, forward: bool = False
) -> Any:
    """The number `g` of one execution; only its value where `forward`."""
    weight: Array | None = None
    magic: Array | None = None
    control: Array | None = None
    for address, record in records.items():
        if "log_q" not in record:
            continue
        choice = choices[address]
        if isinstance(choice.estimator, Enumeration):
            combinations = len(choice.support or ()) ** math.prod(choice.shape)
            share = jnp.where(record["taken"], record["log_q"], -math.log(combinations)) if "taken" in record else None
            factor = jnp.exp(jnp.sum(record["log_q"] if share is None else share))
            weight = factor if weight is None else weight * factor
        elif not forward:
            log_q = record["log_q"]
            zero = log_q - jax.lax.stop_gradient(log_q)
            if "taken" in record:
                zero = jnp.where(record["taken"], zero, 0.0)
            magic = jnp.sum(zero) if magic is None else magic + jnp.sum(zero)
            baseline = record.get("baseline", record.get("leave_one_out"))
            if baseline is not None:
                term = jnp.sum(jax.lax.stop_gradient(baseline) * jnp.expm1(zero))
                control = term if control is None else control + term

    def number(leaf: Array) -> Array:
        if magic is not None:
            leaf = leaf * jnp.exp(magic)
        if control is not None:
            leaf = leaf - control
        return leaf if weight is None else weight * leaf

    return jax.tree.map(number, result)


def _forgotten(address: str, records: Mapping[str, Record], choices: Mapping[str, Choice]) -> list[Array]:
    """What the law of a phantom depends on beside its number: the choices that it draws.

    A single choice with a finite support is linear in its probabilities, and is not drawn in its own phantoms.
    """
    alone = math.prod((*choices[address].stack, *choices[address].shape)) == 1
    forgotten = []
    for other, record in records.items():
        if isinstance(choices[other].estimator, Enumeration):
            continue
        forgotten += [record[name] for name in ("log_q", "parameters") if name in record]
        if "probabilities" in record and not (other == address and alone):
            forgotten.append(record["probabilities"])
    return forgotten


@jax.custom_jvp
def _forward_only(x: Array, depends: list[Array]) -> Array:
    """The value alone: its derivative is zero, and the derivative after that is refused."""
    del depends
    return x


@_forward_only.defjvp
def _(primals: tuple[Array, Any], tangents: tuple[Array, Any]) -> tuple[Array, Array]:
    del tangents
    return _no_second_derivative(*primals), jnp.zeros_like(primals[0])


@jax.custom_jvp
def _no_second_derivative(x: Array, depends: list[Array]) -> Array:
    del depends
    return x


@_no_second_derivative.defjvp
def _(primals: tuple[Array, Any], tangents: tuple[Array, Any]) -> tuple[Array, Array]:
    del primals, tangents
    raise ModelError(
        "second derivatives do not pass a measure-valued choice; use bayeskit.enumeration() or bayeskit.score() there"
    )
