"""Exact regression with many observations: seconds and the most memory that was held.

    python benchmarks/nngp_regression.py [--num 5000] [--depth 4] [--features 8] [--new 1000]

The Student-t process with the kernel of a ReLU network: log marginal likelihood, law of the scale, and predictions with
noise at new inputs, in float64, from arrays on the host, compilation included. Memory is the largest resident set of
the process, JAX's own included.
"""

from __future__ import annotations

import argparse
import resource
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import jax
import numpy as np
import numpyro.distributions as dist

from bayeskit.models import nngp


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default in (("num", 5000), ("depth", 4), ("features", 8), ("new", 1000)):
        parser.add_argument(f"--{name}", type=int, default=default)
    settings = parser.parse_args()
    jax.config.update("jax_enable_x64", True)
    generator = np.random.default_rng(0)
    x = generator.normal(size=(settings.num + settings.new, settings.features))
    y = np.sin(x[:, 0]) * x[:, 1] + 0.1 * generator.standard_t(4, size=len(x))
    train, new = slice(settings.num), slice(settings.num, None)
    begin, cpu = time.perf_counter(), time.process_time()
    network = nngp.fully_connected(settings.depth, 2**0.5, 0.3)
    posterior = nngp.ScaleMixture(network, dist.InverseGamma(2.0, 2.0), noise_variance=0.01).condition(
        x[train], y[train]
    )
    law = posterior.predict_each(x[new], include_noise=True)
    loss = -float(law.log_prob(y[new]).mean())
    seconds, processor = time.perf_counter() - begin, time.process_time() - cpu
    print(f"n = {settings.num}, {settings.depth} layers, {settings.new} new points, {jax.default_backend()}")
    print(
        f"evidence {float(posterior.log_marginal_likelihood):.1f}, NLL {loss:.4f}, RMSE "
        f"{float(np.sqrt(np.mean((np.asarray(law.mean) - y[new]) ** 2))):.4f}"
    )
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(f"{seconds:.1f} s ({processor:.1f} s of processor), at most {memory:.2f} GiB")


if __name__ == "__main__":
    main()
