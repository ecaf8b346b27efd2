"""The table of `docs/spectral_pde.md`, and a picture beside it: draws of the posterior against quadrature.

bayeskit run inference/diffusion.toml
python -m benchmarks.pde_picture diffusion.zarr diffusion.png
"""

from __future__ import annotations

import runpy
import sys
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

import bayeskit as bk
from bayeskit.models import spectral_pde as sp
from benchmarks.pde_inverse_peers import exact_solution

ROOT = Path(__file__).resolve().parent.parent
TRUTH = {"diffusion": 0.3, "place": 0.4}
SIZE = 0.73
"""Root mean square of the temperature at the medians of the priors: the scale of the prior of the noise."""


def by_quadrature(at: np.ndarray, readings: np.ndarray) -> dict[str, tuple[float, float]]:
    """Means and standard deviations of the posterior, on a grid, from the sine series of the solution."""
    grid = {
        "diffusion": np.linspace(0.25, 0.36, 90),
        "place": np.linspace(0.355, 0.44, 70),
        "noise": np.linspace(0.02, 0.13, 120),
    }
    diffusion, noise = grid["diffusion"], grid["noise"]
    fits = [[exact_solution(d, p, at, 60) for p in grid["place"]] for d in diffusion]
    squares = np.sum((readings - np.array(fits)) ** 2, axis=-1)[:, :, None]
    log_density = -len(readings) * np.log(noise) - squares / (2 * noise**2) - noise**2 / (2 * SIZE**2)
    log_density += (-np.log(diffusion) - (np.log(diffusion) + 1) ** 2 / 2)[:, None, None]
    weight = np.exp(log_density - log_density.max())
    found = {}
    for axis, (name, values) in enumerate(grid.items()):
        marginal = weight.sum(axis=tuple({0, 1, 2} - {axis}))
        mean = np.average(values, weights=marginal)
        found[name] = (float(mean), float(np.sqrt(np.average((values - mean) ** 2, weights=marginal))))
    return found


def main(result: str, picture: str) -> None:
    post, file = bk.load(result), runpy.run_path(str(ROOT / "models" / "diffusion.py"))
    x, t, reading = np.loadtxt(ROOT / "data" / "diffusion.csv", delimiter=",", skiprows=1).T
    draws = {name: np.asarray(post.posterior[name]).ravel() for name in TRUTH}
    means = {name: float(values.mean()) for name, values in draws.items()}
    solution = sp.solve(file["problem"], coefficients=means, spectrum=file["spectrum"], tolerance=1e-5, key=0)

    for name, (mean, sd) in by_quadrature(np.stack([x, t], axis=1), reading).items():
        drawn = np.asarray(post.posterior[name])
        print(f"{name:10} draws {drawn.mean():.4f} ± {drawn.std():.4f}, quadrature {mean:.4f} ± {sd:.4f}")

    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.6), layout="constrained")
    left.scatter(*draws.values(), s=4, alpha=0.3, lw=0, label="draws of the posterior")
    left.plot(*TRUTH.values(), "k+", ms=14, mew=2, label="truth")
    left.set(xlabel="diffusion", ylabel="place")
    left.legend(loc="upper right", fontsize="small")
    points = np.meshgrid(*solution.on_grid(80), indexing="ij")
    mean = solution.mean(np.stack([p.ravel() for p in points], axis=1)).reshape(points[0].shape)
    low, high = min(mean.min(), reading.min()), max(mean.max(), reading.max())
    image = right.pcolormesh(*points, mean, shading="gouraud", vmin=low, vmax=high)
    right.scatter(x, t, c=reading, edgecolors="white", lw=0.8, vmin=low, vmax=high)
    right.set(xlabel="x", ylabel="t")
    figure.colorbar(image, ax=right, label="temperature, and readings")
    figure.savefig(picture, dpi=90)


if __name__ == "__main__":
    main(*sys.argv[1:])
