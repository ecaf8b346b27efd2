"""Evidence and mode weights of SMC, nested sampling and parallel tempering against closed forms, over many keys.

    python benchmarks/evidence.py --method smc --keys 30

For each problem it prints the mean and the spread of (estimate - truth) / stated error over the keys: the spread is
near one where the stated error is right. With two modes also the weight of the first, by the error
that `arviz_stats.mcse` finds; and of NUTS how often its verdict is bad.

Problems: a conjugate regression of 10 coefficients on 40 rows, and two modes in 8 dimensions, 11 of their standard
deviations apart, of which the first has half or a fifth of the posterior.
"""

from __future__ import annotations

import argparse
import time

import jax

jax.config.update("jax_enable_x64", True)

import arviz_stats
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
from scipy import stats

import bayeskit as bk

METHODS = {
    "smc": bk.SMC(num_particles=1000),
    "persistent": bk.PersistentSampling(num_particles=1000),
    "nested": bk.NestedSampling(num_live=200, num_chains=2),
    "tempering": bk.ParallelTempering(),
    "nuts": bk.NUTS(),
}


def regression(x, y):
    with numpyro.plate("term", x.shape[1]):
        b = numpyro.sample("b", dist.Normal(0.0, 2.0))
    with numpyro.plate("row", len(x)):
        numpyro.sample("y", dist.Normal(x @ b, 0.5), obs=y)


def modes(weight):
    with numpyro.plate("axis", 8):
        z = numpyro.sample("z", dist.Normal(0.0, 3.0))
    heights = [dist.Normal(centre, 0.5).log_prob(z).sum() for centre in (1.0, -1.0)]
    numpyro.factor("modes", jnp.logaddexp(jnp.log(weight) + heights[0], jnp.log1p(-weight) + heights[1]))


def problems():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(40, 10))
    y = x @ rng.normal(size=10) + 0.5 * rng.normal(size=40)
    exact = stats.multivariate_normal(np.zeros(40), 4 * x @ x.T + 0.25 * np.eye(40)).logpdf(y)
    two = float(stats.norm(0, 9.25**0.5).logpdf(1.0) * 8)
    yield "regression", regression, {"x": x, "y": y}, exact, None
    yield "modes, equal", modes, {"weight": 0.5}, two, 0.5
    yield "modes, unequal", modes, {"weight": 0.2}, two, 0.2


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--method", choices=METHODS, default="smc")
    parser.add_argument("--keys", type=int, default=30)
    options = parser.parse_args()
    print(f"{options.method}, {options.keys} keys, {jax.devices()[0].device_kind}")
    for name, model, data, exact, weight in problems():
        rows, shares, good, start = [], [], 0, time.perf_counter()
        for key in range(options.keys):
            post = bk.infer(model, data, METHODS[options.method], key=key, progress=False)
            good += bk.check(post, quiet=True).ok
            if "log_evidence" in post.attrs:
                rows.append((post.attrs["log_evidence"], post.attrs["log_evidence_error"]))
            if weight is not None:
                first = (post["posterior/z"].transpose("chain", "draw", ...).values.sum(-1) > 0).astype(float)
                error = float(arviz_stats.mcse(first, method="mean")) if np.ptp(first) else np.inf
                shares.append((first.mean(), error))
        seconds = (time.perf_counter() - start) / options.keys
        print(f"{name}: {seconds:.2f} s a run with compiling; verdict good {good} of {options.keys}")
        if rows:
            found, error = np.array(rows).T
            z = (found - exact) / error
            print(
                f"  log evidence {exact:.3f}: error stated {error.mean():.3f}, spread {found.std():.3f}, "
                f"bias {(found - exact).mean():+.3f}; z mean {z.mean():+.2f}, sd {z.std(ddof=1):.2f}, "
                f"worst {abs(z).max():.2f}"
            )
        if shares:
            found, error = np.array(shares).T
            z = (found - weight) / error
            print(
                f"  weight {weight}: mean {found.mean():.3f}, spread {found.std():.3f}, error {error.mean():.3f}; z sd "
                f"{z.std(ddof=1):.2f}, worst {abs(z).max():.2f}"
            )


if __name__ == "__main__":
    main()
