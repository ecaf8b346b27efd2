"""Stochastic gradients: the posterior of all rows from batches, and the bias that is said."""

import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest

import bayeskit as bk

RNG = np.random.default_rng(0)
ROWS = 203  # a batch of 20 does not divide it
X = np.column_stack([np.ones(ROWS), RNG.normal(size=ROWS)])
Y = X @ [0.5, -1.0] + RNG.normal(size=ROWS)
PRECISION = X.T @ X + np.eye(2) / 100
MEAN = np.linalg.solve(PRECISION, X.T @ Y)
SD = np.sqrt(np.diag(np.linalg.inv(PRECISION)))
UNIT = np.sqrt(np.diag(PRECISION))
STIFFNESS = np.linalg.eigvalsh(PRECISION / UNIT[:, None] / UNIT)[-1]
RUN = {"num_chains": 2, "num_warmup": 300, "num_draws": 500, "chain_method": "vectorized"}


def regression(x, y, batch=20):
    b = numpyro.sample("b", dist.Normal(0.0, 10.0).expand([2]).to_event(1))
    with numpyro.plate("row", len(y), subsample_size=batch) as rows:
        numpyro.sample("y", dist.Normal(x[rows] @ b, 1.0), obs=y[rows])


def infer(method, **options):
    return bk.infer(regression, {"x": X, "y": Y, **options}, method, key=0, progress=False)


@pytest.mark.parametrize(
    "method",
    [
        pytest.param(bk.SGLD(**RUN, step_size=0.05, steps_per_draw=40), marks=pytest.mark.full, id="sgld"),
        pytest.param(bk.SGHMC(**RUN), id="sghmc"),
    ],
)
def test_batches_give_the_posterior_of_all_rows(method):
    """To Monte Carlo error (the draws are worth a quarter as many), and 3% of bias of the standard deviation."""
    post = infer(method)
    b = post["posterior/b"].values
    ess = 1000 / 4
    assert np.all(np.abs(b.mean((0, 1)) - MEAN) < 4 * SD / np.sqrt(ess))
    assert np.all(np.abs(b.std((0, 1)) / SD - 1) < 4 / np.sqrt(2 * ess) + 0.03)
    verdict = bk.check(post, quiet=True)
    assert not [finding for finding in verdict.findings if finding.name == "step_size_bias"]
    assert any("bias of the step size" in note for note in verdict.unchecked)
    assert post.attrs["method"] == type(method).__name__


def test_the_excess_of_variance_is_what_it_says_and_is_found():
    r"""By all rows, a normal variance comes out as $1 / (1 - \epsilon / 4)$."""
    whole = infer(bk.SGLD(**RUN, step_size=0.8), batch=ROWS)
    said = float(whole["sample_stats/excess_variance"].mean())
    assert said == pytest.approx(0.2 * STIFFNESS, rel=0.01)
    ratio = (whole["posterior/b"].values.std((0, 1)) / SD) ** 2
    assert np.all(np.abs(ratio - 1 / (1 - 0.2)) < 4 * np.sqrt(2 / 1000) * ratio)
    names = {finding.name: finding.severity for finding in bk.check(whole, quiet=True).findings}
    assert names == {"step_size_bias": "warning"}


@pytest.mark.full
def test_the_noise_of_batches_is_in_the_excess():
    noisy = infer(bk.SGLD(**RUN, step_size=0.2, control_variates=False))
    ratio = (noisy["posterior/b"].values.std((0, 1)) / SD) ** 2 - 1
    said = float(noisy["sample_stats/excess_variance"].mean())
    assert 0.3 < said < 1.5
    assert 0.6 < ratio.mean() / said < 1.6
    names = {finding.name: finding.severity for finding in bk.check(noisy, quiet=True).findings}
    assert names["step_size_bias"] == "error"


def test_what_is_refused():
    def inside(y):
        with numpyro.plate("row", len(y), subsample_size=20) as rows:
            own = numpyro.sample("own", dist.Normal())
            numpyro.sample("y", dist.Normal(own, 1.0), obs=y[rows])

    with pytest.raises(bk.errors.MethodError, match="'own' is inside plate 'row'"):
        bk.infer(inside, {"y": Y}, bk.SGLD(), key=0, progress=False)
    for setting, value in {"step_size": 2.0, "decay": 1.0, "num_warmup": 0, "control_variates": 1}.items():
        with pytest.raises(bk.errors.MethodError, match=setting):
            bk.SGLD(**{setting: value})
    with pytest.raises(bk.errors.MethodError, match="friction"):
        bk.SGHMC(friction=20.0)


def test_the_excess_is_that_of_the_narrowest_direction():
    """The sum of ten coordinates is ten times as stiff as each: its variance comes out far too large."""

    def sum_only(y):
        b = numpyro.sample("b", dist.Normal(0.0, 1.0).expand([10]).to_event(1))
        numpyro.sample("y", dist.Normal(b.sum(), 0.1), obs=y)

    method = bk.SGLD(num_chains=2, num_warmup=300, num_draws=200, step_size=0.2, chain_method="vectorized")
    post = bk.infer(sum_only, {"y": 0.0}, method, key=0, progress=False)
    said = float(post["sample_stats/excess_variance"].mean())
    assert said == pytest.approx(0.2 / 4 * 1001 / 101, rel=0.01)
    exact = 10 / 1001
    assert post["posterior/b"].sum("b_dim_0").values.var() > 1.5 * exact
    assert "step_size_bias" in {finding.name for finding in bk.check(post, quiet=True).findings}


def test_one_noisy_coordinate_is_not_hidden_by_quiet_ones():
    r"""The gradient of a mean of n rows by b of them has variance n / b (1 - b / n) v in units of the scale.

    Here v is the variance of the rows; twenty other coordinates have no data, and so no noise.
    """

    def mean_among_others(y):
        numpyro.sample("other", dist.Normal(0.0, 1.0).expand([20]).to_event(1))
        mean = numpyro.sample("mean", dist.Normal(0.0, 10.0))
        with numpyro.plate("row", len(y), subsample_size=10) as rows:
            numpyro.sample("y", dist.Normal(mean, 1.0), obs=y[rows])

    method = bk.SGLD(
        num_chains=2, num_warmup=100, num_draws=100, step_size=0.02, steps_per_draw=2, control_variates=False
    )
    post = bk.infer(mean_among_others, {"y": Y}, method, key=0, progress=False)
    noise = ROWS / 10 * (1 - 10 / ROWS) * Y.var(ddof=1)
    said = post["sample_stats/excess_variance"].values[:, -1]
    # the variance estimated from 164 pairs of batches, whose differences are nearly normal, and where chains are
    assert np.all(np.abs(said / (0.02 / 4 * (1 + noise)) - 1) < 4 * np.sqrt(2 / 164))
    assert "step_size_bias" in {finding.name for finding in bk.check(post, quiet=True).findings}
