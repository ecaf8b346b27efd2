"""What a comparison was made with."""

from __future__ import annotations

import platform
from importlib.metadata import PackageNotFoundError, version

PACKAGES = (
    "bayeskit", "jax", "jaxlib", "numpyro", "blackjax", "nutpie", "pymc", "pytensor", "numba", "cmdstanpy", "numpy",
)  # fmt: skip

# YNNPACK makes some sums wrong (bayeskit/xla/miscompilation.py), in programs that bayeskit does not compile too.
XLA_FLAG = "--xla_cpu_experimental_ynn_fusion_type="


def versions() -> dict[str, str]:
    """Of Python and of all libraries."""
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "not installed"
    return found
