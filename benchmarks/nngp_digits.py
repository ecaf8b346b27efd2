"""Digits of scikit-learn, 1,000 to learn from: scale mixtures against Gaussian processes with the same kernel.

    python benchmarks/nngp_digits.py [--splits 10] [--inducing 100] [--steps 1000]

The kernel is that of an infinitely wide network, three times (3 × 3 convolution, ReLU), then flatten and dense,
He-scaled (weight_std = sqrt 2, bias_std = 0.1), on pixels from 0 to 1. It is fixed by that convention and not fitted;
all models of a split share it, the inducing points and the test images. The models differ in the scale of the functions
only: 1, the number that maximises the bound on the training part, and two laws of the scale. Each split has 1,000
random images to learn from, the rest to predict: as they are, rotated, and with Gaussian noise on the pixels. In the
last part the digits 8 and 9 are left out of the training; how well the predictive entropy tells them from unseen images
of the others is the area under the ROC curve. "difference" is the mean over splits of the difference in log loss to the
mixture IG(2, 2), with its standard error: above zero, the mixture is better.
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import scipy.ndimage
from sklearn.datasets import load_digits
from sklearn.metrics import roc_auc_score
from tinygp.kernels import Kernel

from bayeskit.models import nngp

TRAIN = 1000
LEFT_OUT = (8, 9)
ANGLES = (15, 30, 45, 60)
NOISE = 0.3
MIXTURE = "IG(2, 2)"
MODELS = {
    "GP, scale 1": 1.0,
    "GP, optimised": None,
    MIXTURE: dist.InverseGamma(2.0, 2.0),
    "half-Cauchy(1)": dist.HalfCauchy(1.0),
}


class Lookup(Kernel):
    """A kernel between images that are known by their numbers."""

    matrix: jax.Array
    variances: jax.Array

    def evaluate(self, X1: jax.Array, X2: jax.Array) -> jax.Array:
        return self.matrix[X1, X2]

    def __call__(self, X1: jax.Array, X2: jax.Array | None = None) -> jax.Array:
        return self.variances[X1] if X2 is None else self.matrix[X1[:, None], X2[None]]


def network() -> nngp.Network:
    block = (nngp.Conv((3, 3), 2**0.5, 0.1), nngp.relu)
    return nngp.serial(*block, *block, *block, nngp.Flatten(), nngp.Dense(2**0.5, 0.1))


def shifted(images: np.ndarray) -> dict[str, np.ndarray]:
    generator = np.random.default_rng(0)
    rotated = {
        f"rotated {angle}°": scipy.ndimage.rotate(images, angle, axes=(2, 1), reshape=False, order=1)
        for angle in ANGLES
    }
    noise = images + NOISE * generator.normal(size=images.shape)
    return {"unseen": images, **rotated, f"noise {NOISE}": np.clip(noise, 0.0, 1.0)}


def covariance(kernel: nngp.Network, one: np.ndarray, two: np.ndarray) -> np.ndarray:
    """In float64, a hundred rows at a time."""
    with jax.enable_x64(True):
        compiled = jax.jit(lambda a, b: kernel(a[..., None], b[..., None]))
        return np.concatenate([np.asarray(compiled(one[i : i + 100], two)) for i in range(0, len(one), 100)])


def variances(kernel: nngp.Network, images: np.ndarray) -> np.ndarray:
    with jax.enable_x64(True):
        return np.asarray(kernel(images[..., None]))


def log_loss(probabilities: np.ndarray, labels: np.ndarray) -> float:
    return float(-np.mean(np.log(probabilities[np.arange(len(labels)), labels])))


def entropy(probabilities: np.ndarray) -> np.ndarray:
    return -np.sum(probabilities * np.log(np.maximum(probabilities, 1e-300)), axis=1)


class Digits:
    """All images and what is shared between models: kernel matrices, by number of the image."""

    def __init__(self) -> None:
        data = load_digits()
        self.kernel, self.labels = network(), data.target
        self.sets = shifted(data.images / 16.0)
        self.images = self.sets["unseen"]
        self.names = list(self.sets)
        size = len(self.images)
        self.matrix = np.full((size * len(self.sets), size), np.nan)  # filled in where it is needed
        self.matrix[:size] = covariance(self.kernel, self.images, self.images)
        self.variances = np.concatenate([variances(self.kernel, images) for images in self.sets.values()])

    def lookup(self) -> Lookup:
        with jax.enable_x64(True):
            return Lookup(jnp.asarray(self.matrix), jnp.asarray(self.variances))

    def numbers(self, name: str, which: np.ndarray) -> np.ndarray:
        """Numbers of images of a set."""
        return which + self.names.index(name) * len(self.images)

    def fill(self, which: np.ndarray, points: np.ndarray) -> None:
        """Covariances of shifted images with inducing points."""
        for name in self.names[1:]:
            block = covariance(self.kernel, self.sets[name][which], self.images[points])
            self.matrix[np.ix_(self.numbers(name, which), points)] = block


def learn(digits: Digits, prior: object, train: np.ndarray, arguments: argparse.Namespace) -> nngp.FittedClassifier:
    classifier = nngp.SparseClassifier(digits.lookup(), prior, inducing=arguments.inducing)
    return classifier.fit(
        train,
        digits.labels[train],
        key=0,
        num_steps=arguments.steps,
        learning_rate=0.03,
        batch_size=200,
        progress=False,
    )


def with_kernel(fit: nngp.FittedClassifier, kernel: Lookup) -> nngp.FittedClassifier:
    """The same fit, by a table that has more entries."""
    return dataclasses.replace(fit, points=dataclasses.replace(fit.points, kernel=kernel))


def one_split(digits: Digits, seed: int, arguments: argparse.Namespace) -> dict[str, dict[str, float]]:
    order = np.random.default_rng(seed).permutation(len(digits.labels))
    train, test = order[:TRAIN], order[TRAIN:]
    inside = order[~np.isin(digits.labels[order], LEFT_OUT)]
    outside = order[np.isin(digits.labels[order], LEFT_OUT)]
    results = {}
    for model, prior in MODELS.items():
        begin = time.perf_counter()
        fit = learn(digits, prior, train, arguments)
        row = {"seconds": time.perf_counter() - begin, "bound": fit.bound, "scale": float(np.exp(fit.guide.scale_loc))}
        if np.isnan(digits.matrix[digits.numbers(digits.names[1], test)][:, fit.points.points]).any():
            digits.fill(test, fit.points.points)
        fit = with_kernel(fit, digits.lookup())
        losses = []
        for name in digits.names:
            probabilities = fit.predict_proba(digits.numbers(name, test))
            row[f"accuracy, {name}"] = float(np.mean(probabilities.argmax(axis=1) == digits.labels[test]))
            losses.append(log_loss(probabilities, digits.labels[test]))
            row[f"log loss, {name}"] = losses[-1]
        row["log loss, all shifted"] = float(np.mean(losses[1:]))
        row.update(left_out(learn(digits, prior, inside[:TRAIN], arguments), inside[TRAIN:], outside))
        results[model] = row
    return results


def left_out(fit: nngp.FittedClassifier, inside: np.ndarray, outside: np.ndarray) -> dict[str, float]:
    known, unknown = (entropy(fit.predict_proba(which)) for which in (inside, outside))
    truth = np.repeat([0, 1], [len(known), len(unknown)])
    area = float(roc_auc_score(truth, np.concatenate([known, unknown])))
    return {
        "AUROC, left-out": area,
        "entropy, known": float(known.mean()),
        "entropy, left-out": float(unknown.mean()),
    }


def mean_and_error(values: list[float]) -> str:
    error = np.std(values, ddof=1) / np.sqrt(len(values)) if len(values) > 1 else np.nan
    return f"{np.mean(values):9.4f} ± {error:.4f}"


def report(splits: list[dict[str, dict[str, float]]]) -> None:
    print(f"{len(splits)} splits; mean ± standard error")
    print(f"{'':28}" + "".join(f"{model:>20}" for model in MODELS))
    for name in splits[0][MIXTURE]:
        print(f"{name:28}" + "".join(f"{mean_and_error([s[m][name] for s in splits]):>20}" for m in MODELS))
    print("difference in log loss to " + MIXTURE)
    for name in (name for name in splits[0][MIXTURE] if name.startswith("log loss")):
        gaps = {m: [s[m][name] - s[MIXTURE][name] for s in splits] for m in MODELS}
        print(f"{name:28}" + "".join(f"{mean_and_error(gaps[m]):>20}" for m in MODELS))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--splits", type=int, default=10)
    parser.add_argument("--inducing", type=int, default=100)
    parser.add_argument("--steps", type=int, default=1000)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:  # the splits share their compiled programs
        jax.config.update("jax_compilation_cache_dir", folder)
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
        begin = time.perf_counter()
        digits = Digits()
        print(f"kernel of {len(digits.images)} images: {time.perf_counter() - begin:.0f} s", flush=True)
        splits = []
        for seed in range(arguments.splits):
            splits.append(one_split(digits, seed, arguments))
            print(f"split {seed}: {time.perf_counter() - begin:.0f} s", flush=True)
        report(splits)


if __name__ == "__main__":
    main()
