# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # A long run that is killed
#
# What is left of a run of many hours when the machine goes away, and can it go on as if nothing had happened?
#
# With a store a run keeps its draws on the disk and not in memory, with checkpoints of its state. Here such a run is
# started in a process of its own and killed with SIGKILL, which no program can answer; what it left is looked at, the
# run is resumed, compared bit by bit with one that was never stopped, and made longer.

# %%
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

import bayeskit as bk

SMALL = os.environ.get("BAYESKIT_EXAMPLE_SIZE") == "small"  # for tests of this notebook
DRAWS = 20_000 if SMALL else 200_000
ROOT = Path.cwd() if Path("data").is_dir() else Path.cwd().parent
folder = Path(tempfile.mkdtemp())

# %% [markdown]
# ## The model, in a file
#
# As a job on a cluster would have it. Lynx were trapped in Canada for 114 years, in numbers that go up and down every
# ten years; the logarithm of a year's number depends on those of the two years before.

# %%
(folder / "lynx.py").write_text('''
import numpy as np
import numpyro
import numpyro.distributions as dist

import bayeskit as bk


def model(y):
    """An autoregression with two lags."""
    level = numpyro.sample("level", dist.Normal(0.0, 5.0))
    first = numpyro.sample("first", dist.Normal(0.0, 1.0))
    second = numpyro.sample("second", dist.Normal(0.0, 1.0))
    noise = numpyro.sample("noise", dist.HalfNormal(1.0))
    with numpyro.plate("year", len(y) - 2):
        numpyro.sample("number", dist.Normal(level + first * y[1:-1] + second * y[:-2], noise), obs=y[2:])


def data(path):
    return {"y": np.log(bk.read_data(path)["trapped"].astype(float))}


def method(draws):
    return bk.NUTS(num_chains=2, num_warmup=500, num_draws=draws)
''')
(folder / "job.py").write_text("""
import sys

import bayeskit as bk
from lynx import data, method, model

table, store, draws = sys.argv[1:]
bk.infer(model, data(table), method(int(draws)), key=0, store=store, progress=False)
""")
sys.path.insert(0, str(folder))
from lynx import data, method, model

lynx = data(ROOT / "data" / "lynx.csv")

# %% [markdown]
# ## Start it, and kill it
#
# A run under way is the folder `run.zarr.partial`, which can be read at any time. When it holds a third of the draws,
# the process is killed.

# %%
store, partial = folder / "run.zarr", folder / "run.zarr.partial"


def drawn():
    """Draws in the store so far."""
    try:
        return bk.load(partial)["posterior"].sizes["draw"]
    except bk.errors.StorageError:
        return 0  # not begun


command = [sys.executable, "job.py", str((ROOT / "data" / "lynx.csv").resolve()), str(store), str(DRAWS)]
with subprocess.Popen(command, cwd=folder) as job:
    while drawn() < DRAWS / 3 and job.poll() is None:
        time.sleep(0.01)
    job.kill()
print("ended by signal", -job.returncode)

# %% [markdown]
# ## What is left
#
# Everything up to the last checkpoint. It is a result like any other, and the verdict says that it is not finished.

# %%
left = bk.load(partial)
print(f"{left['posterior'].sizes['draw']} of {DRAWS} draws in each chain")
bk.check(left)

# %% [markdown]
# What it is, is written beside the draws: method, key, and hashes of data and model. With other data nothing is
# resumed, and the error says what differs.

# %%
try:
    bk.resume(model, {"y": lynx["y"] + 0.1}, store, progress=False)
except bk.errors.BayeskitError as error:
    print(f"{type(error).__name__}: {error}")

# %% [markdown]
# ## Go on

# %%
resumed = bk.resume(model, lynx, store, progress=False)
verdict = bk.check(resumed)
assert verdict.ok
bk.summary(resumed)

# %% [markdown]
# Is it what the run would have been? The same run, in one piece:

# %%
whole = bk.infer(model, lynx, method(DRAWS), key=0, progress=False)
for name in whole["posterior"].data_vars:
    same = np.array_equal(whole[f"posterior/{name}"].values, resumed[f"posterior/{name}"].values)
    print(f"{name:8} {'identical, bit by bit' if same else 'DIFFERENT'}")
    assert same

# %% [markdown]
# ## More draws
#
# A run that has ended goes on from its last state, here for twice as many draws again; no warmup is repeated.

# %%
longer = bk.extend(model, lynx, store, num_draws=2 * DRAWS, progress=False)
print(f"{longer['posterior'].sizes['draw']} draws in each chain")
bk.summary(longer)

# %% [markdown]
# What they buy: the Monte Carlo error of a mean falls with the square root of the number of draws.

# %% tags=["cover"]
first, second = (longer[f"posterior/{name}"].values for name in ("first", "second"))
counts = np.unique(np.geomspace(100, first.shape[1], 200).astype(int))
figure, (left_panel, right_panel) = plt.subplots(1, 2, figsize=(9.5, 3.4))
for chain, colour in enumerate(("C0", "C1")):
    running = np.cumsum(first[chain]) / np.arange(1, first.shape[1] + 1)
    left_panel.plot(counts, running[counts - 1], color=colour, label=f"chain {chain + 1}")
centre, sd = first.mean(), first.std()
band = 2 * sd / np.sqrt(counts)
left_panel.fill_between(counts, centre - band, centre + band, color="0.9", label="± 2 sd / √n")
left_panel.axvline(DRAWS / 3, color="C3", linestyle=":", label="killed")
left_panel.axvline(DRAWS, color="C2", linestyle=":", label="extended")
left_panel.set(xscale="log", xlabel="draws so far", ylabel="mean of the first lag so far")
left_panel.legend(fontsize=7)
right_panel.hexbin(first.ravel(), second.ravel(), gridsize=45, cmap="Blues", mincnt=1)
border = np.linspace(1.0, 2.0, 50)
right_panel.plot(border, -(border**2) / 4, color="C3", linewidth=1, label="below: cycles")
right_panel.set(xlabel="first lag", ylabel="second lag", xlim=(1.1, 1.7), ylim=(-1.05, -0.35))
right_panel.legend(fontsize=8)
figure.tight_layout()

# %% [markdown]
# All draws lie below the parabola, where the equation $u^2 = a u + b$ has complex roots: the numbers go in cycles, of
# the length

# %%
period = 2 * np.pi / np.arccos(first / (2 * np.sqrt(-second)))
print(
    f"{period.mean():.2f} years, with 90% between {np.quantile(period, 0.05):.2f} and {np.quantile(period, 0.95):.2f}"
)

# %% [markdown]
# ## What we saw, and what to try
#
# * SIGKILL cost the draws since the last checkpoint, and nothing else; resumed and uninterrupted runs are the same
#   numbers.
# * Ctrl-C and SIGTERM lose nothing: the chunk under way ends, everything is kept, and `bk.errors.Interrupted` has the
#   draws in `.post`. Try the stop button of the notebook in a cell with a long `bk.infer(..., store=...)`.
# * Try `bk.extend` until `bk.check` is content with the tails, or `thin=10` for a run that is longer than the disk. The
#   layout of a store is in [Run files and model files](../docs/runs.md#stored-runs).
