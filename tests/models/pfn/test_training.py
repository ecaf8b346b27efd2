"""Training: the same again after an interruption, and what it refuses."""

import os
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest

import bayeskit as bk
from bayeskit.errors import MethodError, ModelError, StorageError
from bayeskit.models import pfn
from bayeskit.models.pfn.training import seconds_of
from bayeskit.train.training import no_training

from .conftest import PROCESS, SMALL, classes


def no_y():
    numpyro.sample("x", dist.Normal(0.0, 1.0).expand([5]))


def with_argument(num):
    numpyro.sample("x", dist.Normal(0.0, 1.0).expand([num]))


def broken():
    scale = numpyro.sample("scale", dist.Normal(0.0, 1.0))
    root = numpyro.deterministic("root", jnp.sqrt(scale))
    with numpyro.plate("rows", 5):
        numpyro.sample("x", dist.Normal(0.0, 1.0))
        numpyro.sample("y", dist.Normal(root, 1.0))


def missing_inputs():
    with numpyro.plate("rows", 5):
        x = numpyro.sample("z", dist.Normal(0.0, 1.0))
        numpyro.deterministic("x", jnp.where(x > 1.0, jnp.nan, x))
        numpyro.sample("y", dist.Normal(x, 1.0))


def counts():
    with numpyro.plate("rows", 5):
        numpyro.sample("x", dist.Normal(0.0, 1.0))
        numpyro.sample("y", dist.Poisson(3.0))


def shapes():
    numpyro.sample("x", dist.Normal(0.0, 1.0).expand([5, 2]))
    numpyro.sample("y", dist.Normal(0.0, 1.0).expand([4]))


def few_values():
    with numpyro.plate("rows", 5):
        numpyro.sample("x", dist.Normal(0.0, 1.0))
        z = numpyro.sample("z", dist.Bernoulli(0.5))
        numpyro.sample("y", dist.Delta(z.astype(float)))


@pytest.mark.parametrize("prior", [PROCESS, pytest.param(classes, marks=pytest.mark.full)], ids=["numbers", "classes"])
def test_a_training_goes_on_as_if_it_had_not_been_interrupted(prior, tmp_path, monkeypatch):
    settings = {**SMALL, "num_layers": 1, "num_steps": 75, "key": 3, **({"num_bars": 8} if prior is PROCESS else {})}
    whole = pfn.train(prior, **settings)
    path, saved = tmp_path / "training.nc", []

    def stop(thing, where):
        bk.save(thing, where)
        saved.append(thing)
        if len(saved) == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr("bayeskit.models.pfn.training.save", stop)
    with pytest.raises(KeyboardInterrupt):
        pfn.train(prior, checkpoint=path, **settings)
    monkeypatch.undo()
    again = pfn.resume(prior, path, progress=False)
    np.testing.assert_array_equal(again.training.losses, whole.training.losses)
    np.testing.assert_array_equal(again.network.layers[0].up, whole.network.layers[0].up)
    with pytest.raises(ModelError, match=r"is of the prior '.*' with other source or settings; resume needs the same"):
        pfn.resume(missing_inputs, path)


@pytest.mark.parametrize(
    "prior", ["Ridge(num_rows=8, num_features=1)", pytest.param("GP(num_rows=33)", marks=pytest.mark.full)]
)
def test_several_devices_share_a_batch(prior, tmp_path):
    """In a process of its own, in which JAX has two devices: the same losses, so the same gradients, to rounding.

    The second prior has as many factorisations at a time as are divided among threads, which would wait for one another
    for ever.
    """
    program = (
        "from bayeskit.models import pfn; import numpy as np; "
        f"net = pfn.train(pfn.priors.{prior}, num_steps=25, width=8, num_layers=1, num_heads=2, batch_size=64, "
        f"num_bars=8, key=0, progress=False); np.save({str(tmp_path / 'losses.npy')!r}, net.training.losses)"
    )
    flags = f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count=2"
    around = {**os.environ, "XLA_FLAGS": flags, "JAX_ENABLE_X64": str(jax.config.jax_enable_x64)}
    subprocess.run([sys.executable, "-c", program], env=around, check=True, timeout=300)
    sizes = {"width": 8, "num_layers": 1, "num_heads": 2, "batch_size": 64, "num_bars": 8}
    alone = pfn.train(eval(f"pfn.priors.{prior}"), num_steps=25, key=0, progress=False, **sizes)
    np.testing.assert_allclose(np.load(tmp_path / "losses.npy"), alone.training.losses, rtol=1e-4)


def test_no_checkpoint_no_resume(tmp_path):
    path = bk.save(no_training(), tmp_path / "training.nc")
    with pytest.raises(StorageError, match=r"holds Training, and not a checkpoint of pfn\.train"):
        pfn.resume(PROCESS, path)


def test_a_budget_ends_it(capsys):
    net = pfn.train(PROCESS, budget="1s", key=0, num_bars=8, **{**SMALL, "progress": True})
    assert net.training.stopped.value == "the time is used up"
    assert len(net.training.losses) % 25 == 0
    assert "gap" in capsys.readouterr().out


@pytest.mark.full
def test_missing_inputs_are_learned_where_they_are_said_to_be():
    net = pfn.train(missing_inputs, num_steps=25, missing=True, head="mixture", precision="bfloat16", key=0, **SMALL)
    law = net.predict([np.nan, 0.5], [1.0, 0.4], [np.nan, 0.1])
    assert np.isfinite(law.mean).all()
    assert np.isfinite(law.icdf(0.9)).all()
    assert np.isfinite(net.training.losses).all()


@pytest.mark.parametrize(
    ("prior", "message"),
    [
        (
            no_y,
            "the prior 'no_y' has no site 'y'; it must draw the inputs of a data set at 'x' and its outputs at 'y'; it "
            "has x",
        ),
        (
            shapes,
            "site 'x' must have shape (rows,) or (rows, features) and site 'y' shape (rows,); the prior 'shapes' draws "
            "(5, 2) and (4,)",
        ),
        (
            counts,
            "site 'y' is drawn from Poisson, which has infinitely many values; a network predicts real numbers or a "
            "few classes",
        ),
        (3.0, "a prior is a NumPyro model, a function that draws sites 'x' and 'y'; got 3.0"),
    ],
)
def test_priors_that_cannot_be_learned_are_refused(prior, message):
    with pytest.raises(ModelError) as error:
        pfn.train(prior, num_steps=5, key=0, **SMALL)
    assert str(error.value) == message


@pytest.mark.parametrize(
    ("prior", "pattern"),
    [
        (
            broken,
            r"draws numbers at site 'y' that are not finite, in \d+% of its data sets; the first such site is 'root'",
        ),
        (
            missing_inputs,
            "at site 'x' that are not finite, in .*; if NaN stands for a missing input, pass missing=True",
        ),
        (few_values, "site 'y' of the prior 'few_values': the draws have too few different values for 256 bars"),
        (with_argument, "the prior 'with_argument': "),
    ],
)
def test_what_a_prior_draws_is_looked_at(prior, pattern):
    with pytest.raises(bk.errors.BayeskitError, match=pattern):
        pfn.train(prior, num_steps=5, key=0, **SMALL)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"num_steps": None}, "give a budget such as budget='60s', or num_steps="),
        ({"num_steps": 0}, "num_steps must be a positive integer, got 0"),
        ({"budget": "soon"}, "budget must be a positive time such as 60, '90s', '5min' or '1h', got 'soon'"),
        ({"budget": -1}, "budget must be a positive time such as 60, '90s', '5min' or '1h', got -1"),
        ({"num_heads": 3}, "num_heads must be a divisor of width=16, got 3"),
        ({"num_bars": 2}, "num_bars must be at least 3, got 2"),
        ({"head": "classes"}, "the prior 'GP' draws real numbers at 'y', so head must be 'histogram' or 'mixture'"),
        ({"precision": "float16"}, "precision must be one of 'float32', 'bfloat16', got 'float16'"),
        ({"learning_rate": 2.0}, "learning_rate must be a number between 0 and 1, got 2.0"),
    ],
)
def test_impossible_settings_are_refused(settings, message):
    with pytest.raises(MethodError) as error:
        pfn.train(PROCESS, **{"num_steps": 5, "key": 0, **SMALL, **settings})
    assert str(error.value).startswith(message)


def test_budgets_have_units():
    assert [seconds_of(one) for one in (2, "90s", "1.5min", "1h", " 3 min ")] == [2.0, 90.0, 90.0, 3600.0, 180.0]
