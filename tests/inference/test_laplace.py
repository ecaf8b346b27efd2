"""The Laplace approximation as a method: evidence, modes, and what has none."""

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest
from numpyro.distributions import constraints
from scipy import stats

import bayeskit as bk


def infer(model, method, data=None, key=0, **options):
    return bk.infer(model, data, method, key=key, progress=False, **options)


def skewed(shape):
    """A Gamma variable; the factor is the constant that makes the evidence one."""
    numpyro.sample("x", dist.Gamma(shape, 1.0).expand([2]).to_event(1))
    numpyro.factor("nothing", 0.0)


def test_evidence_is_stirlings_formula_and_the_verdict_sees_the_skew():
    r"""In $z = \log x$, the mode is $\log a$ and $H = a$: each evidence is $\sqrt{2\pi/a} (a/e)^a / \Gamma(a)$."""
    shape = 50.0
    post = infer(skewed, bk.Laplace(), {"shape": np.array(shape)})
    log_gamma = stats.gamma(shape).logpdf(1.0) + 1.0  # minus log Γ
    expected = 0.5 * np.log(2 * np.pi / shape) + shape * (np.log(shape) - 1.0) + log_gamma
    assert abs(post.attrs["log_evidence"] - 2 * expected) < 1e-6
    assert (post.attrs["num_modes"], post.attrs["mode_share"], post.attrs["num_starts_failed"]) == (1, 1.0, 0)
    assert post.attrs["hessian_condition"] == pytest.approx(1.0, abs=1e-4)
    log_x = np.log(post["posterior/x"].values)
    assert np.all(np.abs(log_x.mean((0, 1)) - np.log(shape)) < 4 / np.sqrt(shape * 1000))
    assert bk.check(post, quiet=True).ok
    rough = infer(skewed, bk.Laplace(), {"shape": np.array(0.4)})
    assert not bk.check(rough, quiet=True).ok


def two_modes(share):
    x = numpyro.sample("x", dist.ImproperUniform(constraints.real_vector, (), (2,)))
    low, high = dist.Normal(-4.0, 1.0).log_prob(x[0]), dist.Normal(4.0, 1.0).log_prob(x[0])
    numpyro.factor("f", jnp.logaddexp(jnp.log1p(-share) + low, jnp.log(share) + high) + dist.Normal().log_prob(x[1]))


def test_another_mode_is_told():
    post = infer(two_modes, bk.Laplace(), {"share": np.array(0.3)})
    assert post.attrs["num_modes"] == 2
    assert post.attrs["mode_share"] == pytest.approx(0.7, abs=1e-3)
    assert post["posterior/x"].values[..., 0].max() < 0
    assert [finding.name for finding in bk.check(post, quiet=True).findings] == ["other_modes"]


def ridge(y, tight):
    """What is known is the sum; the difference has a prior that is `tight`."""
    x = numpyro.sample("x", dist.Normal(0.0, tight).expand([2]).to_event(1))
    numpyro.sample("y", dist.Normal(x.sum(), 1e-3), obs=y)


def test_a_flat_direction_is_told():
    flat = infer(ridge, bk.Laplace(num_starts=1), {"y": np.array(1.0), "tight": np.array(2.2e4)})
    assert flat.attrs["hessian_condition"] > 0.1 / (2 * np.finfo(float).eps)
    assert "flat_direction" in [finding.name for finding in bk.check(flat, quiet=True).findings]
    steep = infer(ridge, bk.Laplace(num_starts=1), {"y": np.array(1.0), "tight": np.array(1.0)})
    assert bk.check(steep, quiet=True).ok


def saddle():
    x = numpyro.sample("x", dist.ImproperUniform(constraints.real_vector, (), (2,)))
    numpyro.factor("f", x[0] ** 2 - x[1] ** 2)


def large():
    numpyro.sample("x", dist.Normal().expand([6000]).to_event(1))
    numpyro.factor("nothing", 0.0)


def test_what_has_no_mode_is_refused():
    with pytest.raises(bk.errors.ModelError, match=r"none of 2 searches .* site 'x'"):
        infer(saddle, bk.Laplace(num_starts=2, max_iterations=5))
    with pytest.raises(bk.errors.ModelError, match=r"6000 unconstrained .* bayeskit.Pathfinder"):
        infer(large, bk.Laplace())
    for setting, value in {"num_starts": 0, "max_iterations": 1.5, "num_draws": -1, "chain_method": "no"}.items():
        with pytest.raises(bk.errors.MethodError, match=setting):
            bk.Laplace(**{setting: value})


@jax.custom_vjp
def square(x):
    return x**2


square.defvjp(lambda x: (x**2, x), lambda x, slope: (2 * x * slope,))


@jax.custom_vjp
def once(x):
    """A third of the cube, whose gradient JAX cannot differentiate forwards, as that of an ODE's adjoint."""
    return x**3 / 3


once.defvjp(lambda x: (once(x), x), lambda x, slope: (square(x) * slope,))


def test_what_cannot_be_differentiated_twice_is_named():
    def model():
        numpyro.factor("f", -once(numpyro.sample("x", dist.Normal())))

    with pytest.raises(bk.errors.ModelError, match=r"second derivatives .* bayeskit.Pathfinder"):
        infer(model, bk.Laplace(num_starts=1))
