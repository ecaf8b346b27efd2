"""The evidence of several independent runs, with its error."""

from __future__ import annotations

import numpy as np

from bayeskit.inference.smc.weights import log_mean_exp


def pooled(estimates: np.ndarray, errors: np.ndarray, *, unbiased: bool) -> dict[str, float]:
    r"""Attributes of a result: the log evidence, its error, and how far the runs disagree.

    The error is that of a mean of independent estimates, from the error that each has found in itself; where the runs
    differ by more than these say, it is as much larger (the scale factor of the Particle Data Group):

    .. math:: \sigma^2 = \frac{1}{C^2} \sum_c \sigma_c^2 \cdot \max\left(1, \frac{\chi^2}{C - 1}\right),
        \qquad \chi^2 = \sum_c \frac{(\log Z_c - \overline{\log Z})^2}{\sigma_c^2} .

    Where a run cannot tell its error, that of the mean is infinite.

    Args:
        estimates: the log evidence of each run.
        errors: the standard error of each.
        unbiased: the estimates of the evidence are unbiased, not those of its logarithm: the mean is one of evidences.
    """
    count = len(estimates)
    if not np.isfinite(errors).all():  # of a run too short to tell
        return {"log_evidence": float(estimates.mean()), "log_evidence_error": float("inf")}
    shares = np.exp(estimates - estimates.max()) if unbiased else np.ones(count)
    shares = shares / shares.sum()
    variance = float(np.square(shares * errors).sum())
    found = {"log_evidence": log_mean_exp(estimates) if unbiased else float(estimates.mean())}
    if count > 1:
        precision = 1.0 / np.square(np.maximum(errors, 1e-12))
        centre = float((precision * estimates).sum() / precision.sum())
        chi2 = float((precision * np.square(estimates - centre)).sum())
        found["log_evidence_chi2"] = chi2
        variance *= max(1.0, chi2 / (count - 1))
    return {**found, "log_evidence_error": float(np.sqrt(variance))}
