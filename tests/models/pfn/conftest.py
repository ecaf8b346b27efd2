"""Two small networks, trained once: of a number, on a prior with a known posterior predictive, and of a class."""

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest

from bayeskit.models import pfn
from bayeskit.models.pfn.prior import Prior

PROCESS = pfn.priors.GP(num_rows=12, lengthscale=0.5, noise=0.05)
SMALL = {"width": 16, "num_layers": 2, "num_heads": 2, "batch_size": 32, "progress": False}


def classes():
    slope = numpyro.sample("slope", dist.Normal(0.0, 3.0))
    with numpyro.plate("rows", 9):
        x = numpyro.sample("x", dist.Normal(0.0, 1.0).expand([2]).to_event(1))
        numpyro.sample("y", dist.Categorical(logits=jnp.stack([0 * x[:, 0], slope * x[:, 0], 0 * x[:, 0] - 1.0], -1)))


@pytest.fixture(scope="session")
def net():
    return pfn.train(PROCESS, num_steps=400, key=0, num_bars=64, learning_rate=5e-3, **SMALL)


@pytest.fixture(scope="session")
def class_net():
    return pfn.train(classes, num_steps=50, key=0, **SMALL)


@pytest.fixture(scope="session")
def data():
    x, y = map(np.asarray, Prior(PROCESS).draw(jax.random.key(5), 3))
    return x, y
