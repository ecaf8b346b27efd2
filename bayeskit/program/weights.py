r"""The log of an estimated density, which knows on which side of the truth it lies.

A density that cannot be computed is estimated, in one of two ways:

* at given values, without bias: $\mathrm E\, \hat p = p$, so that $\mathrm E \log \hat p \le \log p$: a *lower* bound;
* at values that were just drawn, without bias in the reciprocal: $\mathrm E\, 1/\hat q = 1/q$, so that
  $\mathrm E \log \hat q \ge \log q$: an *upper* bound (Lew, Cusumano-Towner and Mansinghka 2022, "Recursive Monte Carlo
  and variational inference with auxiliary variables").

A lower bound minus an upper bound is a lower bound again. A lower bound plus an upper one bounds nothing, and raises.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import jax
import jax.numpy as jnp

from bayeskit._typing import Array, ArrayLike
from bayeskit.errors import ModelError

Side = Literal["lower", "upper"]
_OTHER: dict[str, Side] = {"lower": "upper", "upper": "lower"}


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class LogWeight:
    """A number whose expectation bounds what it stands for; adds, subtracts and scales like a number.

    Any other function of it would bias the estimate, and is a ``TypeError``: sums, differences, multiples by plain
    numbers, :func:`bayeskit.average` and :func:`bayeskit.log_average_exp` keep the bound.

    Attributes:
        value: the number. Taking it out is to vouch for the bound oneself.
        side: ``"lower"`` or ``"upper"``.
    """

    value: Array
    side: Side = field(default="lower", metadata={"static": True})

    __array_ufunc__ = None  # an array on the left leaves the operation to this class

    def __post_init__(self) -> None:
        if self.side not in _OTHER:
            raise ModelError(f"side must be 'lower' or 'upper', got {self.side!r}")

    def __add__(self, other: LogWeight | ArrayLike) -> LogWeight:
        if not isinstance(other, LogWeight):
            return LogWeight(self.value + jnp.asarray(other), self.side)
        if other.side != self.side:
            raise ModelError(
                "a lower and an upper bound are added (or two of one kind subtracted), and the sum bounds nothing: "
                "the density of a marginal or normalised program may be added where its values are given "
                "(bayeskit.log_density), and subtracted where they were drawn from it (bayeskit.draw)"
            )
        return LogWeight(self.value + other.value, self.side)

    __radd__ = __add__

    def __neg__(self) -> LogWeight:
        return LogWeight(-self.value, _OTHER[self.side])

    def __sub__(self, other: LogWeight | ArrayLike) -> LogWeight:
        return self + (-other if isinstance(other, LogWeight) else -jnp.asarray(other))

    def __rsub__(self, other: ArrayLike) -> LogWeight:
        return -self + other

    def __mul__(self, factor: float) -> LogWeight:
        if isinstance(factor, bool) or not isinstance(factor, int | float):
            raise ModelError(
                "the log of an estimated density can be scaled by a plain number only, whose sign is known"
            )
        return LogWeight(self.value * factor, self.side if factor >= 0 else _OTHER[self.side])

    __rmul__ = __mul__

    def __truediv__(self, divisor: float) -> LogWeight:
        if isinstance(divisor, bool) or not isinstance(divisor, int | float):
            raise ModelError("the log of an estimated density can be divided by a plain number only")
        return self * (1.0 / divisor)


def number_of(weight: LogWeight | Array) -> Array:
    """The number without its side."""
    return weight.value if isinstance(weight, LogWeight) else jnp.asarray(weight)


def like(weight: LogWeight | Array, value: Array) -> LogWeight | Array:
    """``value``, with the side of ``weight``."""
    return LogWeight(value, weight.side) if isinstance(weight, LogWeight) else value
