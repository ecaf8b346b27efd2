"""How an optimisation went, of a variational fit or of a learned model, and whether several fits agree."""

from __future__ import annotations

import json
from collections.abc import Mapping

import numpy as np

from bayeskit.diagnostics.verdict import Finding, number
from bayeskit.train.settling import falls, window

MAX_SKIPPED = 0.01
MAX_FALL = 1.0
"""Of a bound on the evidence, in nats."""
MAX_FALL_A_POINT = 0.01
"""Of the loss of a learned model, which is a mean over points: what a reader of log losses would notice."""
MAX_GAP = 1.0
LEAST = 8
"""Steps in a quarter that can be judged."""
_FINITE = (
    "a smaller learning_rate, starting values (init=), or a model whose density is finite wherever the guide may go."
)
_FINITE_LEARNED = "a smaller learning_rate, another start, or float64."
_BETWEEN_CHAINS = ("r_hat", "separated_chains", "unsettled_density")


def optimisation(traces: dict[str, np.ndarray], stats: dict[str, np.ndarray]) -> list[Finding]:
    """Judge the traces of the loss and of the norm of its gradient, shape ``(chain, step)``.

    Args:
        traces: of the optimisation.
        stats: of the draws; ``converged`` says whether a stopping rule has ended the fit.
    """
    if "loss" not in traces or traces["loss"].size == 0:
        return []
    converged = np.asarray(stats["converged"].all(axis=1)) if "converged" in stats else None
    bad = ~np.isfinite(traces["loss"])
    if "gradient_norm" in traces:
        bad |= ~np.isfinite(traces["gradient_norm"])
    taken = np.ones_like(bad)
    for chain in np.flatnonzero(converged) if converged is not None else ():
        taken[chain] = bad.shape[1] - np.argmax(~bad[chain, ::-1]) > np.arange(bad.shape[1])  # NaN after the stop
    findings = _skipped(bad & taken, int(taken.sum()), _FINITE)
    if converged is not None:
        return findings + _unconverged(converged)
    return findings + _falling(traces["loss"])


def training(traces: Mapping[str, np.ndarray], attrs: Mapping[str, object]) -> list[Finding]:
    """Judge how a model was learned.

    Args:
        traces: ``loss`` and perhaps ``gradient_norm``, shape ``(step,)``; ``held_out``, shape ``(look,)``.
        attrs: ``phases``, of which only the last is judged for its end; ``converged`` where there was a stopping rule.
    """
    loss = traces.get("loss", np.zeros(0))
    last = loss[-int(list(json.loads(str(attrs["phases"])).values())[-1]) :] if loss.size else loss
    norms = traces.get("gradient_norm", np.zeros_like(loss))[loss.size - last.size :]
    findings = _skipped(~(np.isfinite(last) & np.isfinite(norms)), last.size, _FINITE_LEARNED)
    if not attrs.get("converged"):
        findings += _unfinished(last, "converged" in attrs)
    return findings + _overfitted(traces.get("held_out", np.zeros(0)))


def _unfinished(loss: np.ndarray, has_rule: bool) -> list[Finding]:
    """A loss that still falls, or a stopping rule that was not met."""
    fall, certain = _last_fall(loss[None], MAX_FALL_A_POINT)
    if not certain[0] and not has_rule:
        return []
    if certain[0]:
        meaning = f"The loss still fell by {number(float(fall[0]))} a point between the last two quarters of the steps."
    else:
        meaning = f"All {loss.size} steps were taken without the stopping rule being met, though the loss hardly falls."
    return [
        Finding(
            "not_converged",
            "error" if certain[0] and has_rule else "warning",
            ("loss",),
            float(fall[0]),
            MAX_FALL_A_POINT,
            meaning,
            "more steps, or a larger learning_rate where there is one; or a start from this fit.",
        )
    ]


def _overfitted(held_out: np.ndarray) -> list[Finding]:
    """A held-out loss that has risen since its lowest."""
    if not np.isfinite(held_out).any():
        return []
    best = int(np.nanargmin(held_out))
    rise = float(held_out[-1] - held_out[best])
    if rise <= MAX_FALL_A_POINT:
        return []
    return [
        Finding(
            "held_out_rises",
            "warning",
            ("held_out",),
            rise,
            MAX_FALL_A_POINT,
            f"The held-out loss rose by {number(rise)} a point after its lowest, look {best} of {held_out.size}: what "
            "was learned after that is noise. The parameters of the lowest were kept.",
            "more data, or fewer parameters (components, for example); both ends of the trace should be flat.",
        )
    ]


def _last_fall(loss: np.ndarray, tolerance: float) -> tuple[np.ndarray, np.ndarray]:
    """By how much the last quarter lies below the one before, and whether it does so by the tolerance beyond noise."""
    quarter = loss.shape[1] // 4
    if quarter < LEAST:
        return np.full(len(loss), np.nan), np.zeros(len(loss), bool)
    earlier, later = window(loss[:, -2 * quarter : -quarter]), window(loss[:, -quarter:])
    return np.asarray(earlier.mean - later.mean), np.asarray(falls(earlier, later, tolerance))


def _skipped(bad: np.ndarray, total: int, advice: str) -> list[Finding]:
    if not bad.any():
        return []
    share = float(bad.sum() / total)
    return [
        Finding(
            "skipped_steps",
            "error" if share > MAX_SKIPPED else "warning",
            ("loss",),
            share,
            MAX_SKIPPED,
            f"Loss or gradient was not finite at {int(bad.sum())} of {total} steps, which were not taken.",
            advice,
        )
    ]


def _unconverged(converged: np.ndarray) -> list[Finding]:
    """Fits that took all their steps without the stopping rule being met."""
    if converged.all():
        return []
    return [
        Finding(
            "not_converged",
            "error",
            ("loss",),
            float((~converged).sum()),
            0.0,
            f"{int((~converged).sum())} of {converged.size} fits took all of their steps without the stopping rule "
            "being met: the loss still falls by more than the tolerance, or is too noisy to tell.",
            "more steps (num_steps), more particles in the objective, a larger tolerance, or a better conditioned fit: "
            "bayeskit.VI(optimizer='natural') or bayeskit.guides.Laplace().",
        )
    ]


def _falling(loss: np.ndarray) -> list[Finding]:
    """Losses that still fall at the end."""
    fall, falling = _last_fall(loss, MAX_FALL)
    if not falling.any():
        return []
    worst = float(fall[falling].max())
    return [
        Finding(
            "not_converged",
            "warning",
            ("loss",),
            worst,
            MAX_FALL,
            f"The loss still fell by {number(worst)} between the last two quarters of the optimisation.",
            "more steps (num_steps), or a better conditioned fit: standardise the data, or use "
            "bayeskit.VI(optimizer='natural') or bayeskit.guides.Laplace(). VI(tolerance=...) stops when the loss "
            "does.",
        )
    ]


def fits_disagree(findings: list[Finding], stats: dict[str, np.ndarray]) -> list[Finding]:
    """Independent fits that differ are not chains that have not mixed: one finding in the place of those of chains.

    The draws of one fit are independent: that there is one chain, or that its halves differ, says nothing.

    Args:
        findings: so far.
        stats: of the draws. The mean of ``log_weight`` over draws is the bound on the log evidence of each fit.
    """
    found = [finding for finding in findings if finding.name in _BETWEEN_CHAINS]
    if stats[next(iter(stats))].shape[0] < 2:
        return [finding for finding in findings if finding.name not in (*_BETWEEN_CHAINS, "one_chain")]
    if not found or "log_weight" not in stats:
        return findings
    sites = tuple(dict.fromkeys(site for finding in found for site in finding.sites if site != "lp"))
    bounds = stats["log_weight"].mean(axis=1)
    best, gap = int(np.argmax(bounds)), float(np.ptp(bounds))
    each = ", ".join(f"{bound:.2f}" for bound in bounds)
    if not gap <= MAX_GAP:
        meaning = f"the others are lower by up to {number(gap)} nats: local optima, or not yet arrived"
        advice = f"the best fit alone, post.sel(chain=[{best}])"
    else:
        meaning = "which are alike: several modes of like weight, or directions in which the bound is flat"
        advice = "a guide for several modes (bayeskit.guides.Mixture(...))"
    return [
        Finding(
            "fits_disagree",
            "error",
            sites,
            gap,
            MAX_GAP,
            f"The {len(bounds)} fits differ by more than chance. Their bounds on the log evidence are {each}; "
            f"{meaning}.",
            f"{advice}; more steps (num_steps), optimizer='natural', or starting values (init=). Together the fits are "
            "no posterior.",
        ),
        *(finding for finding in findings if finding.name not in (*_BETWEEN_CHAINS, "ess_bulk", "ess_tail")),
    ]
