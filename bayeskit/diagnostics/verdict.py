"""The words of a verdict: what was measured, what was found, what to do."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, NamedTuple

from bayeskit.diagnostics.layout import paragraph

_SHOWN = 6  # names in a line of the printed verdict


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong with the draws.

    Attributes:
        name: which check, e.g. ``"r_hat"``.
        severity: an ``"error"`` makes the verdict bad; a ``"warning"`` does not.
        sites: what it concerns, worst first: elements such as ``theta[3]``, or sample statistics.
        value: the worst value.
        threshold: the value from which on it counts.
        meaning: what it says about the draws.
        advice: what to try next.
    """

    name: str
    severity: Literal["error", "warning"]
    sites: tuple[str, ...]
    value: float
    threshold: float
    meaning: str
    advice: str

    @property
    def parts(self) -> tuple[str, str, str]:
        """What it is and where, what it means, what to try."""
        head = f"{self.severity.upper()} {self.name}"
        if self.sites:
            more = f" and {len(self.sites) - _SHOWN} more" if len(self.sites) > _SHOWN else ""
            head = f"{head}: {', '.join(self.sites[:_SHOWN])}{more}"
        return head, self.meaning, self.advice

    def __str__(self) -> str:
        head, meaning, advice = self.parts
        return "\n".join(
            [paragraph(head, others="  "), paragraph(meaning, "  ", "  "), paragraph("Try: " + advice, "  ", "  ")]
        )


class Measure(NamedTuple):
    """One number that was compared with a threshold.

    Attributes:
        name: what it is, e.g. ``"max R-hat"``.
        value: the worst value over all that was checked; NaN when it could not be computed.
        threshold: what it was compared with.
        site: where the worst value is; empty when it concerns the whole run.
    """

    name: str
    value: float
    threshold: float
    site: str = ""

    def __str__(self) -> str:
        return f"{self.name} {number(self.value)}" + (f" ({self.site})" if self.site else "")


@dataclass(frozen=True, repr=False)
class Verdict:
    """Whether draws can be trusted, and why not. True in a condition when they can.

    Attributes:
        ok: no finding is an error.
        findings: what is wrong, errors first.
        measures: the numbers behind the checks, the good ones included.
        unchecked: what could not be checked, each with the reason.
        num_chains: chains in the posterior.
        num_draws: draws a chain.
        num_steps: of an optimisation, where there are no draws.
        num_replicates: of a calibration, where there are no draws.
    """

    ok: bool
    findings: tuple[Finding, ...]
    measures: tuple[Measure, ...]
    unchecked: tuple[str, ...]
    num_chains: int = 0
    num_draws: int = 0
    num_steps: int = 0
    num_replicates: int = 0

    @property
    def max_r_hat(self) -> float:
        """Largest R-hat of all elements, of superchains nested R-hat; NaN when there is none."""
        names = {measure.name for measure in self.measures}
        return self._value("max R-hat" if "max R-hat" in names else "max nested R-hat")

    @property
    def min_ess_bulk(self) -> float:
        """Smallest effective sample size of the bulk; NaN when there is none."""
        return self._value("min bulk ESS")

    @property
    def min_ess_tail(self) -> float:
        """Smallest effective sample size of the tails; NaN when there is none."""
        return self._value("min tail ESS")

    @property
    def num_divergences(self) -> float:
        """Divergent transitions after warmup; NaN when the method does not report them."""
        return self._value("divergences")

    @property
    def headline(self) -> str:
        """The verdict in one line."""
        errors = sum(finding.severity == "error" for finding in self.findings)
        warnings = len(self.findings) - errors
        size = f"{self.num_chains} chain{_s(self.num_chains)} of {self.num_draws} draws"
        what = "them"
        if self.num_steps:
            size, what = f"{self.num_steps} steps of training", "it"
        elif self.num_replicates:
            size, what = f"{self.num_replicates} replicates", "the method"
        elif not self.num_chains:
            size, what = "what was solved without training", "it"
        if errors:
            return f"NOT OK: {errors} problem{_s(errors)} in {size}; do not rely on {what} yet"
        if warnings:
            return f"OK with {warnings} warning{_s(warnings)}: {size}"
        return f"OK: no sign of trouble in {size}"

    def _value(self, name: str) -> float:
        return next((measure.value for measure in self.measures if measure.name == name), math.nan)

    def __bool__(self) -> bool:
        return self.ok

    def __repr__(self) -> str:
        return f"<Verdict {self.headline}>"

    def __str__(self) -> str:
        lines = [paragraph(self.headline)]
        lines += [f"\n{finding}" for finding in self.findings]
        if self.measures:
            numbers = "; ".join(str(measure) for measure in self.measures)
            lines.append(("\n" if self.findings else "") + paragraph("Measured: " + numbers, others="  "))
        if self.unchecked:
            lines.append(paragraph("Not checked: " + "; ".join(self.unchecked), others="  "))
        return "\n".join(lines)


def number(value: float) -> str:
    """A number as a reader wants it: counts whole, R-hat with three decimals."""
    if not math.isfinite(value):
        return "undefined" if math.isnan(value) else "infinite"
    if value == round(value):
        return f"{value:.0f}"
    return f"{value:.0f}" if abs(value) >= 10 else f"{value:.3g}" if abs(value) < 1 else f"{value:.3f}"


def _s(count: int) -> str:
    return "" if count == 1 else "s"
