"""The picture of `docs/spectral_pde.md`: the posterior of the heated rod, and its temperature.

bayeskit run inference/diffusion.toml
python benchmarks/pde_picture.py diffusion.zarr docs/spectral_pde.png
"""

from __future__ import annotations

import runpy
import sys
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

import bayeskit as bk
from bayeskit.models import spectral_pde as sp

ROOT = Path(__file__).resolve().parent.parent
TRUTH = {"diffusion": 0.3, "place": 0.4}


def main(result: str, picture: str) -> None:
    post, file = bk.load(result), runpy.run_path(str(ROOT / "models" / "diffusion.py"))
    x, t, reading = np.loadtxt(ROOT / "data" / "diffusion.csv", delimiter=",", skiprows=1).T
    draws = {name: np.asarray(post.posterior[name]).ravel() for name in TRUTH}
    means = {name: float(values.mean()) for name, values in draws.items()}
    solution = sp.solve(file["problem"], coefficients=means, spectrum=file["spectrum"], tolerance=1e-5, key=0)

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
