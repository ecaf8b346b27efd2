"""Settings of the test process. They must be made before JAX is imported.

* float64, so that a comparison with a closed form is limited by the mathematics and not by rounding. A test of float32
  asks for it with ``jax.enable_x64(False)``.
* compiled programs are kept in ``.cache/jax`` of the repository: the second run of the tests hardly compiles.
* the array shapes in bayeskit's signatures are checked at every call (jaxtyping with beartype).
* XLA's use of YNNPACK is off: it makes some sums of products wrong (`bayeskit.xla.miscompilation`).
* XLA's multi-threaded Eigen loops are off: several programs at once can exhaust its thread pool and wait forever.
* XLA compiles quickly and not well, which halves the time of the tests: they run thousands of programs, once each. With
  ``XLA_FLAGS=--xla_backend_optimization_level=3`` it compiles as it does for users.
"""

from __future__ import annotations

import os
from importlib.metadata import version
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

flags = os.environ.get("XLA_FLAGS", "")
if "xla_cpu_multi_thread_eigen" not in flags:
    flags = f"{flags} --xla_cpu_multi_thread_eigen=false".strip()
if "ynn_fusion" not in flags:
    flags += " --xla_cpu_experimental_ynn_fusion_type="
if "xla_backend_optimization_level" not in flags:
    flags += " --xla_backend_optimization_level=0"
    if version("jax").startswith("0.10."):  # later versions do not know it, and stop
        flags += " --xla_cpu_use_fusion_emitters=false"
os.environ["XLA_FLAGS"] = flags
os.environ.setdefault("PJRT_NPROC", "16")  # factorisations wait on XLA's workers: more workers than waiting programs
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(ROOT / ".cache" / "jax"))
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES", "0")
os.environ.setdefault("MPLBACKEND", "Agg")

import jax

jax.config.update("jax_enable_x64", True)

if os.environ.get("BAYESKIT_RUNTIME_TYPES", "1") == "1":
    from jaxtyping import install_import_hook

    install_import_hook("bayeskit", "beartype.beartype")
