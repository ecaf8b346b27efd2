"""What to try next, where a run has no chains that could be longer."""

from __future__ import annotations

import dataclasses
from collections.abc import Hashable, Mapping

from bayeskit.diagnostics.verdict import Finding

__all__ = ["advised"]

OF_CHAINS = {"stuck_chain", "separated_chains", "unsettled_density", "r_hat", "ess_bulk", "ess_tail", "one_chain"}
OF_CHAINS |= {"few_draws", "mcse"}
"""Findings whose advice is about warmup, starting points and the length of chains."""


def advised(findings: list[Finding], attrs: Mapping[Hashable, object]) -> list[Finding]:
    """The findings with the advice of a method that says in its attribute ``how_to_improve`` what helps it instead."""
    own = attrs.get("how_to_improve")
    if not isinstance(own, str):
        return findings
    return [dataclasses.replace(one, advice=own) if one.name in OF_CHAINS else one for one in findings]
