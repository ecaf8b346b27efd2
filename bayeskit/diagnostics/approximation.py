"""What approximate methods say of themselves: Pathfinder and Laplace in attributes, SGLD and SGHMC at every draw."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from bayeskit.diagnostics.verdict import Finding, Measure, number

MAX_UNDEFINED = 0.01
LEAST_SHARE = 0.95
EXCESS_WARNING, EXCESS_ERROR = 0.1, 0.3
"""Shares by which a variance is too large: 5% and 15% of a standard deviation."""


def approximation(attrs: Mapping[str, object]) -> list[Finding]:
    """Paths that failed, draws without a density, modes that are not in the approximation, and flat directions."""
    numbers = {name: value for name, value in attrs.items() if isinstance(value, int | float)}
    return [*_failed(numbers), *_undefined(numbers), *_other_modes(numbers), *_flat(numbers)]


def step_size_bias(stats: Mapping[str, np.ndarray]) -> tuple[list[Finding], list[Measure]]:
    """The excess of variance that the step size of a method without an accept step leaves, by its own estimate."""
    if "excess_variance" not in stats:
        return [], []
    excess = float(stats["excess_variance"].mean(axis=1).max())
    measure = Measure("estimated excess variance", excess, EXCESS_WARNING)
    if excess <= EXCESS_WARNING:
        return [], [measure]
    return [
        Finding(
            "step_size_bias",
            "warning" if excess <= EXCESS_ERROR else "error",
            (),
            excess,
            EXCESS_WARNING if excess <= EXCESS_ERROR else EXCESS_ERROR,
            f"By step size and noise of the gradient, variances are too large by about {excess:.0%}; there is no "
            "accept step to take that out.",
            "a smaller step_size with more steps_per_draw, control_variates=True, or larger batches (subsample_size).",
        )
    ], [measure]


def _failed(attrs: Mapping[str, float]) -> list[Finding]:
    failed = int(attrs.get("num_paths_failed", 0))
    if failed == 0:
        return []
    return [
        Finding(
            "failed_paths",
            "warning",
            (),
            float(failed),
            0.0,
            f"{failed} paths have found no place where the log density is finite, or no peak of it; the draws are "
            "from the others.",
            "starting values (init=), priors on the scale of the parameters, or float64.",
        )
    ]


def _undefined(attrs: Mapping[str, float]) -> list[Finding]:
    undefined, total = int(attrs.get("num_undefined", 0)), int(attrs.get("num_weighted", 1))
    if undefined == 0:
        return []
    share = undefined / total
    return [
        Finding(
            "undefined_density",
            "error" if share > MAX_UNDEFINED else "warning",
            (),
            share,
            MAX_UNDEFINED,
            f"The log density is NaN at {undefined} of {total} draws of the approximation, which were given no weight.",
            "look for a logarithm of a negative number, or an overflow, in the model; use float64.",
        )
    ]


def _other_modes(attrs: Mapping[str, float]) -> list[Finding]:
    share, modes = float(attrs.get("mode_share", 1.0)), int(attrs.get("num_modes", 1))
    if share >= LEAST_SHARE:
        return []
    return [
        Finding(
            "other_modes",
            "error",
            (),
            share,
            LEAST_SHARE,
            f"{modes} different modes were found, and by their Laplace approximations the one that was drawn from has "
            f"{share:.0%} of the posterior.",
            "bayeskit.Pathfinder(), whose paths end in several modes; or bayeskit.NUTS() with chains started from it.",
        )
    ]


def _flat(attrs: Mapping[str, float]) -> list[Finding]:
    condition, most = float(attrs.get("hessian_condition", 1.0)), float(attrs.get("hessian_condition_limit", 1.0))
    if condition <= most:
        return []
    return [
        Finding(
            "flat_direction",
            "error",
            (),
            condition,
            most,
            f"The condition number of the Hessian at the mode, in units of its diagonal, is {number(condition)}: in "
            "some direction the density is all but flat, and the standard deviations along it are of rounding.",
            "a prior for what the data do not determine, another parameterisation, or float64.",
        )
    ]
