"""What is said when a model raises while it is traced: which model, after which site, and the way out."""

from __future__ import annotations

import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import jax
import numpy as np
from numpyro.primitives import Messenger

from bayeskit.errors import BayeskitError, ModelError
from bayeskit.program.bind import Program

__all__ = ["NOT_PYTHON", "Last", "named_failures"]

NOT_PYTHON = (
    jax.errors.ConcretizationTypeError,
    jax.errors.TracerArrayConversionError,
    jax.errors.TracerIntegerConversionError,
    jax.errors.NonConcreteBooleanIndexError,
)


class Last(Messenger):
    """Remembers the last site reached."""

    def __init__(self, fn: Any = None):
        super().__init__(fn)
        self.last: str | None = None

    def process_message(self, msg: Any) -> None:
        """NumPyro's hook, called at every site."""
        name = msg.get("name")
        if msg["type"] == "sample" and not name.startswith("__"):
            self.last = name.replace("_PREV_", "")


@contextmanager
def named_failures(program: Program, watch: Sequence[Last], *, enumerated: bool = False) -> Iterator[None]:
    """Make whatever a model raises in this block a `ModelError`.

    Args:
        program: the model.
        watch: its first element says which site came last; filled in the block.
        enumerated: whether discrete sites take all of their values at once.

    Raises:
        ModelError: naming the model, the site, and what to do.
    """
    try:
        yield
    except BayeskitError:
        raise
    except jax.errors.UnexpectedTracerError:
        raise ModelError(
            "a value leaked out of a jax transform inside the model: numpyro.sample or numpyro.deterministic inside "
            "a raw lax.scan, cond, vmap or jit; use numpyro.contrib.control_flow or a plate"
        ) from None
    except Exception as error:
        last = watch[0].last if watch else None
        raise ModelError(_failure(program, last, error, enumerated)) from error


def _failure(program: Program, last: str | None, error: Exception, enumerated: bool) -> str:
    if isinstance(error, AssertionError) and "unique names" in str(error):
        return f"model {program.name!r}: {error}"
    where = f"after site {last!r}" if last else "before its first site"
    inputs = program.inputs.items()
    shapes = ", ".join(f"{name} {np.shape(value)}" for name, value in inputs if np.ndim(value)) or "none"
    detail = str(error).strip().splitlines()[0] if str(error).strip() else "no reason given"
    remedy = _remedy(error, enumerated)
    return f"model {program.name!r} failed {where}: {type(error).__name__}: {detail} (data shapes: {shapes}){remedy}"


def _remedy(error: Exception, enumerated: bool) -> str:
    for frame, _ in traceback.walk_tb(error.__traceback__):
        if frame.f_code.co_name == "_masked_observe" and frame.f_locals["fn"].event_dim > 0:
            return _masked_events(frame.f_locals)
    if isinstance(error, NOT_PYTHON):
        return (
            ". A Python value was asked of what JAX traces: of data, ask NumPy for it (np.max(x), not jnp.max(x)); on "
            "latent values use jnp.where or numpyro.contrib.control_flow.cond"
        )
    if enumerated:
        return (
            ". Discrete sites are summed out: they take all of their values at once, in dimensions to the left of all "
            "plates. Index arrays with them and let shapes broadcast (no reshape, no loop over rows, no Python value)"
        )
    return ""


def _masked_events(found: dict[str, Any]) -> str:
    """Of an observation with `obs_mask`, whose shape must be that of its events."""
    name, fn, mask = (found[part] for part in ("name", "fn", "obs_mask"))
    return (
        f". Site {name!r} has obs_mask of shape {np.shape(mask)}, and events of shape {tuple(fn.event_shape)}: an "
        "entry of the mask is for a whole event; to leave out parts of one, write the distribution of the parts that "
        "are there"
    )
