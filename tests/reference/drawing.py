"""One posterior of the table, drawn by one backend."""

from __future__ import annotations

from dataclasses import dataclass

import jax

import bayeskit as bk

from .comparison import Row, compare
from .table import Reference

BACKENDS = ("numpyro", "blackjax")
KEY = 20240501


@dataclass(frozen=True)
class Outcome:
    """Every parameter against its reference; ``seconds`` of warmup and sampling, without compilation."""

    rows: list[Row]
    seconds: float
    divergences: int

    @property
    def failures(self) -> list[str]:
        return [failure for row in self.rows for failure in row.failures]


def draw(reference: Reference, backend: str, key: int = KEY, *, default_start: bool = False) -> Outcome:
    """Four chains of 1,000 warmup steps and 1,000 draws, in 64 bit; ``default_start`` ignores the table's start."""
    method = bk.NUTS(
        num_chains=4, num_warmup=1000, num_draws=1000, backend=backend, target_accept=reference.target_accept
    )
    init = None if default_start else reference.init
    with jax.enable_x64(True):
        post = bk.infer(reference.model, reference.data, method, key=key, init=init, progress=False)
    values = {name: draws.to_numpy() for name, draws in post["posterior"].data_vars.items()}
    return Outcome(
        rows=compare(values, reference.values),
        seconds=post.attrs["wall_time"] - post.attrs["compile_time"],
        divergences=int(post["sample_stats/diverging"].sum()),
    )
