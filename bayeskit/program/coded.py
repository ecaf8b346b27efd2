"""Codes of labels are no numbers: which distributions may have them as an outcome."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import jax
from numpyro import handlers
from numpyro.distributions import constraints

from bayeskit.errors import DataError
from bayeskit.program.bind import Program
from bayeskit.program.sites import describe, innermost

__all__ = ["check_outcomes"]

MEASURED = (type(constraints.real), type(constraints.positive), type(constraints.nonnegative_integer))
"""Supports of numbers that are measured or counted, without an upper end."""


def check_outcomes(program: Program, coded: Sequence[str]) -> None:
    """Refuse text as the outcome of a distribution of measurements or counts.

    Its levels are numbered in the order of the alphabet, and a mean of such numbers means nothing.

    Args:
        program: the model with its data bound.
        coded: its arguments that are codes of levels.

    Raises:
        DataError: naming the argument and the site.
    """
    names = [name for name in coded if name in program.arrays]
    if not names:
        return

    def visit(arrays: dict[str, Any]) -> None:
        bound = dataclasses.replace(program, arrays=arrays)
        with handlers.block():
            trace = handlers.trace(handlers.seed(bound, jax.random.key(0))).get_trace()
        for site in trace.values():
            if site["type"] == "sample" and site["is_observed"]:
                _check(site, {name: arrays[name] for name in names})

    jax.eval_shape(visit, program.arrays)


def _check(site: dict[str, Any], coded: dict[str, Any]) -> None:
    name = next((name for name, codes in coded.items() if site["value"] is codes), None)
    if name is None or not isinstance(innermost(site["fn"]).support, MEASURED):
        return
    raise DataError(
        f"{name!r} holds text or groups, so its values are codes of labels, and site {site['name']!r} "
        f"({describe(site['fn'])}) takes numbers; model labels by Bernoulli, Categorical or an ordered distribution"
    )
