"""What can be drawn from and scored: programs, plain functions, and programs with an estimated density."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable

import jax

from bayeskit._typing import Array, Values
from bayeskit.errors import ModelError
from bayeskit.program.bind import Program
from bayeskit.program.execution import Level, at
from bayeskit.program.weights import LogWeight


class WeightedProgram(ABC):
    """A program whose density is estimated (`bayeskit.marginal`, `bayeskit.normalize`)."""

    __name__: str

    @abstractmethod
    def draw(self) -> tuple[Values, LogWeight | Array]:
        """Values and the log of their density, estimated for values that were just drawn."""

    @abstractmethod
    def log_density(self, choices: Values) -> LogWeight | Array:
        """The log of the density at given values, estimated without bias."""

    def detached(self) -> WeightedProgram:
        """The same program, through whose parameters no gradient passes."""
        raise ModelError(f"the parameters of {self.__name__!r} are not known, so they cannot be detached")


Runnable = Program | WeightedProgram | Callable[[], object]


def detach(program: Runnable) -> Runnable:
    """The same program, through whose parameters no gradient passes (they still pass the values of its choices).

    Args:
        program: made by :func:`bayeskit.bind`, whose array arguments are its parameters.

    Raises:
        ModelError: ``program`` is a plain function, whose parameters cannot be known.

    Example:
        >>> import jax, numpyro, numpyro.distributions as dist
        >>> import bayeskit as bk
        >>> def f(loc):
        ...     guide = bk.bind(lambda loc: numpyro.sample("z", dist.Normal(loc, 1.0)), {"loc": loc})
        ...     return bk.log_density(bk.detach(guide), {"z": 0.5})
        >>> float(jax.grad(f)(0.0))
        0.0
    """
    if isinstance(program, Program):
        return jax.tree.map(jax.lax.stop_gradient, program)
    if isinstance(program, WeightedProgram):
        return program.detached()
    raise ModelError(
        f"the parameters of the function {name_of_program(program)!r} cannot be known; make it a program whose "
        "parameters are arguments: bayeskit.bind(guide, {'parameters': parameters})"
    )


def at_a_level(outer: Level, program: WeightedProgram, run: Callable[[], object]) -> object:
    """Run at a level of its own, so that the addresses inside are those of this use alone."""
    inner = outer.child(outer.next_path(program.__name__), is_draw=False)
    with at(inner):
        result = run()
    outer.add(inner.records, inner.choices)
    return result


def name_of_program(program: Runnable) -> str:
    """The name of a program, for messages."""
    return program.name if isinstance(program, Program) else str(getattr(program, "__name__", type(program).__name__))
