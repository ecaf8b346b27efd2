r"""The expectation of a program's number, and its gradient.

Let the program make choices $x_1, \dots, x_n$ and return $S(x)$. One execution gives the number

$$g(x) = \Bigl(\prod_{i \in E} q_i(x_i)\Bigr) \; \Bigl( S(x)\, e^{\sum_{j \in R} d_j} - \sum_{j \in R} b_j (e^{d_j} - 1)
\Bigr), \qquad d_j = \log q_j(x_j) - \bot \log q_j(x_j),$$

with $E$ the enumerated choices, given their values, and $R$ those with the score estimator, baselines $b_j$ (Foerster
et al. 2018, "DiCE", whose form is right for higher derivatives too). A measure-valued choice $m$ adds
$\sum_v \bot g(x_m := v)\,(q_m(v) - \bot q_m(v))$, from executions in which it is overridden and those after it are
coupled by their keys. The result is the sum over all values of the enumerated choices. Since every weight is inside
$g$, the order in which choices are made needs no account, and choices in loops are like any others.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from typing import Any, ParamSpec, TypeVar

import jax
import jax.numpy as jnp
import numpy as np

from bayeskit._keys import as_key
from bayeskit._typing import Array
from bayeskit.errors import ModelError
from bayeskit.inference.vi.estimators import default_estimator
from bayeskit.inference.vi.programs.unbiased import Unbiased
from bayeskit.inference.vi.surrogate import Lane
from bayeskit.inference.vi.tracing.decomposition import Decomposition, Overrides, shape_of, trace, untraced
from bayeskit.inference.vi.tracing.jumps import Jumps
from bayeskit.program.execution import Choice, Level, Override, Record, at, is_executing
from bayeskit.program.isolation import NoStraySites
from bayeskit.program.weights import LogWeight, number_of
from bayeskit.xla.miscompilation import warn_if_faulty

__all__ = ["expectation"]

P = ParamSpec("P")
T = TypeVar("T")

MAX_LANES = 4096


def expectation(f: Callable[P, T], *, max_lanes: int = MAX_LANES) -> Callable[..., T]:
    r"""An unbiased estimate of :math:`\mathrm E\, f`, whose derivative is an unbiased estimate of the derivative.

    Args:
        f: a function that draws from programs (:func:`bayeskit.draw`) and returns a number, or a pytree of numbers.
        max_lanes: how many executions enumeration and measure-valued gradients may ask for.

    Returns:
        ``estimate(key, *args)``: ``f``'s arguments after a key. ``jax.grad``, ``value_and_grad``, ``vmap`` and ``jit``
        apply to it as to any function. Draws are in ``f``, never in a transformation inside it.

    Raises:
        ModelError: when called: an estimator that would be wrong for its distribution; too many lanes, naming sites and
            their number; a draw inside a JAX transformation of ``f``'s own; a second derivative through a
            measure-valued choice.

    Example:
        >>> import jax, numpyro, numpyro.distributions as dist
        >>> import bayeskit as bk
        >>> def f(p):
        ...     choices, _ = bk.draw(
        ...         lambda: numpyro.sample("b", dist.Bernoulli(p), infer={"estimator": bk.estimators.Enumeration()})
        ...     )
        ...     return (2 * choices["b"] + 1) ** 2.0
        >>> value, gradient = jax.jit(jax.value_and_grad(bk.expectation(f), argnums=1))(0, 0.3)
        >>> round(float(value), 5), round(float(gradient), 5)
        (3.4, 8.0)
    """

    def estimate(key: Array | int | np.integer, *args: Any, **kwargs: Any) -> T:
        if is_executing():
            raise ModelError(
                "an expectation inside the function of another one would reuse its key, and a log or a quotient of it "
                "would be biased; bayeskit.unbiased(f, ...) is for that: it needs no key, and tells what stays unbiased"
            )
        warn_if_faulty()
        return _Estimate(lambda: f(*args, **kwargs), as_key(key, "an expectation", ModelError), max_lanes).total()

    return estimate


class _Estimate:
    """One evaluation of an expectation."""

    def __init__(self, f: Callable[[], Any], key: Array, max_lanes: int):
        self._f, self._key, self._max_lanes = f, key, max_lanes

    def total(self) -> Any:
        self._decomposition = self._look()
        choices = self._decomposition.choices
        _warn_of_jumps(self._decomposition.jumps)
        if all(choice.estimator.passes_values for choice in choices.values()):
            return self._decomposition.plain()
        self._check_lanes()
        return self._lanes([a for a in choices if self._decomposition.estimator(a).is_enumerated], {})

    def _look(self) -> Decomposition:
        """The program is traced once, and everything is read from that."""
        try:
            return trace(lambda: self._execute({}, is_traced=True))
        except jax.errors.JAXTypeError:  # Python's control flow on values, which have none while tracing
            return untraced(self._execute)

    def _execute(
        self, overrides: Mapping[str, Override], *, is_traced: bool = False
    ) -> tuple[Any, dict[str, Record], dict[str, Choice]]:
        level = Level(self._key, "", overrides, default_estimator, is_draw=False)
        level.is_traced = is_traced
        with at(level), NoStraySites():
            result = self._f()
            result = jax.tree.map(_drawn, result, is_leaf=_is_estimate)
        return jax.tree.map(_number, result, is_leaf=_is_estimate), level.records, level.choices

    def _lanes(self, enumerated: list[str], overrides: Overrides) -> Any:
        """The sum over all values of the enumerated choices; each has a `vmap` of its own."""
        if not enumerated:
            return self._surrogate(overrides)
        address, *rest = enumerated
        values = _combinations(self._decomposition, address)
        mask = jnp.ones(values.shape[1:], bool)
        lane = jax.vmap(lambda value: self._lanes(rest, {**overrides, address: Override(mask, value)}))
        return jax.tree.map(lambda number: jnp.sum(number, axis=0), lane(values))

    def _surrogate(self, overrides: Overrides, done: frozenset[str] = frozenset()) -> Any:
        """The number of one lane, with the terms of its choices, in the hands of those that take the rest.

        The terms of a choice before one that takes the rest are outside its hands, those of a choice after it inside.
        """
        lane, terms = Lane(self._decomposition, overrides), []
        for address in self._decomposition.choices:
            estimator = self._decomposition.estimator(address)
            if address not in done and address not in overrides:
                term = estimator.term(lane, address)
                if term is not None:
                    terms.append(term)
                    done |= {address}
            if estimator.continues and address not in overrides:
                number = self._rest(lane, address, done)
                break
        else:
            number = lane.total()
        return jax.tree.map(lambda *leaves: sum(leaves[1:], start=leaves[0]), number, *terms)

    def _rest(self, lane: Lane, address: str, done: frozenset[str]) -> Any:
        """What an estimator makes of the rest of the program."""
        choice, record = self._decomposition.choices[address], lane.execution.records[address]
        if choice.stack or record.taken is not None:
            raise ModelError(
                f"site {choice.site!r}: a custom estimator cannot be used in bayeskit.scan, cond or replicate; use one "
                "of the others there"
            )

        def continuation(value: Array) -> Any:
            return self._surrogate({**lane.overrides, address: Override(jnp.ones(choice.shape, bool), value)}, done)

        number = self._decomposition.estimator(address).rest(choice, record.own, continuation)
        shapes = [jnp.shape(leaf) for leaf in jax.tree.leaves(number)]
        if jax.tree.structure(number) != self._decomposition.tree or shapes != self._decomposition.shapes:
            raise ModelError(
                f"site {choice.site!r}: its custom estimator returns numbers of the shapes {shapes}, and the function "
                f"whose expectation is taken returns {self._decomposition.shapes}"
            )
        return number

    def _check_lanes(self) -> None:
        """Refuse more executions than are allowed."""
        counts: dict[str, int] = {}
        number, more = 1, 1
        estimators = {address: self._decomposition.estimator(address) for address in self._decomposition.choices}
        for address, estimator in sorted(estimators.items(), key=lambda pair: not pair[1].is_enumerated):
            asked = estimator.executions(self._decomposition, address)
            if estimator.is_enumerated:
                number *= asked
            else:
                more += asked
            if estimator.needs_support:
                counts[address] = asked
        if number * more > self._max_lanes:
            sites = ", ".join(f"{_describe(self._decomposition.choices[a])}, {n})" for a, n in counts.items())
            raise ModelError(
                f"enumeration and measure-valued gradients would execute the program {number * more} times, more than "
                f"max_lanes={self._max_lanes}: {sites}; use bayeskit.estimators.Score() for some of them, or "
                "raise max_lanes"
            )


def _warn_of_jumps(found: Jumps) -> None:
    """Warn of pathwise choices whose gradient misses a jump."""
    if not found.sites:
        return
    names = ", ".join(map(repr, sorted(found.sites)))
    what = "a step (a comparison, a rounding, an argmax)"
    if found.unknown:
        what += f", or an operation that may be one ({', '.join(sorted(found.unknown))})"
    warnings.warn(
        f"the value of {names} reaches the result through {what}, of which a pathwise gradient sees nothing: it is "
        "biased. Use bayeskit.estimators.Score() there",
        stacklevel=5,
    )


def _is_estimate(leaf: Any) -> bool:
    return isinstance(leaf, LogWeight | Unbiased)


def _drawn(leaf: Any) -> Any:
    return leaf.sample() if isinstance(leaf, Unbiased) else leaf


def _number(leaf: Any) -> Array:
    array = number_of(leaf if isinstance(leaf, LogWeight) else jnp.asarray(leaf))
    if jnp.issubdtype(array.dtype, jnp.complexfloating):
        raise ModelError("the function given to bayeskit.expectation must return real numbers")
    return array.astype(jnp.result_type(float)) if not jnp.issubdtype(array.dtype, jnp.floating) else array


def _describe(choice: Choice) -> str:
    kind = "measure-valued" if choice.estimator.kind == "measure_valued" else "enumerated"
    return f"{choice.site!r} ({kind}, shape {shape_of(choice)}"


def _combinations(decomposition: Decomposition, address: str) -> Array:
    """All values of a choice, shape `(combinations, *stack, *shape)`, alike along the axes that nothing mixes."""
    choice = decomposition.choices[address]
    shape, parallel = shape_of(choice), decomposition.parallel(address)
    support = np.asarray(choice.support)
    size = decomposition.mixed(address)
    index = np.indices((support.size,) * size).reshape(size, -1).T
    mixed = [1 if axis in parallel else length for axis, length in enumerate(shape)]
    return jnp.asarray(np.broadcast_to(support[index].reshape(-1, *mixed), (len(index), *shape)), choice.dtype)
