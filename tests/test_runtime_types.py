"""The array shapes in the signatures, checked at every call (``make test-all`` does so for all tests)."""

from __future__ import annotations

import os
import subprocess
import sys

TYPED = """
from jaxtyping import TypeCheckError, install_import_hook
install_import_hook("bayeskit", "beartype.beartype")
import jax.numpy as jnp
import numpyro
import numpyro.distributions as dist
import bayeskit as bk
from bayeskit.distributions import MultivariateStudentT
from bayeskit.models.schrodinger_bridge.moment_matching import gaussian_map

def model(y=None):
    mu = numpyro.sample("mu", dist.Normal(0.0, 1.0))
    with numpyro.plate("row", 3):
        numpyro.sample("y", dist.Normal(mu, 1.0), obs=y)

data = {"y": [0.1, 0.2, 0.3]}
gaussian_map(jnp.eye(2), jnp.eye(2), 1.0)
MultivariateStudentT(3.0, jnp.zeros(2), jnp.eye(2)).log_prob(jnp.ones((4, 2)))
print("right shapes pass")
try:
    gaussian_map(jnp.eye(2), jnp.eye(3), 1.0)
except TypeCheckError:
    print("wrong ones do not")
sizes = {"num_draws": 10, "num_chains": 2}
for method in (bk.NUTS(num_warmup=10, **sizes), bk.VI(num_steps=10, **sizes)):
    post = bk.infer(model, data, method, key=0, progress=False)
    print(type(method).__name__, *post["posterior/mu"].shape)
"""


def test_signatures_hold_where_they_are_checked():
    done = subprocess.run(
        [sys.executable, "-c", TYPED], env=dict(os.environ), capture_output=True, text=True, check=False
    )
    assert done.stdout.splitlines() == ["right shapes pass", "wrong ones do not", "NUTS 2 10", "VI 2 10"], (
        done.stdout + done.stderr[-3000:]
    )
