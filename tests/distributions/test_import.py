"""How NumPyro is found when another library has left it lazy."""

from __future__ import annotations

import subprocess
import sys

SCRIPT = """
import importlib.util, sys
spec = importlib.util.find_spec("numpyro")
spec.loader = importlib.util.LazyLoader(spec.loader)
sys.modules["numpyro"] = importlib.util.module_from_spec(spec)
spec.loader.exec_module(sys.modules["numpyro"])

import bayeskit.distributions
import numpyro

numpyro.factor("nothing", 0.0)  # needs numpyro.distributions.distribution
print("whole")
"""


def test_numpyro_is_whole_where_it_was_lazy():
    """As ArviZ leaves it when it is imported first."""
    run = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=False)
    assert run.stdout == "whole\n", run.stderr[-2000:]
