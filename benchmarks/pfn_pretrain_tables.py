"""Train the classifier of tables that is shipped, on a CPU or a GPU, and write it to a file.

    python benchmarks/pfn_pretrain_tables.py --out tables.nc [--budget 22min] [--batch-size 32] [--precision bfloat16]

By default as the one that comes with the package. At the end stands the loss on fresh tables, in nats a row, by how
many rows are shown, beside that of the shares of the classes among them (each counted once more): a network that has
learned nothing is no better.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import jax
import numpy as np

from bayeskit.models import pfn
from bayeskit.models.pfn.prior import Prior
from bayeskit.models.pfn.table_prior import Table

MOST_BYTES = 1.5 * 2**20


def losses(net: pfn.Net, prior: Table, num_shown: int, num_tables: int) -> tuple[float, float, float]:
    """Of the network, of the shares of classes, and the standard error of the difference."""
    x, y = map(np.asarray, Prior(prior).draw(jax.random.key(1), num_tables))
    law = net.predict(x[:, :num_shown], y[:, :num_shown], x[:, num_shown:])
    new = y[:, num_shown:]
    of_network = -np.asarray(law.log_prob(new)).mean(axis=1)
    counts = 1 + np.stack([np.sum(y[:, :num_shown] == one, axis=1) for one in range(prior.num_classes)], axis=1)
    shares = np.take_along_axis(counts / counts.sum(axis=1, keepdims=True), new, axis=1)
    of_shares = -np.log(shares).mean(axis=1)
    error = np.std(of_shares - of_network) / num_tables**0.5
    return float(of_network.mean()), float(of_shares.mean()), float(error)


def main() -> None:
    """Train, look, and write."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--budget", help="such as 6min; without it and --num-steps, 22min")
    parser.add_argument("--num-steps", type=int)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--learning-rate", type=float, default=2e-3)
    parser.add_argument("--precision", default="float32")
    parser.add_argument("--width", type=int, default=48)
    parser.add_argument("--num-layers", type=int, default=4)
    parser.add_argument("--num-heads", type=int, default=4)
    parser.add_argument("--num-rows", type=int, default=40)
    parser.add_argument("--num-features", type=int, default=32)
    parser.add_argument("--num-classes", type=int, default=4)
    parser.add_argument("--key", type=int, default=0)
    settings = parser.parse_args()
    budget = settings.budget or (None if settings.num_steps else "22min")
    prior = Table(settings.num_rows, settings.num_features, settings.num_classes)
    print(f"{jax.default_backend()}: {jax.devices()[0].device_kind}", flush=True)
    net = pfn.train(
        prior,
        key=settings.key,
        budget=budget,
        num_steps=settings.num_steps,
        network="table",
        missing=True,
        width=settings.width,
        num_layers=settings.num_layers,
        num_heads=settings.num_heads,
        batch_size=settings.batch_size,
        learning_rate=settings.learning_rate,
        precision=settings.precision,
    )
    steps = len(net.training.losses)
    print(f"{net}\n{net.training.seconds:.0f} s, {net.training.seconds / steps * 1e3:.1f} ms a step with compilation")
    tenth = max(steps // 10, 1)
    print(
        "loss by tenths:", *(f"{part.mean():.3f}" for part in np.split(net.training.losses, range(tenth, steps, tenth)))
    )
    path = net.save(settings.out)
    size = path.stat().st_size
    print(f"{path}: {size / 2**20:.2f} MiB", flush=True)
    has_learned = True
    for shown in sorted({settings.num_rows // 8, settings.num_rows // 2, 3 * settings.num_rows // 4}):
        of_network, of_shares, error = losses(net, prior, shown, 512)
        print(
            f"{shown:3d} rows shown: loss {of_network:.3f}, of the shares of classes {of_shares:.3f} (s.e. {error:.3f})"
        )
        has_learned &= of_network < of_shares - 2 * error
    if not has_learned:
        sys.exit("the network has learned nothing from what it is shown")
    if size > MOST_BYTES:
        sys.exit("larger than 1.5 MiB")


if __name__ == "__main__":
    main()
