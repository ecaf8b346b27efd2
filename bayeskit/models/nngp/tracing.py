"""Whether values are known, or stand for the arguments of a function that is being compiled."""

from __future__ import annotations

import jax

__all__ = ["is_traced"]


def is_traced(*values: object) -> bool:
    """Whether any array in there is traced: it has no value yet, so that nothing can be raised because of it."""
    return any(isinstance(leaf, jax.core.Tracer) for leaf in jax.tree.leaves(values))
