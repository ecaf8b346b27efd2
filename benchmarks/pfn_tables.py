"""A pretrained network against classifiers of scikit-learn, on tables of which 30 rows are known.

    python benchmarks/pfn_tables.py --net tables.nc [--splits 20] [--num-subsets 8]

A split has 30 random rows to learn from, the classes in proportion, and up to 500 of the rest to predict. The others
have their default settings; logistic regression and nearest neighbours get standardised columns. AUC is the area under
the ROC curve, one class against the rest and averaged where there are several. Ranks are by the AUC of a split, 1 the
best, ties shared, averaged over splits and then over tables; gradient boosting is there for information and has no
rank. The calibration error (ECE) is of the largest probability, in 15 bins of equal width, over the predictions of all
splits of a table.
"""

from __future__ import annotations

import argparse
import sys
import time
import warnings
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
import scipy.stats
from sklearn.datasets import load_breast_cancer, load_digits, load_iris, load_wine, make_classification, make_moons
from sklearn.ensemble import GradientBoostingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import train_test_split
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from bayeskit.models import pfn

TRAIN, MOST_TEST, BINS = 30, 500, 15
OURS = "network"
RANKED = (OURS, "logistic", "neighbours")


def tables() -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """By name."""
    x, y = load_digits(return_X_y=True)
    two = np.isin(y, (3, 8))
    made = {"digits, 3 or 8": (x[two], y[two])}
    for name, load in (("breast cancer", load_breast_cancer), ("wine", load_wine), ("iris", load_iris)):
        made[name] = load(return_X_y=True)
    made["make_classification"] = make_classification(
        600, n_features=10, n_informative=4, n_redundant=2, n_clusters_per_class=2, random_state=0
    )
    made["make_moons"] = make_moons(600, noise=0.25, random_state=0)
    return made


def methods(net: pfn.Net, num_subsets: int) -> dict[str, object]:
    """Not fitted, by name."""
    return {
        OURS: pfn.PFNClassifier(net, num_subsets=num_subsets),
        "logistic": make_pipeline(StandardScaler(), LogisticRegression()),
        "neighbours": make_pipeline(StandardScaler(), KNeighborsClassifier()),
        "boosting": GradientBoostingClassifier(random_state=0),
    }


def auc(y: np.ndarray, probabilities: np.ndarray) -> float:
    """Under the ROC curve, of one class against the rest where there are several."""
    if probabilities.shape[1] == 2:
        return float(roc_auc_score(y, probabilities[:, 1]))
    return float(roc_auc_score(y, probabilities, multi_class="ovr"))


def calibration_error(confidence: np.ndarray, right: np.ndarray) -> float:
    """The mean over predictions of how far a bin's share of right ones is from its mean confidence."""
    bins = np.minimum((confidence * BINS).astype(int), BINS - 1)
    apart = np.bincount(bins, right - confidence, BINS)
    return float(np.abs(apart).sum() / len(right))


def main() -> None:
    """Print a line for each table, and the means."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--net", type=Path, required=True)
    parser.add_argument("--splits", type=int, default=20)
    parser.add_argument("--num-subsets", type=int, default=8)
    settings = parser.parse_args()
    warnings.filterwarnings("ignore", module="sklearn")
    net = pfn.load(settings.net)
    print(net)
    ranks, errors, seconds = [], {name: [] for name in methods(net, 1)}, dict.fromkeys(methods(net, 1), 0.0)
    for table, (x, y) in tables().items():
        areas = {name: [] for name in seconds}
        said = {name: ([], []) for name in seconds}
        for split in range(settings.splits):
            x_train, x_test, y_train, y_test = train_test_split(x, y, train_size=TRAIN, stratify=y, random_state=split)
            x_test, y_test = x_test[:MOST_TEST], y_test[:MOST_TEST]
            for name, method in methods(net, settings.num_subsets).items():
                begin = time.perf_counter()
                probabilities = method.fit(x_train, y_train).predict_proba(x_test)
                seconds[name] += time.perf_counter() - begin
                areas[name].append(auc(y_test, probabilities))
                said[name][0].append(probabilities.max(axis=1))
                said[name][1].append(method.classes_[probabilities.argmax(axis=1)] == y_test)
        of_splits = scipy.stats.rankdata(-np.array([areas[name] for name in RANKED]), axis=0)
        ranks.append(of_splits.mean(axis=1))
        print(f"\n{table}: {x.shape[1]} columns, {len(np.unique(y))} classes", flush=True)
        for name in seconds:
            error = calibration_error(*map(np.concatenate, said[name]))
            errors[name].append(error)
            rank = f"rank {ranks[-1][RANKED.index(name)]:.2f}" if name in RANKED else " " * 9
            spread = np.std(areas[name]) / settings.splits**0.5
            print(f"  {name:<11} AUC {np.mean(areas[name]):.4f} (s.e. {spread:.4f})  {rank}  ECE {error:.3f}")
    print("\nover all tables")
    for name in seconds:
        rank = f"mean rank {np.mean(ranks, axis=0)[RANKED.index(name)]:.2f}" if name in RANKED else " " * 14
        print(f"  {name:<11} {rank}  mean ECE {np.mean(errors[name]):.3f}  {seconds[name]:.1f} s")


if __name__ == "__main__":
    main()
