"""How the optimisation of a variational fit went, and whether several fits agree."""

from __future__ import annotations

import numpy as np

from bayeskit.diagnostics.verdict import Finding, number

MAX_SKIPPED = 0.01
MAX_FALL = 1.0
MAX_GAP = 1.0
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
    findings = _skipped(bad & taken, int(taken.sum()))
    if converged is not None:
        return findings + _unconverged(converged)
    return findings + _falling(traces["loss"])


def _skipped(bad: np.ndarray, total: int) -> list[Finding]:
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
            "a smaller learning_rate, starting values (init=), or a model whose density is finite wherever the guide "
            "may go.",
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
    """Losses whose last quarter lies below the one before it, beyond noise."""
    quarter = loss.shape[1] // 4
    if quarter < 25:
        return []
    late, last = loss[:, -2 * quarter : -quarter], loss[:, -quarter:]
    with np.errstate(invalid="ignore"):
        fall = np.nanmean(late, axis=1) - np.nanmean(last, axis=1)
        error = np.sqrt((np.nanvar(late, axis=1) + np.nanvar(last, axis=1)) / quarter)
    falling = (fall > MAX_FALL) & (fall > 4 * error)
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
