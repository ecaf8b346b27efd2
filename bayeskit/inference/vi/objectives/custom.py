"""An objective of the user's own."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

from bayeskit.inference.vi.objectives.objective import Number, Objective
from bayeskit.program import Runnable

__all__ = ["Custom"]


@dataclass(frozen=True)
class Custom(Objective):
    """An ordinary function of a model and a guide, which draws from programs and returns a number to be maximised.

    :class:`bayeskit.VI` makes one of every function that is given as its objective.

    Args:
        function: called as ``function(model, guide)``.

    Example:
        >>> import bayeskit as bk
        >>> def elbo(model, guide):
        ...     z, log_q = bk.draw(guide)
        ...     return bk.log_density(model, z) - log_q
        >>> bk.VI(objective=elbo).objective.function is elbo
        True
    """

    kind: ClassVar[str] = "custom"
    fits_model: ClassVar[bool] = True

    function: Callable[[Runnable, Runnable], Number]

    def __call__(self, model: Runnable, guide: Runnable) -> Number:
        return self.function(model, guide)
