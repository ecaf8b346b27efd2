"""Draw what networks have learned of a prior.

    python benchmarks/pfn_picture.py [pfn.png]

Left the network of curves that comes with the package; right a network that was trained for `--budget` on a process
that is known, beside the exact answer.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import matplotlib as mpl

mpl.use("agg")
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes

from bayeskit.models import pfn


def curve(ax: Axes) -> None:
    """Of the network that comes with the package."""
    generator = np.random.default_rng(3)
    x = np.sort(generator.uniform(0.0, 10.0, 25))
    y = 3.0 * np.sin(x) + 0.2 * x + 0.6 * generator.normal(size=25)
    model = pfn.PFNRegressor(pfn.pretrained("regression"), standardise=True).fit(x[:, None], y)
    line = np.linspace(-0.3, 10.3, 300)
    law = model.distribution(line[:, None])
    for mass, alpha in ((0.9, 0.2), (0.5, 0.35)):
        ax.fill_between(line, law.icdf(0.5 - mass / 2), law.icdf(0.5 + mass / 2), color="C0", alpha=alpha, lw=0)
    ax.plot(line, law.icdf(0.5), "C0", label="median, 50% and 90%")
    ax.plot(line, 3.0 * np.sin(line) + 0.2 * line, "k--", lw=1, label="truth")
    ax.plot(x, y, "k.")
    ax.set(xlabel="x", ylabel="y", title="The network of curves that comes with the package")
    ax.legend(loc="lower left")


def process(ax: Axes, budget: str) -> None:
    """Of a process that is known."""
    prior = pfn.priors.GP(lengthscale=0.2, noise=0.01)
    net = pfn.train(prior, budget=budget, key=0)
    x = np.array([0.08, 0.15, 0.4, 0.75, 0.82])[:, None]
    y = np.array([0.3, 0.7, -0.9, 0.9, 1.3])
    line = np.linspace(0.0, 1.0, 200)[:, None]
    law, exact = net.predict(x, y, line), prior.exact(x, y, np.ones(5, bool), line)
    ax.fill_between(line[:, 0], law.icdf(0.025), law.icdf(0.975), color="C0", alpha=0.25, lw=0)
    ax.plot(line[:, 0], law.mean, "C0", label=f"network, mean and 95%, after {budget} on two cores")
    for side in (-1.96, 0.0, 1.96):
        at = exact.mean + side * np.sqrt(exact.variance)
        ax.plot(line[:, 0], at, "k--", lw=1, label="exact posterior" if side == 0 else None)
    ax.plot(x, y, "ko", ms=4)
    ax.set(xlabel="x", title="A network beside the exact posterior of a Gaussian process")
    ax.legend(loc="lower left")


def main() -> None:
    """Draw it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", nargs="?", default="pfn.png")
    parser.add_argument("--budget", default="60s")
    asked = parser.parse_args()
    fig, (left, right) = plt.subplots(1, 2, figsize=(11, 4), layout="constrained")
    curve(left)
    process(right, asked.budget)
    fig.savefig(asked.out, dpi=110)


if __name__ == "__main__":
    main()
