"""The array shapes in the signatures, checked at every call (``make test-all`` does so for all tests)."""

from __future__ import annotations

import os
import subprocess
import sys

TYPED = """
from jaxtyping import TypeCheckError, install_import_hook
install_import_hook(["bayeskit.distributions", "bayeskit.numerics", "bayeskit.models"], "beartype.beartype")
import jax.numpy as jnp
from bayeskit.distributions import MultivariateStudentT
from bayeskit.models.schrodinger_bridge.moment_matching import gaussian_map

gaussian_map(jnp.eye(2), jnp.eye(2), 1.0)
MultivariateStudentT(3.0, jnp.zeros(2), jnp.eye(2)).log_prob(jnp.ones((4, 2)))
print("right shapes pass")
try:
    gaussian_map(jnp.eye(2), jnp.eye(3), 1.0)
except TypeCheckError:
    print("wrong ones do not")
"""


def test_signatures_hold_where_they_are_checked():
    done = subprocess.run(
        [sys.executable, "-c", TYPED], env=dict(os.environ), capture_output=True, text=True, check=False
    )
    assert done.stdout.splitlines() == ["right shapes pass", "wrong ones do not"], done.stdout + done.stderr[-3000:]
