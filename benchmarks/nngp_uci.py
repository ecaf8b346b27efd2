"""Regression on UCI tables: Gaussian processes against scale mixtures at the same infinite-width ReLU kernels.

    python benchmarks/nngp_uci.py [FOLDER] [--data boston concrete energy yacht wine_red] [--depths 1 4] [--splits 5]
                                  [--train ROWS] [--evidence-rows 1500] [--noise 0.05 [...]]

FOLDER, by default data/uci, holds NAME.npz with arrays x, y and test_0 ... test_4 (rows of the test part of each
split). Inputs and y are standardised by the training part. The kernel is a ReLU network with `depth` hidden layers,
weight_std sqrt(2); what is chosen, by evidence on the training part alone, are the bias_std of every layer and the
noise, inside the scale. For a network of ReLUs other weights change only the biases and the scale. The models, at that
kernel:

    scale 1        Gaussian process
    best scale     Gaussian process, its scale by evidence too
    IG(2, 2)       sigma^2 inverse gamma: Student-t process
    Burr XII(2, 1) sigma^2 by quadrature

NLL: minus the mean log predictive density of standardised y, the noise included; RMSE in the units of y; both averaged
over the splits, with the standard error over them. Tables of more than --evidence-rows rows choose their
hyperparameters on that many random rows of the training part, and predict from all of it. wine_red repeats 240 of its
1,599 rows: small noise then predicts the repeated ones exactly; the row "new" leaves test rows out that stand in the
training part. --train keeps only so many random rows of the training part: small data. --noise is where the evidence
is climbed from: the first model from the first value, the others from where the model before them ended, and all from
the further values; what ends with most evidence is kept. Repeated rows give the evidence a second maximum, without end,
at noise zero (--noise 0.05 1e-4).
"""

from __future__ import annotations

import argparse
import sys
import time
import warnings
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import jax
import numpy as np
import numpyro.distributions as dist

from bayeskit.distributions import BurrXII
from bayeskit.models import nngp

BARS = {
    "boston": (0.25, 2.75),
    "concrete": (0.23, 5.2),
    "energy": (-1.36, 0.63),
    "yacht": (-2.20, 0.58),
    "wine_red": (0.04, 0.66),
}
MODELS = {
    "scale 1": lambda _: 1.0,
    "best scale": lambda p: p["scale"],
    "IG(2, 2)": lambda _: dist.InverseGamma(2.0, 2.0),
    "Burr XII(2, 1)": lambda _: BurrXII(2.0, 1.0),
}


def network(depth, bias_std):
    layers = [nngp.Dense(np.sqrt(2.0), bias_std[0])]
    for layer in range(depth):
        layers += [nngp.relu, nngp.Dense(np.sqrt(2.0), bias_std[layer + 1])]
    return nngp.serial(*layers)


def builder(depth, scale):
    def build(p):
        return nngp.ScaleMixture(network(depth, p["bias_std"]), scale(p), noise="inside", noise_variance=p["noise"])

    return build


def standardised(table, split, rows):
    x, y, test = table["x"].astype(float), table["y"].astype(float), table[f"test_{split}"]
    train = np.setdiff1d(np.arange(len(y)), test)
    if rows is not None:
        train = np.random.default_rng(split).choice(train, rows, replace=False)
    centre, spread = x[train].mean(0), x[train].std(0)
    spread = np.where(spread == 0, 1, spread)
    mean, unit = y[train].mean(), y[train].std()
    new = np.array([not (np.isclose(x[train], row).all(1)).any() for row in x[test]])
    x, y = (x - centre) / spread, (y - mean) / unit
    return x[train], y[train], x[test], y[test], unit, new


def evaluate(table, depth, split, settings):
    """Of every model: NLL, NLL of new rows, RMSE, evidence per row; and the seconds."""
    x, y, x_test, y_test, unit, new = standardised(table, split, settings.train)
    some = slice(None)
    if len(y) > settings.evidence_rows:
        some = np.random.default_rng(split).choice(len(y), settings.evidence_rows, replace=False)
    first, *others = [{"bias_std": np.full(depth + 1, 0.5), "noise": noise} for noise in settings.noise]
    rows = {}
    for name, scale in MODELS.items():
        begin = time.perf_counter()
        starts = [{**start, "scale": 1.0} if name == "best scale" else start for start in (first, *others)]
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "the evidence still rises")  # repeated rows: noise towards zero
            fits = [nngp.maximise_evidence(builder(depth, scale), start, x[some], y[some]) for start in starts]
        fit = max(fits, key=lambda fit: fit.log_marginal_likelihood)
        # where the next model starts; the noise may go down from there by maximise_evidence's factor of 1e6
        first = {"bias_std": fit.parameters["bias_std"], "noise": max(fit.parameters["noise"], 1e-4)}
        posterior = fit.mixture.condition(x, y)
        law = posterior.predict_each(x_test, include_noise=True)
        log_density = np.asarray(law.log_prob(y_test))
        rmse = unit * np.sqrt(np.mean((np.asarray(law.mean) - y_test) ** 2))
        evidence = fit.log_marginal_likelihood / len(y[some])
        left = -log_density[new].mean() if new.any() else np.nan
        rows[name] = (-log_density.mean(), left, rmse, evidence, time.perf_counter() - begin)
    return rows


def report(name, depth, results):
    for model in MODELS:
        figures = np.array([one[model] for one in results])
        mean, error = figures.mean(0), figures.std(0, ddof=1) / np.sqrt(len(figures)) if len(figures) > 1 else [0] * 5
        print(
            f"{name:9s} {depth:5d}  {model:15s} {mean[0]:8.3f} ± {error[0]:5.3f} {mean[1]:8.3f} "
            f"{mean[2]:8.3f} ± {error[2]:5.3f} {mean[3]:9.4f} {mean[4]:8.1f}",
            flush=True,
        )


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, nargs="?", default=Path(__file__).resolve().parents[1] / "data" / "uci")
    parser.add_argument("--data", nargs="+", default=list(BARS))
    parser.add_argument("--depths", nargs="+", type=int, default=[1, 4])
    parser.add_argument("--splits", type=int, default=5)
    parser.add_argument("--train", type=int)
    parser.add_argument("--evidence-rows", type=int, default=1500)
    parser.add_argument("--noise", nargs="+", type=float, default=[0.05])
    settings = parser.parse_args()
    jax.config.update("jax_enable_x64", True)
    print("table     depth  model                  NLL          NLL new       RMSE        evidence  seconds")
    for name in settings.data:
        with np.load(settings.folder / f"{name}.npz") as file:
            table = dict(file)
        for depth in settings.depths:
            report(name, depth, [evaluate(table, depth, split, settings) for split in range(settings.splits)])
        if name in BARS and settings.train is None:
            print(f"{name:9s} bars: NLL at most {BARS[name][0]}, RMSE {BARS[name][1]} ± 3 %")


if __name__ == "__main__":
    main()
