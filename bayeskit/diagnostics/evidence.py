"""How a run from the prior to the posterior went, and whether its evidence can be relied on.

Judged are the attributes that `bayeskit.SMC`, `bayeskit.NestedSampling` and `bayeskit.ParallelTempering` leave, and the
traces of their stages, shape ``(chain, stage)``.
"""

from __future__ import annotations

import json
from collections.abc import Hashable, Mapping

import numpy as np
from scipy.special import chdtrc

from bayeskit.diagnostics.verdict import Finding, Measure, number

MAX_ERROR = 0.5
"""Nats, a factor of 1.6 between models."""
LEAST_P = 1e-3
LEAST_SHARE = 0.1
"""Of the particles: what their weights must be worth at a step of temperature."""
MAX_CORRELATION = 0.5
LEAST_MOVED = 0.8
LEAST_ANCESTORS = 20.0
LEAST_DRAWS = 100.0
MAX_TIES = 0.01
FEW_TRIPS = 10.0
LEAST_SWAPS = 0.1

Found = list[Finding]


def from_prior(
    attrs: Mapping[Hashable, object], traces: Mapping[str, np.ndarray], stats: Mapping[str, np.ndarray]
) -> tuple[Found, list[Measure]]:
    """Findings about the path from the prior, and the error of the evidence."""
    numbers = {str(name): float(value) for name, value in attrs.items() if isinstance(value, int | float)}
    findings = [*_particles(traces, stats), *_nested(attrs, numbers, stats), *_ladder(numbers), *_evidence(numbers)]
    error = numbers.get("log_evidence_error")
    return findings, [] if error is None else [Measure("error of the log evidence", error, MAX_ERROR)]


def _one(name: str, severity: str, value: float, limit: float, meaning: str, advice: str) -> Found:
    return [Finding(name, severity, (), value, limit, meaning, advice)]  # type: ignore[arg-type]


def _particles(traces: Mapping[str, np.ndarray], stats: Mapping[str, np.ndarray]) -> Found:
    """The stages of sequential Monte Carlo."""
    if not {"temperature", "ess", "correlation", "moved", "ancestors"} <= set(traces):
        return []
    findings: Found = []
    share = float(np.nanmin(traces["ess"])) / stats["lp"].shape[1]
    if share < LEAST_SHARE:
        stage = int(np.unravel_index(np.nanargmin(traces["ess"]), traces["ess"].shape)[1])
        findings += _one(
            "ess_collapse",
            "error",
            share,
            LEAST_SHARE,
            f"At stage {stage} the weights were worth {share:.1%} of the particles: all others have gone, and with "
            "them parts of the posterior.",
            "more particles (num_particles), or a prior under which the data are possible more often.",
        )
    moved = float(np.nanmedian(traces["moved"], axis=1).min())
    memory = float(np.nanmedian(traces["correlation"], axis=1).max())
    if moved < LEAST_MOVED:
        findings += _one(
            "particles_stuck",
            "error",
            moved,
            LEAST_MOVED,
            f"The moves of a stage moved {moved:.0%} of the particles: the others are copies of their ancestors, and "
            "the evidence is biased.",
            "more moves (num_moves, max_moves), or kernel='hmc'.",
        )
    elif memory > MAX_CORRELATION:
        findings += _one(
            "slow_moves",
            "warning",
            memory,
            MAX_CORRELATION,
            f"The likelihoods of the particles before and after the moves of a stage have correlation {memory:.2f}: "
            "the posterior has parts of unequal likelihood that the moves do not cross, or the moves are too few; the "
            "evidence is then biased downwards.",
            "look at the draws for modes, which are weighed right; otherwise more moves (num_moves, max_moves), or a "
            "parameterisation with less correlation.",
        )
    ancestors = float(np.nanmin(traces["ancestors"]))
    if ancestors < LEAST_ANCESTORS:
        findings += _one(
            "few_ancestors",
            "warning",
            ancestors,
            LEAST_ANCESTORS,
            f"The particles of a run descend from {ancestors:.0f} draws of the prior: the stated error of the evidence "
            "is itself uncertain, and a mode that is found by few draws of the prior is missed.",
            "more particles (num_particles), or a larger target_ess.",
        )
    return findings


def _nested(attrs: Mapping[Hashable, object], numbers: Mapping[str, float], stats: Mapping[str, np.ndarray]) -> Found:
    """The end of nested sampling, its draws, and likelihoods that do not tell points apart."""
    findings: Found = []
    if "evidence_remaining" in numbers:
        tolerance = float(json.loads(str(attrs["method_settings"]))["tolerance"])
        left = numbers["evidence_remaining"]
        if left > tolerance:
            findings += _one(
                "cut_short",
                "error",
                left,
                tolerance,
                f"Nested sampling was ended by its limit while the live points held {left:.0%} of the evidence: it has "
                "not reached the bulk of the posterior.",
                "a larger max_compression.",
            )
    if numbers.get("likelihood_ties", 0.0) > MAX_TIES:
        findings += _one(
            "likelihood_ties",
            "error",
            numbers["likelihood_ties"],
            MAX_TIES,
            f"{numbers['likelihood_ties']:.1%} of the points share their likelihood with another: where the "
            "likelihood is flat, the volume above it is not known.",
            "float64 if the likelihood is only rounded, or bayeskit.SMC, which does not mind.",
        )
    if "effective_draws" in stats and stats["effective_draws"].min() < LEAST_DRAWS:
        worth = float(stats["effective_draws"].min())
        findings += _one(
            "effective_draws",
            "error",
            worth,
            LEAST_DRAWS,
            f"The draws of a run are worth at most {worth:.0f} independent ones: they repeat the few points that have "
            "weight.",
            "more live points (num_live), and more draws (num_draws).",
        )
    return findings


def _ladder(numbers: Mapping[str, float]) -> Found:
    """The journeys of parallel tempering."""
    findings: Found = []
    trips = numbers.get("round_trips", np.inf)
    if trips < FEW_TRIPS:
        findings += _one(
            "round_trips",
            "error" if trips == 0 else "warning",
            trips,
            FEW_TRIPS,
            f"{trips:.0f} round trips were made between the prior and the posterior: tempering has not mixed modes, "
            "and their weights are those of the start.",
            f"more temperatures (num_temperatures, twice the barrier of {number(numbers.get('barrier', np.nan))}), a "
            "longer warmup (num_warmup), and more draws (num_draws).",
        )
    rate = numbers.get("swap_rate", 1.0)
    if "round_trips" in numbers and rate < LEAST_SWAPS:
        findings += _one(
            "swap_rate",
            "warning",
            rate,
            LEAST_SWAPS,
            f"Two neighbouring temperatures exchange their places in {rate:.1%} of the attempts.",
            "more temperatures (num_temperatures), and a longer warmup (num_warmup).",
        )
    return findings


def _evidence(numbers: Mapping[str, float]) -> Found:
    """The evidence itself."""
    findings: Found = []
    runs, chi2 = int(numbers.get("num_chains", 1)), numbers.get("log_evidence_chi2")
    if chi2 is not None and runs > 1:
        p_value = float(chdtrc(runs - 1, chi2))
        if not p_value >= LEAST_P:
            findings += _one(
                "runs_disagree",
                "error",
                p_value,
                LEAST_P,
                f"The evidence of the {runs} runs differs by more than their errors explain (p = {p_value:.1g}): some "
                "have missed part of the posterior.",
                "more particles, live points or draws, more moves between them, and more runs (num_chains).",
            )
    error = numbers.get("log_evidence_error", 0.0)
    if not error <= MAX_ERROR:
        findings += _one(
            "evidence_error",
            "warning",
            error,
            MAX_ERROR,
            f"The log evidence has a standard error of {number(error)}: models cannot be compared by it."
            if np.isfinite(error)
            else "How far off the log evidence may be is not known: the draws are too few to find its standard error. "
            "Models cannot be compared by it.",
            "more particles, live points or draws, or more runs (num_chains): the error falls with the square root.",
        )
    undefined = numbers.get("undefined_likelihood", 0.0)
    if undefined:
        findings += _one(
            "undefined_likelihood",
            "error" if undefined > MAX_TIES else "warning",
            undefined,
            MAX_TIES,
            f"The likelihood was NaN at {undefined:.2%} of the draws of the prior, or of the particles of a stage; "
            "these were counted as impossible.",
            "a model whose likelihood is a number wherever the prior may be, and float64.",
        )
    return findings
