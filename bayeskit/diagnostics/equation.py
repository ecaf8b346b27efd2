"""How a differential equation was solved: whether it holds, and what stood in the way."""

from __future__ import annotations

import json
from collections.abc import Mapping

import numpy as np

from bayeskit.diagnostics.verdict import Finding, number

MAX_Z = 3.0
FINE = 1e-6
MAX_MISFIT = 1e-4
MAX_EDGE = 0.9
MAX_READINGS_Z = 2.0
MIN_NODES, MAX_BAND = 10.0, 1e-3
MAX_TOLERANCE, WORST_TOLERANCE = 1e-3, 0.03


def equation(traces: Mapping[str, np.ndarray], attrs: Mapping[str, object]) -> list[Finding]:
    """Judge the solution of a differential equation; nothing where the record is of something else.

    Args:
        traces: ``residual`` and ``residual_sd`` at fresh points, where there are any.
        attrs: of the record.
    """
    if "gauss_newton_arrived" not in attrs:
        return []
    of = {name: float(str(attrs[name])) for name in ("refinement_misfit", "readings_z", "tolerance", "operator_size")}
    findings = _settled(attrs) + _residual(traces, of["operator_size"])
    if not int(str(attrs["num_conditions"])):
        findings.append(
            Finding(
                "undetermined",
                "error",
                ("u",),
                0.0,
                1.0,
                "Nothing but the equation is known, which has many solutions: this one is the most probable under a "
                "prior that was learned from the source alone.",
                "boundary or initial values, or readings (data=).",
            )
        )
    if not of["refinement_misfit"] <= MAX_MISFIT:
        findings.append(
            Finding(
                "ill_conditioned",
                "error",
                ("u",),
                of["refinement_misfit"],
                MAX_MISFIT,
                f"The linear equations were solved only to a relative {number(of['refinement_misfit'])}: their matrix "
                f"is too near to singular (condition {float(str(attrs['condition'])):.0e}).",
                "a larger tolerance=, fewer num_components, or fewer nodes.",
            )
        )
    if not of["readings_z"] <= MAX_READINGS_Z:
        findings.append(
            Finding(
                "readings",
                "error",
                ("u",),
                of["readings_z"],
                MAX_READINGS_Z,
                f"The solution misses the readings by {number(of['readings_z'])} standard deviations of their noise "
                "(root mean square).",
                "look for a wrong equation, source or condition, or a larger noise: Readings(..., sd=None) learns it.",
            )
        )
    if of["tolerance"] > MAX_TOLERANCE:
        findings.append(
            Finding(
                "tolerance_raised",
                "error" if of["tolerance"] > WORST_TOLERANCE else "warning",
                ("u",),
                of["tolerance"],
                MAX_TOLERANCE,
                f"The equation is satisfied only to {number(of['tolerance'])} of its size, the tolerance with the "
                "highest evidence: the solution has what no process with this spectrum has, such as kinks or layers.",
                "more nodes, conditions that agree with the source at corners, or a part of the domain.",
            )
        )
    return findings + _few_nodes(attrs) + _edges(attrs)


def unseen(traces: Mapping[str, np.ndarray], attrs: Mapping[str, object]) -> list[str]:
    """What could not be looked at."""
    if "gauss_newton_arrived" not in attrs or "residual" in traces:
        return []
    return ["the equation between the nodes (the source is an array, known at the nodes only)"]


def _settled(attrs: Mapping[str, object]) -> list[Finding]:
    if int(str(attrs["gauss_newton_arrived"])):
        return []
    steps = int(str(attrs["gauss_newton_steps"]))
    return [
        Finding(
            "gauss_newton",
            "error",
            ("u",),
            float(steps),
            float(steps),
            f"Gauss-Newton had not arrived after {steps} steps: this is no solution of the nonlinear equation.",
            "more nodes, a larger tolerance=, or an equation that is nearer to linear to begin with.",
        )
    ]


def _residual(traces: Mapping[str, np.ndarray], size: float) -> list[Finding]:
    residual, sd = traces.get("residual", np.zeros(0)), traces.get("residual_sd", np.ones(0))
    if not residual.size:
        return []
    z = float(np.sqrt(np.mean((residual / sd) ** 2)))
    share = float(np.sqrt(np.mean(residual**2))) / size
    if z <= MAX_Z or share <= FINE:
        return []
    return [
        Finding(
            "residual",
            "error",
            ("u",),
            z,
            MAX_Z,
            f"Between the nodes the equation is off by {number(z)} standard deviations (root mean square at "
            f"{residual.size} fresh points): the solution varies in ways that the nodes do not show, and the bands "
            "are too narrow.",
            "more nodes, more num_components, or a spectrum that is given.",
        )
    ]


def _few_nodes(attrs: Mapping[str, object]) -> list[Finding]:
    per_number, band = float(str(attrs.get("nodes_per_number", "inf"))), float(str(attrs.get("band_share", 0.0)))
    if per_number >= MIN_NODES or band <= MAX_BAND:
        return []
    return [
        Finding(
            "few_nodes",
            "warning",
            ("u",),
            per_number,
            MIN_NODES,
            f"The spectrum was learned from {number(per_number)} nodes for each of its numbers. Bands leave out how "
            f"uncertain it is, and they are {number(100 * band)}% of the solution: they may be several times too "
            "narrow.",
            "more nodes, a spectrum= that is known, or sp.model(problem, sample_spectrum=True).",
        )
    ]


def _edges(attrs: Mapping[str, object]) -> list[Finding]:
    edges = {name: share for name, share in json.loads(str(attrs["edges"])).items() if share > MAX_EDGE}
    if not edges:
        return []
    name, share = max(edges.items(), key=lambda pair: pair[1])
    return [
        Finding(
            "unresolved_frequency",
            "warning",
            tuple(edges),
            share,
            MAX_EDGE,
            f"The spectrum along {name} reaches {number(100 * share)}% of the highest frequency that the nodes can "
            "tell from a lower one: it may be a false one.",
            f"more nodes along {name}.",
        )
    ]
