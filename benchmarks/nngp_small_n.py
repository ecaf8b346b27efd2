"""What the random scale is worth when there are few data, and what importance sampling loses when there are many.

The first table: noiseless data from a scale mixture (inverse gamma, α = β = 2), and at one new point the expected log
loss of the Gaussian process with the maximum-likelihood scale q / n above that of the Student-t prediction. It is the
same for every kernel. The second: the median effective sample size of 1,000 draws of the scale from its prior.

    python benchmarks/nngp_small_n.py [--data-sets 200000] [--repeats 60]
"""

from __future__ import annotations

import argparse
import sys
import time
import warnings
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import jax

jax.config.update("jax_enable_x64", True)

import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
from scipy import stats
from tinygp import kernels

from bayeskit.distributions import BurrXII
from bayeskit.models import nngp

SIZES = (3, 5, 10, 30)
TRUTH = {3: 0.743, 5: 0.170, 10: 0.0377, 30: 0.0041}
ALPHA = BETA = 2.0


def excess_log_loss(size: int, num: int, key: int) -> tuple[float, float]:
    """The mean and its standard error over data sets.

    Given the data the new value follows the Student-t prediction, so its own log loss is the entropy of that law. The
    log loss of the Gaussian process has the term f² / (2 v q / n), whose sample mean has tails so heavy that it hardly
    converges at n = 3; its expectation is n / (2 (n - 2)), and stands for it.
    """
    x = jnp.linspace(0.0, 1.0, size + 1)[:, None]
    kernel = kernels.Matern32(0.4)
    mixture = nngp.ScaleMixture(kernel, dist.InverseGamma(ALPHA, BETA))

    def one(y: jax.Array) -> jax.Array:
        posterior = mixture.condition(x[:-1], y)
        q = 2 * (posterior.scale.rate - BETA)
        gaussian = nngp.ScaleMixture(kernel, q / size).condition(x[:-1], y).predict_each(x[-1:])
        student = posterior.predict_each(x[-1:])
        loss_of_gaussian = 0.5 * jnp.log(2 * jnp.pi) + jnp.log(gaussian.scale) + size / (size - 2) / 2
        loss_of_student = stats.t(2 * ALPHA + size).entropy() + jnp.log(student.scale)
        return (loss_of_gaussian - loss_of_student)[0]

    y = mixture.prior(x).sample(jax.random.key(key), (num,))[:, :-1]
    excess = jax.jit(lambda y: jax.lax.map(one, y, batch_size=5000))(y)
    return float(jnp.mean(excess)), float(jnp.std(excess)) / num**0.5


def effective_sample_size(size: int, repeats: int) -> float:
    """The median over data sets from the model, Burr(2, 1)."""
    x = 100.0 * np.arange(size)[:, None]  # the covariance is the identity: only the number of data matters
    mixture = nngp.ScaleMixture(kernels.ExpSquared(1.0), BurrXII(2.0, 1.0))
    sizes = []
    for key in jax.random.split(jax.random.key(1), repeats):
        of_scale, of_data, of_draws = jax.random.split(key, 3)
        scale = BurrXII(2.0, 1.0).sample(of_scale)
        y = jnp.sqrt(scale) * jax.random.normal(of_data, (size,))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            sizes.append(float(mixture.importance(x, y, num_draws=1000, key=of_draws).effective_sample_size))
    return float(np.median(sizes))


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data-sets", type=int, default=200_000)
    parser.add_argument("--repeats", type=int, default=60)
    parser.add_argument("--sizes", type=int, nargs="*", default=[40, 400, 4000], help="for importance sampling")
    settings = parser.parse_args()
    print(f"expected excess log loss at one new point, {settings.data_sets} data sets")
    print(f"{'n':>5} {'excess':>9} {'error':>9} {'truth':>8} {'ratio':>7} {'seconds':>8}")
    for size in SIZES:
        start = time.perf_counter()
        mean, error = excess_log_loss(size, settings.data_sets, size)
        seconds = time.perf_counter() - start
        print(f"{size:>5} {mean:>9.5f} {error:>9.5f} {TRUTH[size]:>8} {mean / TRUTH[size]:>7.3f} {seconds:>8.1f}")
    print(f"\nmedian effective sample size of 1,000 draws of the scale from its prior, {settings.repeats} data sets")
    for size in settings.sizes:
        repeats = settings.repeats if size < 2000 else min(settings.repeats, 20)
        print(f"{size:>5} {effective_sample_size(size, repeats):>9.1f}", flush=True)


if __name__ == "__main__":
    main()
