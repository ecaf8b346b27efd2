"""A run over two devices, of one process or of two: ``python over_devices.py PROCESSES NUMBER ADDRESS [what]``.

Prints one line of JSON: draws of chains over the devices and of rows over the devices, and log densities; or those of
an ensemble that adapts over all devices; or those of a run that was stopped and resumed.
"""

from __future__ import annotations

import json
import os
import sys

processes, number, address = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
devices = f"--xla_force_host_platform_device_count={2 // processes}"
os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {devices}"
os.environ.pop("JAX_COMPILATION_CACHE_DIR", None)

import jax

jax.config.update("jax_enable_x64", True)
if processes > 1:
    jax.distributed.initialize(address, processes, number)

import numpy as np
import numpyro
import numpyro.distributions as dist

import bayeskit as bk

ROWS = 40
RANDOM = np.random.default_rng(0)
X = RANDOM.normal(size=(ROWS, 2))
Y = X @ [1.0, -0.5] + RANDOM.normal(size=ROWS)


def regression(x, y):
    b = numpyro.sample("b", dist.Normal(0.0, 1.0).expand([2]).to_event(1))
    with numpyro.plate("row", len(x)):
        numpyro.sample("y", dist.Normal(x @ b, 1.0), obs=y)


whole = {"x": X, "y": Y}
if sys.argv[4:] == ["ensemble"]:
    method = bk.ChEES(num_chains=8, num_warmup=20, num_draws=5)
    post = bk.infer(regression, whole, method, key=0, progress=False)
    print(json.dumps({"devices": jax.device_count(), "draws": post["posterior/b"].values.ravel().tolist()}))
    sys.exit()

if sys.argv[4:5] == ["store"]:
    from jax.experimental import multihost_utils

    from bayeskit.storage.run_store import RunStore

    def stop(*_):
        raise KeyboardInterrupt

    path, finish = f"{sys.argv[5]}/{processes}.zarr", RunStore.finish
    method = bk.HMC(num_warmup=20, num_draws=60, chain_method="sharded")
    RunStore.finish = stop  # in the first process, which writes the store, at the very end of the run
    try:
        post = bk.infer(regression, whole, method, key=0, store=path, progress=False)
    except bk.errors.Interrupted as error:
        post = error.post
    RunStore.finish = finish
    multihost_utils.sync_global_devices("stopped")
    again = bk.resume(regression, whole, path, progress=False)
    draws = [tree["posterior/b"].values.ravel().tolist() for tree in (post, again)]
    print(json.dumps({"devices": jax.device_count(), "draws": draws}))
    sys.exit()

own = slice(number * ROWS // processes, (number + 1) * ROWS // processes)
rows = bk.sharded({"x": X[own], "y": Y[own]})
z = {"b": np.array([0.3, 0.2])}
density = jax.jit(lambda target: target.log_density(z))
spread, alone = (bk.Target(bk.bind(regression, data)) for data in (rows, whole))
by_chain = bk.infer(
    regression, whole, bk.HMC(num_warmup=20, num_draws=10, chain_method="sharded"), key=0, progress=False
)
by_row = bk.infer(regression, rows, bk.HMC(num_warmup=20, num_draws=10), key=0, progress=False)
try:
    bk.infer(regression, whole, bk.HMC(num_chains=3, chain_method="sharded"), key=0, progress=False)
    refused = ""
except bk.errors.MethodError as error:
    refused = str(error)
found = {
    "devices": jax.device_count(),
    "collective": "all-reduce" in density.lower(spread).compile().as_text(),
    "densities": [float(density(spread)), float(density(alone))],
    "how": [post.attrs["chain_method"] for post in (by_chain, by_row)],
    "refused": refused,
    "observed": by_row["observed_data/y"].values.tolist() == Y.tolist(),
    "draws": [post["posterior/b"].values.ravel().tolist() for post in (by_chain, by_row)],
}
print(json.dumps(found))
