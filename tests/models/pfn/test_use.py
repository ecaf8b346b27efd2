"""A network held against its prior and against NUTS, in `infer`, and as an estimator."""

import jax
import matplotlib.pyplot as plt
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest

import bayeskit as bk
from bayeskit.errors import DataError, MethodError, ModelError
from bayeskit.models import pfn
from bayeskit.models.pfn.by_nuts import log_predictive
from bayeskit.models.pfn.checking import Calibration
from bayeskit.models.pfn.prior import Prior

from .conftest import PROCESS, classes

NUTS = bk.NUTS(num_chains=1, num_warmup=100, num_draws=300)


@pytest.mark.parametrize(
    "prior",
    [pytest.param(pfn.priors.Ridge(num_rows=8, num_features=1), marks=pytest.mark.full), PROCESS],
    ids=["rows", "process"],
)
def test_nuts_on_the_prior_is_its_posterior_predictive(prior):
    """A process has no latent site, so one is added that it does not depend on."""

    def model():
        numpyro.sample("unused", dist.Normal(0.0, 1.0))
        prior()

    x, y = (np.asarray(one)[0] for one in Prior(prior).draw(jax.random.key(1), 1))
    found = log_predictive(model, x, y, 5, NUTS, 0)
    exact = np.asarray(prior.exact(x, y, np.arange(len(y)) < 5, x).log_prob(y))[5:]
    np.testing.assert_allclose(found, exact, atol=0.1)


def test_it_comes_near_to_the_exact_posterior_predictive(net):
    """With all rows shown the prior itself is 1.2 nats above it; 400 steps of a tiny network bring that to 0.1."""
    found = pfn.check(net, PROCESS, num_sets=256)
    assert found.gap.max() < 0.2
    assert (found.gap > -4 * found.gap_error).all()
    assert found.ok
    assert (np.abs(found.held - 0.95) < 0.03 + 4 * found.held_error).all()
    assert bk.check(net, quiet=True).num_steps == 400


def test_a_check_says_what_is_wrong(net):
    good = pfn.check(net, PROCESS, num_sets=64, sizes=[6])
    assert good.table.index.tolist() == [6]
    assert good.against == "the exact posterior predictive"
    assert good.table.columns.tolist() == ["nll", "nll_error", "held", "held_error", "gap", "gap_error"]
    bad = Calibration(
        np.array([0, 4]),
        *np.array([[1.0, 1.0], [0.1, 0.1], [0.95, 0.80], [0.01, 0.02], [0.0, 0.4], [0.01, 0.02]]),
        pit=np.linspace(0, 1, 50),
        calibration_error=float("nan"),
        against="the exact posterior predictive",
    )
    assert bad.findings == [
        "intervals of 95% hold 80.0% of the outputs with 4 rows",
        "the loss is 0.400 nats above the exact posterior predictive with 4 rows",
    ]
    assert not bad.ok
    assert repr(bad).startswith("NOT OK: intervals of 95%")
    ax = bad.plot()
    assert ax.get_xlabel() == "share of the predictive distribution below the output"
    plt.close(ax.figure)


def test_classes_are_checked_by_their_frequencies(class_net):
    found = pfn.check(class_net, classes, num_sets=64, nuts=NUTS, num_nuts=2, sizes=[4])
    assert found.against == "NUTS"
    assert np.isfinite(found.gap).all()
    assert np.isnan(found.held).all()
    assert 0 < found.calibration_error < 0.3
    ax = found.plot()
    assert ax.get_xlabel() == "probability of the most probable class"
    plt.close(ax.figure)


def test_classes_that_are_not_known_are_refused(class_net):
    law = class_net.predict([[0.0, 1.0]], [2], [[1.0, 1.0], [0.5, 0.0]])
    np.testing.assert_allclose(law.probs.sum(axis=-1), 1.0, rtol=1e-5)
    with pytest.raises(DataError) as error:
        class_net.predict([[0.0, 1.0]], [3], [[1.0, 1.0]])
    assert str(error.value) == "y has the classes [3.0]; the network knows 0 to 2"


def test_a_check_needs_the_prior_of_the_network(net):
    with pytest.raises(MethodError, match="trained on the prior 'GP', not on this 'classes'"):
        pfn.check(net, classes)
    with pytest.raises(MethodError, match=r"sizes must be integers from 0 to 11, got \[12\]"):
        pfn.check(net, PROCESS, sizes=[12])


def test_infer_predicts_rows_from_the_others_and_new_ones_from_all(net, data):
    x, y = data[0][0], data[1][0]
    post = bk.infer(PROCESS, {"x": x, "y": y}, pfn.Amortised(net, num_draws=50), key=0)
    assert post["posterior_predictive/y"].shape == (1, 50, 12)
    alone = net.predict(np.delete(x, 3, 0), np.delete(y, 3), x[3:4])
    np.testing.assert_allclose(post["leave_one_out/log_density"][3], alone.log_prob(y[3])[0], atol=1e-4)
    np.testing.assert_allclose(post["posterior_predictive/mean"][3], alone.mean[0], atol=1e-4)
    new = bk.infer(PROCESS, {"x": x, "y": y}, pfn.Amortised(net, at=[[0.5], [1.0]]), key=0)
    np.testing.assert_allclose(new["predictions/mean"], net.predict(x, y, [[0.5], [1.0]]).mean, rtol=1e-6)
    verdict = bk.check(new, quiet=True)
    assert verdict.ok
    assert verdict.measures[0].value == net.p_value(x, y)


def test_sbc_names_the_check_of_a_network(net, data):
    with pytest.raises(MethodError, match=r"predicts data .* use bayeskit.models.pfn.check\(net, model\)"):
        bk.sbc(PROCESS, {"x": data[0][0], "y": data[1][0]}, pfn.Amortised(net), num_replicates=5)


def test_data_unlike_the_prior_are_an_error_of_the_verdict(net, data):
    post = bk.infer(PROCESS, {"x": data[0][0], "y": data[1][0] + 40.0}, pfn.Amortised(net, num_draws=5), key=0)
    verdict = bk.check(post, quiet=True)
    assert [finding.name for finding in verdict.findings] == ["outside_prior"]
    assert not verdict.ok


@pytest.mark.parametrize(
    ("model", "given", "options", "error", "message"),
    [
        (
            PROCESS,
            {"x": [[1.0]]},
            {},
            DataError,
            "data lack 'y'; a network takes 'x', the inputs, and 'y', the outputs",
        ),
        (PROCESS, {"x": [[1.0]], "y": [1.0]}, {}, DataError, "leaving one row out needs two rows or more; pass at="),
        (PROCESS, {"X": 1, "y": 2}, {}, DataError, "data has 'X'; a network takes 'x' and 'y'"),
        (classes, {"x": [[1.0]], "y": [1.0]}, {}, MethodError, "the network was trained on the prior 'GP', and the"),
        (PROCESS, {"x": [[1.0]], "y": [1.0]}, {"store": "a.zarr"}, MethodError, "store has no meaning for Amortised"),
        (PROCESS, {"x": [[1.0]], "y": [1.0]}, {"thin": 2}, MethodError, "thin has no meaning for Amortised"),
        (
            PROCESS,
            {"x": [[1.0]], "y": [1.0]},
            {"log_likelihood": True},
            MethodError,
            "log_likelihood has no meaning for",
        ),
    ],
)
def test_what_amortised_cannot_do_is_refused(net, model, given, options, error, message):
    with pytest.raises(error) as raised:
        bk.infer(model, given, pfn.Amortised(net), key=0, **options)
    assert str(raised.value).startswith(message)


def test_only_normal_outputs_can_be_conditioned_on_together():
    def model():
        numpyro.sample("s", dist.Normal(0.0, 1.0))
        numpyro.sample("x", dist.Normal(0.0, 1.0).expand([3]))
        numpyro.sample("y", dist.MultivariateStudentT(4.0, 0.0, np.eye(3)))

    with pytest.raises(ModelError, match="only a MultivariateNormal can be conditioned on some of them"):
        log_predictive(model, np.zeros((3, 1)), np.zeros(3), 2, NUTS, 0)


def test_the_regressor_is_an_estimator_of_scikit_learn(net, data):
    from sklearn.base import clone
    from sklearn.model_selection import cross_val_score

    x, y = data[0][0], data[1][0]
    model = pfn.PFNRegressor(net).fit(x, y)
    mean, sd = model.predict(x, return_std=True)
    law = net.predict(x, y, x)
    np.testing.assert_allclose(mean, law.mean, rtol=1e-6)
    np.testing.assert_allclose(sd, np.sqrt(law.variance), rtol=1e-6)
    assert clone(model).net is not None
    assert len(cross_val_score(model, x, y, cv=3)) == 3
    assert model.score(x, y) == pytest.approx(1 - np.sum((y - mean) ** 2) / np.sum((y - y.mean()) ** 2))


def test_standardised_inputs_stay_within_the_prior(net):
    """One far input among others: brought to the standard deviation of the prior it would lie outside (0, 1)."""
    x = np.array([*np.linspace(0.0, 1.0, 10), 30.0])
    model = pfn.PFNRegressor(net, standardise=True).fit(x, np.sin(x))
    inputs = x * model._scale_x + model._shift_x
    assert inputs.min() > 0.0
    assert 0.9 < inputs.max() < 1.0


def test_other_units_are_brought_to_those_of_the_prior(net, data):
    x, y = data[0][0], data[1][0]
    with pytest.warns(UserWarning, match="unlike those that the network was trained on"):
        pfn.PFNRegressor(net).fit(1000 * x, 500 + 70 * y)
    one = pfn.PFNRegressor(net, standardise=True).fit(x, y)
    other = pfn.PFNRegressor(net, standardise=True).fit(1000 * x, 500 + 70 * y)
    np.testing.assert_allclose(other.predict(1000 * x), 500 + 70 * one.predict(x), rtol=1e-3)
    law = other.distribution(1000 * x)
    np.testing.assert_allclose(law.cdf(law.icdf(0.3)), 0.3, atol=1e-4)


@pytest.mark.parametrize(
    ("act", "error", "message"),
    [
        (
            lambda net: pfn.PFNRegressor().fit([[1.0]], [1.0]),
            MethodError,
            "PFNRegressor takes a network that was trained",
        ),
        (
            lambda net: pfn.PFNRegressor(net).predict([[1.0]]),
            MethodError,
            "PFNRegressor has read no data yet; call fit",
        ),
        (
            lambda net: pfn.PFNRegressor(net, standardise=True).fit([[1.0], [2.0]], [3.0, 3.0]),
            DataError,
            "y is constant, so it cannot be standardised; pass standardise=False",
        ),
        (lambda net: pfn.PFNRegressor(net).set_params(nets=3), MethodError, "PFNRegressor has no parameter 'nets'"),
    ],
)
def test_what_the_regressor_refuses(net, act, error, message):
    with pytest.raises(error) as raised:
        act(net)
    assert str(raised.value).startswith(message)
