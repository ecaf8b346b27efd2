"""Train the regression network that the package ships.

    python benchmarks/pfn_pretrain_regression.py [--budget 30min] [--out bayeskit/models/pfn/nets/regression.nc]

The prior is :class:`bayeskit.models.pfn.priors.Curve` with its defaults. It runs on processors and on a GPU.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bayeskit.models import pfn

HOME = Path(pfn.__file__).parent / "nets"


def main() -> None:
    """Train and save it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--budget", default="30min")
    parser.add_argument("--batch-size", type=int, default=256)
    parser.add_argument("--out", default=str(HOME / "regression.nc"))
    asked = parser.parse_args()
    prior = pfn.priors.Curve()
    net = pfn.train(prior, budget=asked.budget, batch_size=asked.batch_size, num_bars=256, key=0)
    print(net)
    print(pfn.check(net, prior, num_sets=1000))
    Path(asked.out).parent.mkdir(parents=True, exist_ok=True)
    print(net.save(asked.out))


if __name__ == "__main__":
    main()
