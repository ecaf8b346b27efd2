"""Predictions of a network: whether the data are such as it was trained on."""

from __future__ import annotations

from collections.abc import Mapping

from bayeskit.diagnostics.verdict import Finding, Measure, number

P_VALUE = "prior_p_value"
"""The attribute by which such a result is known."""

MIN_P = 0.01


def amortised(attrs: Mapping[str, object]) -> tuple[list[Finding], list[Measure]]:
    """Judge predictions.

    Args:
        attrs: of the result.
    """
    p_value = float(str(attrs[P_VALUE]))
    measures = [Measure("predictive p-value of the prior", p_value, MIN_P)]
    if p_value >= MIN_P:
        return [], measures
    finding = Finding(
        "outside_prior",
        "error",
        ("x", "y"),
        p_value,
        MIN_P,
        f"Of data sets of the prior a share of {number(p_value)} is as strange as these data: the network has not been "
        "trained for them, and its predictions may be anything.",
        "a prior that draws such data and a network trained on it; other units of x and y; or MCMC (bk.NUTS()) on the "
        "model.",
    )
    return [finding], measures
