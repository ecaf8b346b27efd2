"""Posteriors whose evidence and mode weights are known in closed form."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
from scipy import stats

TERMS, ROWS, SIZE = 10, 30, 8


def regression(x, y):
    with numpyro.plate("term", x.shape[1]):
        b = numpyro.sample("b", dist.Normal(0.0, 2.0))
    with numpyro.plate("row", len(x)):
        numpyro.sample("y", dist.Normal(x @ b, 0.5), obs=y)


def regression_data(seed=0):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(ROWS, TERMS))
    return {"x": x, "y": x @ rng.normal(size=TERMS) + 0.5 * rng.normal(size=ROWS)}


def regression_evidence(data):
    x = data["x"]
    return float(stats.multivariate_normal(np.zeros(ROWS), 4 * x @ x.T + 0.25 * np.eye(ROWS)).logpdf(data["y"]))


def modes(weight):
    """Two modes, 11 of their standard deviations apart; the first has this share of the posterior."""
    with numpyro.plate("axis", SIZE):
        z = numpyro.sample("z", dist.Normal(0.0, 3.0))
    heights = [dist.Normal(centre, 0.5).log_prob(z).sum() for centre in (1.0, -1.0)]
    numpyro.factor("modes", jnp.logaddexp(jnp.log(weight) + heights[0], jnp.log1p(-weight) + heights[1]))


MODES_EVIDENCE = float(stats.norm(0, 9.25**0.5).logpdf(1.0) * SIZE)


def in_first(post):
    """Whether each draw is in the first mode, shape ``(chain, draw)``."""
    return (post["posterior/z"].transpose("chain", "draw", ...).values.sum(-1) > 0).astype(float)
