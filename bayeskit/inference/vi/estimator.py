"""What an estimator says of itself to the expectation of which its choice is a part.

`Estimator` is what a program needs: `check`, `sample` and the `record` of a choice. A `GradientEstimator` also says
what becomes of the record. All of it has a default: an estimator whose gradients pass its values needs no more.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ClassVar

from bayeskit._typing import Array
from bayeskit.program.execution import Choice, Estimator

if TYPE_CHECKING:
    from bayeskit.inference.vi.surrogate import Lane
    from bayeskit.inference.vi.tracing.decomposition import Decomposition, Part

__all__ = ["GradientEstimator"]


class GradientEstimator(Estimator):
    """An estimator of the gradient of an expectation.

    Attributes:
        is_enumerated: whether the program runs once for each of its values; its record then has a `log_q`.
        continues: whether it takes the rest of the program into its own hands (`rest`).
    """

    is_enumerated: ClassVar[bool] = False
    continues: ClassVar[bool] = False

    def log_q(self, record: Any) -> Array | None:
        """The log density, element by element, whose score multiplies what depends on the choice."""
        del record
        return None

    def law(self, record: Any, *, is_own: bool) -> Any:
        """What the law of the choice is made of, so far as it matters to the second derivative of a phantom; a pytree.

        Args:
            record: of the choice.
            is_own: whether the phantom is one of this choice, which has only one element.
        """
        del record, is_own

    def control(self, lane: Lane, address: str, zero: Array, parts: list[Part]) -> Array | float:
        """A control variate, which is subtracted: its value is zero, and its derivatives have mean zero.

        Args:
            lane: the execution.
            address: of the choice.
            zero: its log density less its own value, element by element.
            parts: the terms of one leaf of the result.
        """
        del lane, address, zero, parts
        return 0.0

    def executions(self, decomposition: Decomposition, address: str) -> int:
        """How many executions the choice asks for: as a factor if it is enumerated, else more than the first."""
        del decomposition, address
        return 1 if self.is_enumerated else 0

    def term(self, lane: Lane, address: str) -> Any:
        """What is added to the surrogate, a pytree like the result; `None` where there is nothing."""
        del lane, address

    def rest(self, choice: Choice, record: Any, continuation: Callable[[Array], Any]) -> Any:
        """The surrogate, made from the rest of the program as a function of the choice."""
        raise NotImplementedError
