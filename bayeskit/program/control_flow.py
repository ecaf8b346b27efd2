"""Loops and branches in which random choices are safe to make.

In a raw `jax.lax.scan` every pass would draw with the same key, and a gradient would lose the terms of the choices
inside. Here each pass has a key of its own, and what its choices leave behind comes out beside the results.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
from numpyro.contrib import control_flow

from bayeskit._typing import Array
from bayeskit.errors import ModelError
from bayeskit.program.execution import Choice, Level, Override, Record, at, current_level, is_executing
from bayeskit.program.isolation import surroundings
from bayeskit.program.weights import LogWeight, like, number_of

Carry = TypeVar("Carry")
T = TypeVar("T")


def scan(
    f: Callable[[Carry, Any], tuple[Carry, Any]], init: Carry, xs: Any = None, length: int | None = None
) -> tuple[Carry, Any]:
    """`jax.lax.scan` in which ``f`` may make random choices and draws.

    In a program, a site inside is one site whose values have a leading axis of the scan. Outside of a draw (under
    MCMC, or in :func:`bayeskit.log_density`) it is ``numpyro.contrib.control_flow.scan``.

    Args:
        f: ``f(carry, x) -> (carry, y)``.
        init: the first carry.
        xs: arrays with a leading axis, or ``None`` with a ``length``.
        length: number of passes.

    Example:
        >>> import numpyro, numpyro.distributions as dist
        >>> import bayeskit as bk
        >>> def walk():
        ...     def step(x, _):
        ...         x = numpyro.sample("x", dist.Normal(x, 1.0))
        ...         return x, x
        ...
        ...     return bk.scan(step, 0.0, length=5)
        >>> bk.draw(walk, key=0)[0]["x"].shape
        (5,)
    """
    if not is_executing() or (not current_level("scan").is_draw and _under_numpyro()):
        return control_flow.scan(f, init, xs, length)
    level = current_level("bayeskit.scan")
    level.check_transform("bayeskit.scan")
    path = level.next_path("scan")
    if length is None:
        leaves = jax.tree.leaves(xs)
        if not leaves:
            raise ModelError("bayeskit.scan needs xs or length")
        length = int(leaves[0].shape[0])
    choices: dict[str, Choice] = {}
    key = level.key_of(path)

    def body(carry: Carry, inputs: tuple[Array, Any, dict[str, Override]]) -> tuple[Carry, tuple[Any, ...]]:
        index, x, overrides = inputs
        below = jax.random.fold_in(key, index)
        inside = level.child(path, is_draw=level.is_draw, key=below, overrides=overrides)
        with at(inside):
            carry, y = f(carry, x)
        choices.update(inside.choices)
        return carry, (y, inside.values, inside.log_probs, inside.records)

    carry = jax.tree.map(jnp.asarray, init)
    shapes = jax.eval_shape(lambda: body(carry, jax.tree.map(lambda a: a[0], _inputs(level, path, length, xs)))[0])
    # a weakly typed 0.0 may be carried; keys have no astype
    carry = jax.tree.map(lambda a, s: a if a.dtype == s.dtype else a.astype(s.dtype), carry, shapes)
    level.leave_blanks(_stacked(choices, length))
    carry, (ys, values, log_probs, records) = jax.lax.scan(body, carry, _inputs(level, path, length, xs))
    _take_over(level, values, log_probs, records, _stacked(choices, length))
    return carry, ys


def replicate(num: int, f: Callable[..., T], *args: Any) -> T:
    """``f(*args)`` run ``num`` times, independently and vectorised; results have a leading axis.

    For the particles of an objective, outside programs.

    Args:
        num: how many times.
        f: a function that draws.
        *args: the same for all.
    """
    if not isinstance(num, int) or isinstance(num, bool) or num < 1:
        raise ModelError(f"the number of replications must be a positive integer, got {num!r}")
    return _replicate(num, f, *args)[0]


def _replicate(num: int, f: Callable[..., T], *args: Any) -> tuple[T, Level, tuple[str, ...]]:
    level = current_level("bayeskit.replicate")
    level.check_transform("bayeskit.replicate")
    if level.is_draw:
        raise ModelError("bayeskit.replicate is for objectives; in a program use a plate or bayeskit.scan")
    path = level.next_path("replicate")
    choices: dict[str, Choice] = {}
    key = level.key_of(path)

    def one(index: Array, overrides: dict[str, Override]) -> tuple[T, dict[str, Record]]:
        inside = level.child(path, is_draw=False, key=jax.random.fold_in(key, index), overrides=overrides)
        inside.lane = index if level.lane is None else index + 0 * level.lane
        with at(inside):
            result = f(*args)
        choices.update(inside.choices)
        return result, inside.records

    results, records = jax.vmap(one)(jnp.arange(num), level.overrides_below(path))
    level.add(records, _stacked(choices, num))
    return results, level, tuple(records)


def average(num_particles: int, f: Callable[..., LogWeight | Array], *args: Any) -> LogWeight | Array:
    r"""The mean of ``num_particles`` independent values of ``f(*args)``.

    A score estimator inside takes the mean of the *other* particles as its baseline (Kool, van Hoof and Welling 2019,
    "Buy 4 REINFORCE samples, get a baseline for free!").

    Args:
        num_particles: how many.
        f: a function that draws and returns a number.
        *args: the same for all.
    """
    weights, level, below = _replicate(num_particles, f, *args)
    values = _numbers("average", weights)
    if num_particles > 1:
        for address in below:
            if level.choices[address].particles is None:
                level.choices[address] = replace(level.choices[address], particles=0)
        _set_baselines(level, below, _mean_of_others(values))
    return like(weights, jnp.mean(values))


def log_average_exp(num_particles: int, f: Callable[..., LogWeight | Array], *args: Any) -> LogWeight | Array:
    r"""The log of the mean of ``exp`` of ``num_particles`` independent values :math:`\log w_k` of ``f(*args)``.

    A score estimator inside takes as its baseline the same number with the particle's own weight replaced by the
    geometric mean of the others (Mnih and Rezende 2016, "Variational inference for Monte Carlo objectives", VIMCO).

    Args:
        num_particles: how many.
        f: a function that draws and returns a log weight.
        *args: the same for all.
    """
    weights, level, below = _replicate(num_particles, f, *args)
    values = _numbers("log_average_exp", weights)
    if isinstance(weights, LogWeight) and weights.side == "upper":
        raise ModelError("log_average_exp of an upper bound bounds nothing; it takes log weights, model minus guide")
    if num_particles > 1:
        replaced = jnp.where(jnp.eye(num_particles, dtype=bool), _mean_of_others(values)[:, None], values)
        _set_baselines(level, below, jax.nn.logsumexp(replaced, axis=1) - jnp.log(num_particles))
    return like(weights, jax.nn.logsumexp(values) - jnp.log(num_particles))


def _numbers(name: str, results: Any) -> Array:
    """One number of each particle."""
    shapes = [jnp.shape(leaf)[1:] for leaf in jax.tree.leaves(results)]
    if shapes != [()]:
        raise ModelError(
            f"bayeskit.{name} takes a function that returns a number, got values of the shapes {shapes}; use "
            "bayeskit.replicate for those"
        )
    return number_of(results)


def _mean_of_others(values: Array) -> Array:
    """Of every value, the mean of the rest; never by a difference, which minus infinity would spoil."""
    own = jnp.eye(values.size, dtype=bool)
    return jnp.sum(jnp.where(own, 0.0, values), axis=1) / (values.size - 1)


def _set_baselines(level: Level, below: tuple[str, ...], baselines: Array) -> None:
    """Leave-one-out baselines for the choices of each particle, where their estimator takes one."""
    baselines = jax.lax.stop_gradient(jnp.where(jnp.isfinite(baselines), baselines, 0.0))
    for address in below:
        record, estimator = level.records[address], level.choices[address].estimator
        level.records[address] = record._replace(own=estimator.with_others(record.own, baselines))


def cond(pred: Any, true_fun: Callable[..., T], false_fun: Callable[..., T], *operands: Any) -> T:
    """`jax.lax.cond` whose branches may make random choices and draws.

    Only the choices of the branch that is taken count, in the density and in gradients. In a program, the sites of the
    other branch have values as well (zero), so that the set of sites is the same. Outside of a draw it is
    ``numpyro.contrib.control_flow.cond``.

    Args:
        pred: a boolean scalar.
        true_fun: run where ``pred`` is true.
        false_fun: run where it is false.
        *operands: arguments of both.
    """
    if not is_executing() or (not current_level("cond").is_draw and _under_numpyro()):
        branches = (lambda all_: true_fun(*all_)), (lambda all_: false_fun(*all_))
        return control_flow.cond(pred, *branches, operands)
    level = current_level("bayeskit.cond")
    level.check_transform("bayeskit.cond")
    path = level.next_path("cond")
    choices: dict[str, Choice] = {}
    key = level.key_of(path)

    def branch(which: bool, f: Callable[..., T]) -> Callable[[], tuple[Any, ...]]:
        def run() -> tuple[Any, ...]:
            below = f"{path}{str(which).lower()}/"
            inside = level.child(below, is_draw=level.is_draw, key=jax.random.fold_in(key, int(which)))
            with at(inside):
                result = f(*operands)
            choices.update(inside.choices)
            log_density = sum(map(jnp.sum, inside.log_probs.values()), start=jnp.zeros(()))
            return result, inside.values, log_density, inside.records

        return run

    runs = branch(True, true_fun), branch(False, false_fun)
    brings = [jax.eval_shape(run)[1:] for run in runs]
    shared = set(brings[0][0]) & set(brings[1][0])
    if any(brings[0][0][name].shape != brings[1][0][name].shape for name in shared):
        name = sorted(n for n in shared if brings[0][0][n].shape != brings[1][0][n].shape)[0]
        raise ModelError(f"site {name!r} has different shapes in the branches of bayeskit.cond; name them differently")

    level.leave_blanks(choices)

    def padded(run: Callable[[], tuple[Any, ...]], other: Any) -> Callable[[], tuple[Any, ...]]:
        def filled() -> tuple[Any, ...]:
            result, values, log_density, records = run()
            absent = jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), (other[0], other[2]))
            # a branch within a branch has its own mark, which zeros turn to false where this one is not taken
            marked = {address: _taken(record, True) for address, record in records.items()}
            missing = {address: _taken(record, False) for address, record in absent[1].items()}
            return result, {**absent[0], **values}, log_density, {**marked, **missing}

        return filled

    result, values, log_density, records = jax.lax.cond(
        jnp.asarray(pred), padded(runs[0], brings[1]), padded(runs[1], brings[0])
    )
    _take_over(level, values, {path: log_density}, records, choices)
    return result


def _taken(record: Record, taken: bool) -> Record:
    return record._replace(taken=jnp.asarray(taken)) if record.taken is None else record


def _inputs(level: Level, path: str, length: int, xs: Any) -> tuple[Array, Any, dict[str, Override]]:
    return jnp.arange(length), xs, level.overrides_below(path)


def _stacked(choices: Mapping[str, Choice], length: int) -> dict[str, Choice]:
    return {
        address: replace(
            choice,
            stack=(length, *choice.stack),
            particles=None if choice.particles is None else choice.particles + 1,
        )
        for address, choice in choices.items()
    }


def _take_over(
    level: Level,
    values: dict[str, Array],
    log_probs: dict[str, Array],
    records: dict[str, Record],
    choices: dict[str, Choice],
) -> None:
    for name in values:
        if name in level.values:
            raise ModelError(f"site {name!r} is drawn twice in one draw; give its sites different names")
    level.values.update(values)
    level.log_probs.update(log_probs)
    level.add(records, choices)


def _under_numpyro() -> bool:
    return bool(surroundings())
