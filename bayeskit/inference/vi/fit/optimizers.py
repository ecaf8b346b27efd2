"""The optimisers of `VI` by name."""

from __future__ import annotations

import optax
from optax import contrib

from bayeskit._typing import Array
from bayeskit.inference.vi.fit.natural import natural
from bayeskit.inference.vi.guides import Guide

__all__ = ["LEARNING_RATES", "transformation"]

LEARNING_RATES = {"adam": 0.02, "prodigy": 1.0, "natural": 0.1}
"""The largest step size of each, where none is given."""


def transformation(name: str, guide: Guide, rate: Array | float) -> optax.GradientTransformation:
    """The optimiser called `name` at a step size."""
    if name == "natural":
        return natural(guide, rate)
    if name == "prodigy":
        return contrib.prodigy(rate)
    return optax.adam(rate)
