"""The command as a process of its own: quick to start, its settings, Ctrl-C and going on."""

from __future__ import annotations

import ast
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

import bayeskit as bk
from bayeskit.xla.kept_programs import folder_of_programs

COMMAND = [sys.executable, "-m", "bayeskit"]


def test_help_does_not_import_jax(folder):
    """Which is what makes it quick; `benchmarks/imports.py` has the seconds."""
    program = "import runpy, sys; sys.argv = ['bayeskit', '--help']\n"
    program += "try: runpy.run_module('bayeskit', run_name='__main__')\n"
    program += "finally: print(sorted({name.partition('.')[0] for name in sys.modules}))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert "Usage" in done.stdout
    imported = set(ast.literal_eval(done.stdout.splitlines()[-1]))
    assert "typer" in imported
    slow = {
        "jax",
        "jaxlib",
        "numpyro",
        "xarray",
        "arviz_base",
        "arviz_stats",
        "matplotlib",
        "pandas",
        "scipy",
        "blackjax",
    }
    assert not imported & slow


def test_settings_of_the_process(monkeypatch, tmp_path):
    program = (
        "import os; from bayeskit.cli.process import prepare_process, set_precision; prepare_process();"
        "print(os.environ['XLA_FLAGS']); print(os.environ['JAX_COMPILATION_CACHE_DIR']); print(set_precision(None));"
        "import jax.numpy as jnp; print(jnp.zeros(()).dtype); print(set_precision(True), jnp.zeros(()).dtype)"
    )
    for name in ("JAX_COMPILATION_CACHE_DIR", "JAX_ENABLE_X64"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("XLA_FLAGS", "--xla_force_host_platform_device_count=1")
    monkeypatch.setenv("JAX_PLATFORMS", "cpu")
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    flags, cache, *precision = done.stdout.splitlines()
    assert "--xla_force_host_platform_device_count=1" in flags
    assert "--xla_cpu_multi_thread_eigen=false" in flags
    assert cache == str(folder_of_programs())
    assert cache.startswith(str(tmp_path / "bayeskit" / "xla"))
    assert precision == ["float64", "float64", "float32 float32"]


@pytest.mark.skipif(os.name == "nt", reason="signals")
def test_interrupted_and_resumed(folder, invoke):
    words = ["run", "line.toml", "--num-chains", "2", "--num-warmup", "200", "--num-draws", "15000", "--no-progress"]
    process = subprocess.Popen([*COMMAND, *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    partial = folder / "line.zarr.partial"
    deadline = time.monotonic() + 120
    while not list(partial.glob("sample_stats/lp/0.*")) and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.05)
    assert process.poll() is None, process.communicate()
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=120)
    assert process.returncode == 130, stderr
    assert "interrupted" in stderr
    assert "--resume" in stderr
    assert "Traceback" not in stderr
    assert partial.is_dir()
    assert not (folder / "line.zarr").exists()

    refused = invoke(*words)
    assert refused.exit_code == 2
    assert "--resume" in refused.output

    kept = bk.load(partial)["posterior/slope"].values
    done = invoke(*words, "--resume")
    assert done.exit_code in (0, 3), done.output  # 3: so many draws may hold a divergence
    assert not partial.exists()
    resumed = bk.load("line.zarr")["posterior/slope"].values
    assert resumed.shape == (2, 15_000)
    np.testing.assert_array_equal(resumed[:, : kept.shape[1]], kept)
