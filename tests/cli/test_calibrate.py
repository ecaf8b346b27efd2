"""`bayeskit sbc` and `bayeskit compare`."""

from __future__ import annotations

import numpy as np
import pytest

import bayeskit as bk
from bayeskit.storage import make_tree

METHOD = "[method]\nname = 'vi'\nnum_steps = 20\nnum_draws = 30\n"


def test_sbc_writes_the_ranks_and_says_what_they_say(folder, invoke):
    with (folder / "line.toml").open("a") as file:
        file.write(METHOD)
    words = ("sbc", "line.toml", "--num-replicates", 6, "--no-progress")
    done = invoke(*words, "--plot", "ranks.png")
    assert done.exit_code in (0, 3), done.output
    assert "6 replicates" in done.output
    assert "log_likelihood" in done.output
    assert (folder / "ranks.png").stat().st_size > 0
    assert bk.load(folder / "line.ranks.nc")["pit/slope"].shape == (6,)
    again = invoke(*words)
    assert again.exit_code == 2
    assert "--overwrite" in again.output
    assert invoke(*words, "--overwrite", "--executor", "nowhere").exit_code == 2


def test_compare(folder, invoke):
    rng = np.random.default_rng(0)
    y, mu = rng.normal(size=20), rng.normal(0, 0.2, size=(2, 200))
    for name, scale in (("wide", 3.0), ("right", 1.0)):
        density = -0.5 * ((y - mu[..., None]) / scale) ** 2 - np.log(scale)
        bk.save(make_tree({"posterior": {"mu": mu}, "log_likelihood": {"y": density}}), folder / f"{name}.nc")
    done = invoke("compare", "wide.nc", "right.nc")
    assert done.exit_code == 0, done.output
    assert done.output.index("right.nc") < done.output.index("wide.nc")


@pytest.mark.parametrize("words", [("wide.nc",), ("none.zarr", "no.zarr"), ()])
def test_what_cannot_be_compared(folder, invoke, words):
    assert invoke("compare", *words).exit_code == 2
