"""The fault of XLA that makes sums of products wrong, in processes of their own."""

import itertools
import os
import subprocess
import sys

import pytest

EXPECTATION = """
import warnings, jax, numpyro, numpyro.distributions as dist, bayeskit as bk
from bayeskit.xla.miscompilation import is_faulty, safe_options
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    for _ in range(2):
        bk.expectation(lambda: bk.draw(lambda: numpyro.sample("x", dist.Normal(0.0, 1.0)))[0]["x"])(0)
print(is_faulty(), sum("XLA_FLAGS" in str(w.message) for w in caught))
"""
OPTIONS = """
import jax, jax.numpy as jnp, numpy as np
from bayeskit.xla.miscompilation import _SHAPE, _TABLE, safe_options
p = np.arange(8, dtype=np.float32)
f = lambda p: jnp.sum(jnp.broadcast_to(_TABLE, _SHAPE) * jnp.broadcast_to(p[None, :, None, None, None], _SHAPE), -1)
found = jax.jit(f, compiler_options=safe_options() or None)(p)
print(bool(np.allclose(found, np.broadcast_to(p[None, :, None, None] * _TABLE.sum(-1), _SHAPE[:-1]))))
"""
VI = """
import warnings, numpyro, numpyro.distributions as dist, bayeskit as bk
def model():
    z = numpyro.sample("z", dist.Normal(0.0, 1.0))
    numpyro.sample("x", dist.Normal(z, 1.0), obs=1.2)
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    bk.infer(model, None, bk.VI(num_steps=20, num_draws=20), key=0, progress=False)
print(sum("XLA_FLAGS" in str(w.message) for w in caught))
"""

SHIELD = """
import jax, jax.numpy as jnp, numpy as np
from bayeskit.xla.miscompilation import _SHAPE, _TABLE, safe_jit
p = np.arange(8, dtype=np.float32)
f = lambda p: jnp.sum(jnp.broadcast_to(_TABLE, _SHAPE) * jnp.broadcast_to(p[None, :, None, None, None], _SHAPE), -1)
right = np.broadcast_to(p[None, :, None, None] * _TABLE.sum(-1), _SHAPE[:-1])
safe = safe_jit(f)
nested = jax.jit(lambda p: safe(p), compiler_options=None).lower(p)  # options may not be given inside of a trace
gradient = jax.grad(lambda p: safe(p).sum())(p)
print(bool(np.allclose(safe(p), right)), nested.compile() is not None, gradient.shape == p.shape)
"""


def run(script: str, flags: str) -> list[str]:
    settings = {name: value for name, value in os.environ.items() if name != "XLA_FLAGS"}
    done = subprocess.run(
        [sys.executable, "-c", script], env={**settings, "XLA_FLAGS": flags}, capture_output=True, text=True, check=True
    )
    return done.stdout.split()


@pytest.fixture(scope="module")
def without_the_flag():
    """What the scripts say in one process; the last is that which may warn."""
    scripts = {"fit": VI, "option": OPTIONS, "shield": SHIELD, "expectation": EXPECTATION}
    said = run("\n".join(f"print({name!r})\n{script}" for name, script in scripts.items()), "")
    places = [*map(said.index, scripts), len(said)]
    return {said[i]: said[i + 1 : j] for i, j in itertools.pairwise(places)}


def test_a_faulty_compiler_is_told_of_once(without_the_flag):
    faulty, warnings = without_the_flag["expectation"]
    assert warnings == ("1" if faulty == "True" else "0")


def test_the_flag_cures_it():
    assert run(EXPECTATION, "--xla_cpu_experimental_ynn_fusion_type=") == ["False", "0"]


@pytest.mark.smoke
def test_the_option_cures_it(without_the_flag):
    assert without_the_flag["option"] == ["True"]


def test_fits_are_compiled_with_the_option_and_do_not_warn(without_the_flag):
    assert without_the_flag["fit"] == ["0"]


def test_a_shielded_function_is_right_and_can_be_traced(without_the_flag):
    assert without_the_flag["shield"] == ["True", "True", "True"]
