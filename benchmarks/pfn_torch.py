"""Data sets a second that the PyTorch implementation of prior-data fitted networks (`pfns`) trains on.

    python benchmarks/pfn_torch.py [--seconds 30]

Its transformer over rows (no attention between features) has the sizes of ours by default, and so do the data: 33
rows of a Gaussian process, drawn by a Cholesky factorisation, in batches of 64. Data, forward pass, gradient and a step
of Adam are timed, after ten steps that are not. It needs `pip install pfns torch`, in an environment of its own if need
be.
"""

from __future__ import annotations

import argparse
import time
from typing import Any

WIDTH, LAYERS, HEADS, HIDDEN, BARS = 64, 4, 2, 128, 256
BATCH, ROWS, LENGTHSCALE, NOISE = 64, 33, 0.3, 0.01
WARMUP = 10


def network() -> tuple[Any, Any]:
    """The transformer and its loss."""
    import torch
    from pfns.model.bar_distribution import FullSupportBarDistribution
    from pfns.model.transformer import TableTransformer

    criterion = FullSupportBarDistribution(torch.quantile(torch.randn(100_000), torch.linspace(0, 1, BARS + 1)))
    model = TableTransformer(
        features_per_group=1,
        decoder_dict={"standard": (None, BARS)},
        ninp=WIDTH,
        nhid=HIDDEN,
        nlayers=LAYERS,
        nhead=HEADS,
        attention_between_features=False,
        batch_first=True,
    )
    return model, criterion


def draw() -> tuple[Any, Any]:
    """A batch of data sets."""
    import torch

    x = torch.rand(BATCH, ROWS, 1)
    squares = (x - x.transpose(1, 2)) ** 2 / LENGTHSCALE**2
    root = torch.linalg.cholesky(torch.exp(-0.5 * squares) + NOISE * torch.eye(ROWS))
    return x, (root @ torch.randn(BATCH, ROWS, 1))[..., 0]


def torch_rate(seconds: float) -> float:
    """Data sets a second."""
    import torch

    model, criterion = network()
    print(f"pfns: {sum(one.numel() for one in model.parameters()):,} parameters, {torch.get_num_threads()} threads")
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    done, begin = 0, time.perf_counter()
    while done < WARMUP or time.perf_counter() - begin < seconds:
        if done == WARMUP:
            begin = time.perf_counter()
        x, y = draw()
        num_known = int(torch.randint(0, ROWS, ()))  # one size a batch, as there
        optimizer.zero_grad()
        output = model(x, y[:, :num_known])
        output = output["standard"] if isinstance(output, dict) else output
        loss = criterion(output, y[:, num_known:]).mean()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        done += 1
    return BATCH * (done - WARMUP) / (time.perf_counter() - begin)


def main() -> None:
    """Print it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=30)
    print(torch_rate(parser.parse_args().seconds))


if __name__ == "__main__":
    main()
