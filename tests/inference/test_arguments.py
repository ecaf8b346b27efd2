"""Arguments that are nearly right: accepted where there is no doubt, refused by their name where there is."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest

import bayeskit as bk
from bayeskit.numerics.mode import find_mode, reason

Y = np.array([0.3, -0.2, 0.9, 1.4])


def mean(y, seen=None):
    mu = numpyro.sample("mu", dist.Normal(0.0, 1.0))
    with numpyro.plate("row", len(y)), numpyro.handlers.mask(mask=True if seen is None else seen):
        numpyro.sample("y", dist.Normal(mu, 1.0), obs=y)


SHORT = bk.HMC(num_chains=2, num_warmup=20, num_draws=20, chain_method="vectorized")


def test_integers_of_numpy_and_jax_are_integers(tmp_path):
    numbers = bk.HMC(
        num_chains=np.int64(2), num_warmup=jnp.asarray(20), num_draws=np.int32(20), chain_method="vectorized"
    )
    assert numbers == SHORT
    assert hash(numbers) == hash(SHORT)
    assert type(numbers.num_draws) is int
    store = tmp_path / "run.zarr"
    post = bk.infer(mean, {"y": Y}, numbers, key=np.int64(0), progress=False, thin=np.int64(2), store=store)
    assert post["posterior/mu"].shape == (2, 10)
    more = bk.extend(mean, {"y": Y}, store, num_draws=np.int16(4), progress=False)
    assert more["posterior/mu"].shape == (2, 12)
    assert bk.predict(mean, {"y": Y}, key=0, num_draws=np.int64(5))["prior/mu"].shape == (1, 5)
    assert bk.SMC(num_particles=np.int64(50)) == bk.SMC(num_particles=50)


@pytest.mark.parametrize("wrong", [True, np.True_, 20.0, np.float64(20), "20", np.array([20])])
def test_what_is_no_integer_is_refused(wrong):
    with pytest.raises(bk.errors.MethodError, match="num_draws"):
        bk.NUTS(num_draws=wrong)


def test_resume_says_which_argument_is_which(tmp_path):
    store = tmp_path / "run.zarr"
    for call in (bk.resume, lambda *args: bk.extend(*args, num_draws=3)):
        with pytest.raises(bk.errors.DataError, match=r"model is .*run.zarr', a path; .* \(model, data, path\)"):
            call(store, mean, {"y": Y})
        with pytest.raises(bk.errors.DataError, match=r"data is .* a path"):
            call(mean, str(store), {"y": Y})
        with pytest.raises(bk.errors.DataError, match="path is a dict"):
            call(mean, None, {"y": Y})


def test_resume_of_a_finished_file_says_how_to_read_it(tmp_path):
    path = tmp_path / "run.nc"
    post = bk.infer(mean, {"y": Y}, SHORT, key=0, progress=False, store=path)
    with pytest.raises(bk.errors.StorageError, match=r"has ended, in one file: .*bayeskit.load\('.*run.nc'\) reads it"):
        bk.resume(mean, {"y": Y}, path, progress=False)
    assert bk.load(path).identical(post)


def test_results_with_other_masks_are_not_compared():
    def fit(seen, **options):
        seen = np.array(seen)
        post = bk.infer(mean, {"y": Y, "seen": seen}, SHORT, key=0, progress=False, **options)
        return post if options else bk.log_likelihood(mean, {"y": Y, "seen": seen}, post)

    first, second = fit([True, True, False, True], log_likelihood=True), fit([True, False, True, True])
    with pytest.raises(bk.errors.DataError, match="'first' and 'second' have masked different observations"):
        bk.compare({"first": first, "second": second})
    assert list(bk.compare({"a": first, "b": first}).index) == ["a", "b"]


def test_a_search_that_is_taken_out_of_several_says_why_it_ended():
    found = jax.jit(jax.vmap(lambda start: find_mode(lambda z: -jnp.sum(z**2), start)))(jnp.ones((2, 3)))
    one = jax.tree.map(lambda leaf: np.asarray(leaf)[0], found)
    assert reason(one.status) == ""
    late = jax.jit(jax.vmap(lambda start: find_mode(lambda z: -jnp.sum(jnp.cosh(z)), start, newton_steps=1)))
    one = jax.tree.map(lambda leaf: np.asarray(leaf)[0], late(5 * jnp.ones((2, 3))))
    assert reason(one.status).startswith("the maximum number of steps was reached")
