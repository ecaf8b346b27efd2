"""What the draws are worth: the verdict, the summary, leave-one-out, and the report.

The names are loaded on first use (PEP 562): `check` does not need the plots of the report, which cost seconds.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

_EXPORTS = {
    "Finding": "bayeskit.diagnostics.findings",
    "Measure": "bayeskit.diagnostics.findings",
    "Verdict": "bayeskit.diagnostics.findings",
    "check": "bayeskit.diagnostics.verdict",
    "summary": "bayeskit.diagnostics.tables",
    "importance_resample": "bayeskit.diagnostics.resampling",
    "loo": "bayeskit.diagnostics.predictive",
    "compare": "bayeskit.diagnostics.predictive",
    "report": "bayeskit.diagnostics.page",
}

__all__ = ["Finding", "Measure", "Verdict", "check", "compare", "importance_resample", "loo", "report", "summary"]


def __getattr__(name: str) -> object:
    if name not in _EXPORTS:
        raise AttributeError(f"module 'bayeskit.diagnostics' has no attribute {name!r}")
    value = getattr(importlib.import_module(_EXPORTS[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__


if TYPE_CHECKING:
    from bayeskit.diagnostics.findings import Finding, Measure, Verdict
    from bayeskit.diagnostics.page import report
    from bayeskit.diagnostics.predictive import compare, loo
    from bayeskit.diagnostics.resampling import importance_resample
    from bayeskit.diagnostics.tables import summary
    from bayeskit.diagnostics.verdict import check
