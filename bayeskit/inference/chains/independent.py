"""Independent chains: one function for a single chain, mapped over the chain axis in the way that suits the machine.

===============  =============================================================================  =========
`chain_method`   what happens                                                                   chosen by "auto"
===============  =============================================================================  =========
``threads``      one compiled program for one chain, called from threads; no chain waits for    on a CPU
                 another, within a chunk or between chunks
``vectorized``   ``vmap``: all chains advance in lockstep                                       on an accelerator
``sharded``      ``shard_map`` over the devices, ``vmap`` within each; no communication         on several of them
===============  =============================================================================  =========

Under ``jax.distributed`` the devices are those of all processes, and every process gets all chains. Where the rows of
data are spread over devices (`bayeskit.sharded`), chains advance in lockstep.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import warnings
from abc import abstractmethod
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache, partial
from typing import Any

import jax
import numpy as np
from jax.sharding import PartitionSpec

from bayeskit._keys import host_split
from bayeskit._typing import Array, Values
from bayeskit.errors import MethodError
from bayeskit.inference.chains.agreement import Evaluated, check_agreement
from bayeskit.inference.chains.threads import run_ahead
from bayeskit.inference.method import Draws, Method
from bayeskit.target import Target
from bayeskit.xla.cpu_kernel import brief_options, chain_options, is_available
from bayeskit.xla.devices import gathered, is_spread, mesh_of_all, replicated, spread
from bayeskit.xla.jaxprs import FACTORISATIONS, equations
from bayeskit.xla.miscompilation import safe_jit, safe_options

CONSTRAINED_AT_ONCE = 32
"""Draws that are taken to the model's coordinates by one vectorised call; one at a time where that factorises, which
must not become a batch (`_most_at_once`)."""

CHAIN_METHODS = ("auto", "threads", "vectorized", "sharded")


class ChainMethod(Method):
    """A method whose chains are independent: it says what one chain does, and this class maps it over all."""

    chain_method: str

    @abstractmethod
    def init_chain(self, key: Array, target: Target, position: Array) -> Any:
        """State of one chain at a flat position, shape ``(size,)``."""

    @abstractmethod
    def step_chain(self, state: Any, target: Target) -> tuple[Any, Array, dict[str, Array]]:
        """One step of one chain: state, flat position, sample statistics."""

    def attributes(self, target: Target) -> dict[str, str | int]:
        return {"chain_method": resolve(_fitted(self, target).chain_method, self.num_chains)}

    def check_target(self, target: Target) -> None:
        super().check_target(target)
        resolve(self.chain_method, self.num_chains)
        if has_spread_rows(target) and self.chain_method not in ("auto", "vectorized"):
            raise MethodError(
                f"chain_method={self.chain_method!r}: the rows of the data are spread over devices, which must all be "
                "at the same evaluation; use chain_method='vectorized'"
            )

    def drawn_from(self, state: Any, target: Target) -> Target:
        """The target whose draws a chain makes: another one where the method fits parameters of the model."""
        del state
        return target

    def apart(self, stats: dict[str, Array]) -> tuple[Values, dict[str, Array]]:
        """Values of sites that a step has left among its statistics, and the statistics proper."""
        return {}, stats

    def at_draw(self, target: Target, values: Values) -> Target:
        """The target at the values that a step has left (`apart`), for the sites that depend on them."""
        del values
        return target

    def evaluated(self, state: Any) -> Evaluated | None:
        """Where the chains are, with density and gradient, if their program is compiled otherwise than plainly."""
        del state
        return None

    def warm_chain(self, state: Any, target: Target) -> Any:
        """Adaptation of one chain that has no step form."""
        del target
        return state

    def init(self, key: Array, target: Target, positions: Values) -> Any:
        keys = host_split(np.asarray(key), self.num_chains)
        return map_chains(self, _init_chain, (keys, positions), target)

    def warmup(self, state: Any, target: Target) -> Any:
        if type(self).warm_chain is ChainMethod.warm_chain:
            return state
        return map_chains(self, _warm_chain, (state,), target)

    def advance(self, state: Any, target: Target, num_steps: int) -> tuple[Any, Draws]:
        return map_chains(self, partial_of(_advance_chain, num_steps), (state,), target)

    def stream(
        self, state: Any, target: Target, num_steps: int, num_chunks: int
    ) -> Generator[tuple[Any, Draws], None, None]:
        if resolve(_fitted(self, target).chain_method, self.num_chains) != "threads":
            yield from super().stream(state, target, num_steps, num_chunks)
            return
        program = _single(partial_of(_advance_chain, num_steps))
        states = _split(state, self.num_chains)
        if _is_new(program, self, target, states[0]):
            program.lower(self, target, states[0]).compile()

        precision = _precision()

        def step(one: Any) -> Any:
            with precision():
                return jax.block_until_ready(program(self, target, one))

        with contextlib.closing(run_ahead(step, states, num_chunks, _most_at_once(target))) as chunks:
            for number, parts in enumerate(chunks):
                state, draws = _stack(parts)
                if number == 0 and (found := self.evaluated(state)) is not None:
                    check_agreement(target, found)
                yield state, draws


@cache
def partial_of(function: Any, num_steps: int) -> Any:
    """The same partial object for the same arguments, so that compiled programs are found again."""
    return partial(function, num_steps=num_steps)


def _init_chain(method: ChainMethod, target: Target, key: Array, position: Values) -> Any:
    return method.init_chain(key, target, target.ravel(position))


def _warm_chain(method: ChainMethod, target: Target, state: Any) -> Any:
    return method.warm_chain(state, target)


def _advance_chain(method: ChainMethod, target: Target, state: Any, *, num_steps: int) -> tuple[Any, Draws]:
    def step(state: Any, _: None) -> tuple[Any, tuple[Array, dict[str, Array]]]:
        state, position, stats = method.step_chain(state, target)
        return state, (position, stats)

    state, (positions, stats) = jax.lax.scan(step, state, None, length=num_steps)
    final = method.drawn_from(state, target)

    own, stats = method.apart(stats)

    def constrain(drawn: tuple[Array, Values]) -> Values:
        position, values = drawn
        here = method.at_draw(final, values)
        return here.constrain(here.unravel(position))

    first = jax.tree.map(lambda leaf: leaf[0], own)
    alone = factorises(lambda position: constrain((position, first)), target.size)
    values = jax.lax.map(constrain, (positions, own), batch_size=None if alone else CONSTRAINED_AT_ONCE)
    return state, Draws({**values, **own}, stats, positions)


def resolve(chain_method: str, num_chains: int) -> str:
    """The way chains are mapped here, for ``"auto"`` and for an explicit choice.

    Raises:
        MethodError: ``"sharded"`` where the devices do not divide the chains.
    """
    devices = jax.device_count()
    if chain_method == "sharded" and num_chains % devices:
        raise MethodError(
            f"chain_method='sharded' needs num_chains to be a multiple of the {devices} devices, got {num_chains}"
        )
    if chain_method != "auto":
        return chain_method
    if devices > 1 and num_chains % devices == 0 and (jax.process_count() > 1 or jax.default_backend() != "cpu"):
        return "sharded"
    return "threads" if jax.default_backend() == "cpu" else "vectorized"


def has_spread_rows(target: Target) -> bool:
    """Whether data of a target lie on several devices."""
    return any(map(is_spread, jax.tree.leaves(target)))


def _fitted(method: ChainMethod, target: Target) -> ChainMethod:
    """The method with its chains in lockstep, where the rows of the data ask for it."""
    if has_spread_rows(target):
        return dataclasses.replace(method, chain_method="vectorized")  # type: ignore[type-var]
    return method


def runs_single_kernels(chain_method: str) -> bool:
    """Whether the program of one chain is compiled alone for a CPU, with the options of `single_kernel`."""
    return is_available() and resolve(chain_method, jax.device_count()) == "threads"


def map_chains(method: ChainMethod, function: Any, stacked: tuple[Any, ...], target: Target) -> Any:
    """``function(method, target, *arguments of one chain)`` for every chain; results have a leading chain axis."""
    method = _fitted(method, target)
    how = resolve(method.chain_method, method.num_chains)
    if how == "threads":
        return _in_threads(method, function, stacked, target)
    program = _vectorized(function) if how == "vectorized" else _sharded(function, jax.device_count())
    found = program(method, target, *stacked)
    return gathered(found) if jax.process_count() > 1 else found


@cache
def _single(function: Any) -> Any:
    options = brief_options() if function is _init_chain else chain_options()
    return jax.jit(function, static_argnums=0, compiler_options={**options, **safe_options()} or None)


@cache
def _vectorized(function: Any) -> Any:
    def run(method: ChainMethod, target: Target, *stacked: Any) -> Any:
        return jax.vmap(lambda *one: function(method, target, *one))(*stacked)

    return safe_jit(run, static_argnums=0)


@cache
def _sharded(function: Any, num_devices: int) -> Any:
    del num_devices  # only so that another number of them is another program
    mesh = mesh_of_all("chain")
    spec = PartitionSpec("chain")

    def run(method: ChainMethod, target: Target, *stacked: Any) -> Any:
        def local(target: Target, *part: Any) -> Any:
            return jax.vmap(lambda *one: function(method, target, *one))(*part)

        specs = (PartitionSpec(), *[spec] * len(stacked))
        return jax.shard_map(local, mesh=mesh, in_specs=specs, out_specs=spec, check_vma=False)(target, *stacked)

    compiled = safe_jit(run, static_argnums=0)

    def place(method: ChainMethod, target: Target, *stacked: Any) -> Any:
        return compiled(method, replicated(target, "chain"), *spread(stacked, "chain"))

    return place


def _in_threads(method: ChainMethod, function: Any, stacked: tuple[Any, ...], target: Target) -> Any:
    program = _single(function)
    chains = _split(stacked, method.num_chains)

    precision = _precision()

    def one(chain: int) -> Any:
        with precision():
            return jax.block_until_ready(program(method, target, *chains[chain]))

    first = [one(0)] if _is_new(program, method, target, chains[0]) else []
    rest = range(len(first), method.num_chains)
    with ThreadPoolExecutor(max_workers=max(1, min(len(rest), _most_at_once(target)))) as pool:
        return _stack([*first, *pool.map(one, rest)])


def _precision() -> Callable[[], contextlib.AbstractContextManager[Any]]:
    """The precision of this thread, for others: a thread does not inherit ``with jax.enable_x64(...)``."""
    config: Any = jax.config
    return partial(jax.enable_x64, bool(config.jax_enable_x64))


class _Latest:
    """What is known of the latest cases only: the structure of a target holds the data in the closures of its model."""

    def __init__(self, most: int):
        self._most, self._known = most, dict[object, bool]()

    def __contains__(self, case: object) -> bool:
        return case in self._known

    def of(self, case: object, find: Callable[[], bool]) -> bool:
        """What is known of a case, found out if need be."""
        known = self._known.pop(case) if case in self._known else find()
        self._known[case] = known
        if len(self._known) > self._most:
            del self._known[next(iter(self._known))]
        return known


_COMPILED, _BATCHED = _Latest(256), _Latest(256)


def _is_new(program: Any, method: ChainMethod, target: Target, one: Any) -> bool:
    """Whether a program has yet to be compiled for these shapes.

    It must not be compiled while other threads ask for it: XLA can crash where one writes the compilation cache.
    """
    leaves, structure = jax.tree.flatten((target, one))
    case = (program, method, structure, tuple(map(jax.typeof, leaves)))
    is_new = case not in _COMPILED
    _COMPILED.of(case, lambda: True)
    return is_new


def _split(stacked: Any, num_chains: int) -> list[Any]:
    host = jax.tree.map(np.asarray, stacked)
    return [jax.tree.map(lambda leaf: leaf[chain], host) for chain in range(num_chains)]  # noqa: B023


def _stack(parts: Sequence[Any]) -> Any:
    return jax.tree.map(lambda *leaves: np.stack(leaves), *parts)


def _most_at_once(target: Target) -> int:
    """How many chains may run at once.

    XLA's CPU backend runs a batch of factorisations on its pool of workers and waits for it *on* one of them: as many
    programs at once as there are workers can wait for each other forever. Then one worker is kept free.
    """
    cores = os.cpu_count() or 1
    shapes = tuple(np.shape(leaf) for leaf in jax.tree.leaves(target))
    if not _BATCHED.of((jax.tree.structure(target), shapes), lambda: factorises_batches(target)):
        return cores
    workers = int(os.environ.get("PJRT_NPROC", cores))
    if workers - 1 < cores:
        warnings.warn(
            f"the model factorises batches of matrices, which can stall XLA's pool of {workers} workers, so only "
            f"{max(1, workers - 1)} chain(s) run at once; set PJRT_NPROC=16 in the environment before Python starts "
            "(the command line does), or use chain_method='vectorized'",
            stacklevel=2,
        )
    return max(1, min(cores, workers - 1))


def factorises_batches(target: Target) -> bool:
    """Whether the gradient of the log density factorises, or solves with, a batch of matrices."""
    return factorises(jax.grad(lambda flat: target.log_density(target.unravel(flat))), target.size, batches=True)


def factorises(function: Callable[[Array], Any], size: int, *, batches: bool = False) -> bool:
    """Whether a function of a vector of that size factorises, or solves with, a matrix (with a batch of them)."""
    point = jax.ShapeDtypeStruct((size,), jax.numpy.result_type(float))
    program = jax.make_jaxpr(function)(point)
    return any(
        equation.primitive.name in FACTORISATIONS
        and (not batches or any(len(getattr(v.aval, "shape", ())) > 2 for v in equation.invars))
        for equation in equations(program.jaxpr)
    )
