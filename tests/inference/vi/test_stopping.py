"""The stopping rule, and what the verdict says of the optimisation and of several fits."""

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest

import bayeskit as bk
from bayeskit.inference.vi.fit import stopping

LANDING = bk.objectives.ELBO(8, sticking_the_landing=True)


def stop_step(losses, tolerance=0.1):
    """The step after which the rule stops, or None."""
    num_steps = len(losses)

    def one(carry, step_and_loss):
        step, loss = step_and_loss
        carry = stopping.record(carry, loss, step, num_steps, tolerance)
        return carry, (carry.stopped, carry.share)

    steps = jnp.arange(num_steps)
    scan = jax.jit(lambda losses: jax.lax.scan(one, stopping.no_windows(jnp.zeros(())), (steps, losses)))
    _, (stopped, share) = scan(losses)
    where = np.flatnonzero(stopped)
    return (int(where[0]) + 1 if len(where) else None), np.asarray(share)


def test_a_flat_loss_stops_after_two_windows_at_each_of_two_step_sizes():
    step, share = stop_step(np.full(4000, 3.0))
    assert step == 400
    assert share[199] == 0.25
    assert share[198] == 1.0


def test_a_loss_that_falls_goes_on():
    falling = -0.11 * np.arange(4000) / 100  # by 0.11 a window
    assert stop_step(falling)[0] is None
    assert stop_step(falling / 4)[0] == 400


def test_a_smaller_step_size_that_helps_is_kept():
    """The loss has a floor that falls with the step size, as noise in the parameters makes it."""
    floor = np.repeat([4.0, 1.0, 0.25, 0.2, 0.2], [200, 200, 200, 200, 3200])
    assert stop_step(floor)[0] == 800


def test_a_loss_too_noisy_to_tell_does_not_stop():
    noise = np.random.default_rng(0).normal(size=4000)
    assert stop_step(3 * noise)[0] is None
    assert stop_step(0.1 * noise)[0] == 400


def test_losses_that_are_not_finite_count_for_nothing():
    losses = np.full(4000, 3.0)
    losses[::7] = np.nan
    assert stop_step(losses)[0] == 400


def test_windows_cover_any_number_of_steps():
    steps = jnp.arange(1037)
    index = stopping.window_of(steps, 1037)
    assert index[0] == 0
    assert index[-1] == 39
    first = stopping.first_step(index, 1037)
    assert (first <= steps).all()
    assert (steps - first < 27).all()
    assert set(np.asarray(steps[steps == first])) == set(np.flatnonzero(np.diff(np.r_[-1, np.asarray(index)])))


def gaussian():
    numpyro.sample("z", dist.MultivariateNormal(jnp.array([0.5, -1.0]), jnp.array([[1.0, 0.9], [0.9, 2.0]])))
    numpyro.factor("nothing", 0.0)


@pytest.mark.parametrize("how", [pytest.param("threads", marks=pytest.mark.full), "vectorized"])
def test_a_fit_stops_and_is_right(how):
    method = bk.VI(
        guide=bk.guides.FullRank(),
        objective=LANDING,
        num_steps=4000,
        tolerance=0.02,
        num_chains=2,
        num_draws=1000,
        chain_method=how,
    )
    post = bk.infer(gaussian, None, method, key=0, progress=False)
    loss = post["warmup_sample_stats/loss"].values
    taken = np.isfinite(loss).sum(axis=1)
    assert np.all((taken >= 400) & (taken < 2000))
    assert np.all(taken % 100 == 0)
    for chain in range(2):  # NaN after the last step, and only there
        assert np.isfinite(loss[chain, : taken[chain]]).all()
    assert post["sample_stats/converged"].values.all()
    assert np.abs(post["sample_stats/log_weight"]).max() < 0.1
    verdict = bk.check(post, quiet=True)
    assert verdict.findings == ()


def test_a_fit_that_does_not_stop_is_called_so():
    method = bk.VI(objective=LANDING, num_steps=1000, tolerance=0.1, learning_rate=1e-3, num_draws=200)
    post = bk.infer(gaussian, None, method, key=0, progress=False, init={"z": [30.0, 30.0]})
    assert not post["sample_stats/converged"].values.any()
    verdict = bk.check(post, quiet=True)
    (finding,) = [finding for finding in verdict.findings if finding.name == "not_converged"]
    assert finding.severity == "error"
    assert "num_steps" in finding.advice
    assert not verdict.ok


def test_a_loss_that_still_falls_is_warned_of():
    """Without a rule as well: the units are such that the default does not arrive."""

    def far():
        numpyro.sample("z", dist.Normal(1000.0, 10.0))
        numpyro.factor("nothing", 0.0)

    post = bk.infer(far, None, bk.VI(num_steps=1000), key=0, progress=False)
    findings = {finding.name: finding.severity for finding in bk.check(post, quiet=True).findings}
    assert findings["not_converged"] == "warning"
    assert findings["pareto_k"] == "error"


def test_fits_in_different_modes_disagree():
    def bimodal():
        normals = dist.Normal(jnp.array([-4.0, 4.0]), jnp.array([1.0, 0.5]))
        numpyro.sample("x", dist.MixtureSameFamily(dist.Categorical(jnp.array([0.05, 0.95])), normals))
        numpyro.factor("nothing", 0.0)

    method = bk.VI(guide=bk.guides.Laplace(), num_steps=0, num_chains=2)
    start = {"x": np.array([-4.0, 4.0])}
    post = bk.infer(bimodal, None, method, key=0, progress=False, init=start)
    verdict = bk.check(post, quiet=True)
    assert [finding.name for finding in verdict.findings] == ["fits_disagree"]
    (finding,) = verdict.findings
    assert "-3.00, -0.05" in finding.meaning  # the logs of the weights of the modes
    assert "post.sel(chain=[1])" in finding.advice
    assert finding.sites == ("x",)
    assert bk.check(post.sel(chain=[1]), quiet=True).ok


@pytest.mark.parametrize(
    ("settings", "match"),
    [
        ({"tolerance": 0.0}, "tolerance"),
        ({"tolerance": 0.1, "num_steps": 500}, "num_steps must be at least 1000 for a tolerance"),
        ({"num_steps": 0}, "a positive integer .0 with bayeskit.guides.Laplace"),
        ({"num_steps": -1, "guide": bk.guides.Laplace()}, "num_steps"),
    ],
)
def test_impossible_settings_are_named(settings, match):
    with pytest.raises(bk.errors.MethodError, match=match):
        bk.VI(**settings)
