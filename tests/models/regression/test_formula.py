"""Formulas: the source that they stand for, their priors, and what a table becomes."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pandas as pd
import pytest
from numpyro.infer.util import log_density
from scipy import stats

import bayeskit as bk
from bayeskit.distributions import OrderedNormal
from bayeskit.errors import DataError, ModelError

pytest.importorskip("formulae")


def table(rows=60):
    rng = np.random.default_rng(3)
    site, kind = rng.choice(list("abcde"), rows), rng.choice(["u", "v", "w"], rows)
    x, z = rng.normal(size=rows), rng.uniform(size=rows)
    mean = np.exp(1.0 + 0.4 * x + (site == "b"))
    return pd.DataFrame(
        {
            "site": site,
            "id": rng.choice([3, 7], rows),
            "kind": kind,
            "x": x,
            "z": z,
            "area": rng.uniform(1.0, 3.0, rows),
            "count": rng.negative_binomial(3.0, 3.0 / (3.0 + mean)),
            "y": x + rng.normal(size=rows) + 5.0,
            "hit": rng.integers(0, 2, rows),
            "done": rng.binomial(12, 0.4, rows),
            "tries": 12,
            "grade": pd.Categorical(rng.choice(["lo", "mid", "hi"], rows), ["lo", "mid", "hi"], ordered=True),
        }
    )


FRAME = table()
CASES = {
    "normal": ("y ~ x * kind + (1 + x | site)", "normal"),
    "student, spline": ("y ~ bs(z, df=4) + (1 | id:site)", "student"),
    "negative binomial": ("count ~ x + offset(log(area)) + (1 + x | site)", "negative_binomial"),
    "poisson": ("count ~ 0 + kind + (kind | site)", "poisson"),
    "bernoulli": ("hit ~ x + kind", "bernoulli"),
    "binomial": ("p(done, tries) ~ x:kind", "binomial"),
    "zero-inflated poisson": ("count ~ log(area)", "zero_inflated_poisson"),
    "zero-inflated negative binomial": ("count ~ 1", "zero_inflated_negative_binomial"),
    "ordinal": ("grade ~ x + (1 | site)", "ordinal"),
}


def draws_of(function, arguments):
    trace = numpyro.handlers.trace(numpyro.handlers.seed(function, jax.random.key(0))).get_trace(**arguments)
    return {n: s["value"] for n, s in trace.items() if s["type"] == "sample" and not s["is_observed"]}


@pytest.mark.parametrize("case", CASES)
def test_the_printed_source_has_the_same_density(case):
    text, family = CASES[case]
    model = bk.formula(text, FRAME, family=family)
    namespace: dict[str, object] = {}
    exec(str(model), namespace)
    arguments = model.arguments(FRAME)
    values = draws_of(namespace["model"], arguments)
    given = {k: v if isinstance(v, int) else jnp.asarray(v) for k, v in arguments.items()}
    expected, _ = log_density(namespace["model"], (), given, values)
    assert np.isfinite(expected)
    program = bk.bind(model, FRAME)
    np.testing.assert_allclose(bk.log_density(program, values), expected, rtol=1e-12)
    assert str(model) == model.source == bk.formula(text, FRAME, family=family).source


def test_the_density_is_that_of_the_regression_written_by_hand():
    model = bk.formula("y ~ x + (1 | site)", FRAME)
    y, x = FRAME["y"].to_numpy(), FRAME["x"].to_numpy()
    _, site = np.unique(FRAME["site"], return_inverse=True)
    values = {
        "Intercept_at_means": 4.7,
        "x": 0.8,
        "1|site_sigma": 0.6,
        "sigma": 1.1,
        "1|site_offset": np.linspace(-1, 1, 5),
    }
    slope = 2.5 * y.std() / x.std()
    spread = np.hypot(2.5 * y.std(), slope * x.mean())
    mean = 4.7 + 0.8 * (x - x.mean()) + 0.6 * values["1|site_offset"][site]
    expected = (
        stats.norm.logpdf(4.7, y.mean(), spread)
        + stats.norm.logpdf(0.8, 0.0, slope)
        + stats.halfnorm.logpdf(0.6, scale=spread)
        + stats.norm.logpdf(values["1|site_offset"]).sum()
        + np.log(2.0)
        + stats.t.logpdf(1.1, 4.0, scale=y.std())
        + stats.norm.logpdf(y, mean, 1.1).sum()
    )
    # numbers in the source have six digits
    np.testing.assert_allclose(bk.log_density(bk.bind(model, FRAME), values), expected, rtol=1e-6)


def test_priors_of_probabilities():
    source = bk.formula("hit ~ x + kind", FRAME, family="bernoulli").source
    assert 'sample("Intercept_at_means", dist.Normal(0.0, 1.5))' in source
    assert f'sample("x", dist.Normal(0.0, {1 / FRAME["x"].std(ddof=0):.6g}))' in source
    assert 'sample("kind", dist.Normal(0.0, jnp.array([1.0, 1.0])))' in source


def test_priors_by_name():
    given = {"x": dist.Normal(0.5, 2.0), "1|site": dist.Exponential(3.0), "sigma": dist.HalfCauchy(0.7)}
    model = bk.formula("y ~ x + (1 | site)", FRAME, priors=given, noncentered=False)
    assert 'sample("x", dist.Normal(loc=0.5, scale=2.0))' in model.source
    assert 'sample("1|site_sigma", dist.Exponential(rate=3.0))' in model.source
    assert 'sample("sigma", dist.HalfCauchy(scale=0.7))' in model.source
    assert 'u_site = numpyro.sample("1|site", dist.Normal(0.0, sd_site))' in model.source
    joint = bk.formula("y ~ kind", FRAME, priors={"kind": dist.MultivariateNormal(jnp.zeros(2), jnp.eye(2))})
    assert draws_of(joint, joint.arguments(FRAME))["kind"].shape == (2,)


@pytest.mark.parametrize(
    ("priors", "message"),
    [
        ({"xx": dist.Normal(0, 1)}, r"there is no term 'xx'; did you mean 'x'\?"),
        ({"1|site": dist.Normal(0, 1)}, "'1|site_sigma' is positive, and Normal has mass below zero"),
        ({"x": 2.0}, "'x' must be a NumPyro distribution, got 2.0"),
        ({"x": dist.Normal(jnp.zeros(3), 1.0)}, r"'x' has one coefficient, and its prior has the shape \(3,\)"),
        ({"x": dist.TruncatedNormal(0.0, 1.0, low=0.0)}, "cannot be written as source"),
    ],
)
def test_priors_that_do_not_fit(priors, message):
    with pytest.raises(ModelError, match=message):
        bk.formula("y ~ x + (1 | site)", FRAME, priors=priors)


@pytest.mark.parametrize(
    ("text", "options", "error", "message"),
    [
        ("y ~ xx", {}, DataError, r"a table has no column 'xx'; did you mean 'x'\?"),
        ("y ~ x +", {}, ModelError, "cannot be read"),
        ("y ~ (1 | C(id))", {}, ModelError, "they must be columns, joined by :"),
        ("y ~ x", {"family": "gausian"}, ModelError, "family 'gausian' is not known"),
        ("y ~ x", {"link": "logit"}, ModelError, "'normal', which has identity, log, inverse"),
        ("y ~ x", {"family": "poisson"}, DataError, "does not fit the response 'y': it has values that are not whole"),
        ("x ~ z", {"family": "negative_binomial"}, DataError, "it has negative values"),
        ("count ~ x", {"family": "bernoulli"}, DataError, "it has values other than 0 and 1"),
        ("done ~ x", {"family": "binomial"}, ModelError, r"the response is p\(successes, trials\), not 'done'"),
        ("p(tries, done) ~ x", {"family": "binomial"}, ModelError, "'successes' cannot be greater than 'trials'"),
        ("kind ~ x", {}, ModelError, r"kind\['w'\] is one where it is 'w'"),
        ("y ~ tries", {}, DataError, "'tries' is constant"),
        ("tries ~ x", {}, ModelError, "the response 'tries' is constant"),
        (3, {}, ModelError, "a formula is a string"),
    ],
)
def test_what_does_not_fit_is_named(text, options, error, message):
    with pytest.raises(error, match=message):
        bk.formula(text, FRAME, **options)


def test_missing_cells_are_named_with_their_number():
    frame = FRAME.assign(x=FRAME["x"].where(FRAME.index > 2))
    with pytest.raises(
        DataError, match=r"column 'x' of a table has 3 missing values; bk.columns\(table, drop_missing="
    ):
        bk.formula("y ~ x", frame)
    assert len(bk.formula("y ~ x", bk.columns(frame, drop_missing=["x"])).arguments(FRAME)["x"]) == len(FRAME)


def test_columns_that_depend_on_each_other_give_a_warning():
    with pytest.warns(UserWarning, match="its 3 columns have rank 2"):
        bk.formula("y ~ x + I(2 * x)", FRAME)


def test_another_table_is_encoded_as_that_of_the_formula():
    model = bk.formula("y ~ kind + bs(z, df=4) + (1 | site)", FRAME)
    whole, part = model.arguments(FRAME), model.arguments(FRAME[FRAME["kind"] == "w"])
    rows = (FRAME["kind"] == "w").to_numpy()
    assert whole.keys() == part.keys()
    for name, value in whole.items():
        np.testing.assert_array_equal(part[name], value if isinstance(value, int) else value[rows])
    with pytest.raises(DataError, match="column 'site' has the level 'q'"):
        model.arguments(FRAME.assign(site="q"))
    with pytest.raises(DataError, match="column 'kind' has the level 'q'"):  # it has no prior of its own
        model.arguments(FRAME.assign(kind="q"), new_levels="prior")
    with pytest.raises(DataError, match="a table has no column 'z', which the formula uses"):
        model.arguments(FRAME.drop(columns="z"))
    new = model.arguments(FRAME[:3].assign(site=["q", "a", "r"]).drop(columns="y"), new_levels="prior")
    assert (new["site"].tolist(), new["num_site"], "y" in new) == ([5, 0, 6], 7, False)


def test_before_a_table_there_is_no_source():
    model = bk.formula("y ~ x")
    assert repr(model) == "bk.formula('y ~ x', family='normal')"
    with pytest.raises(DataError, match="give it that, bk"):
        model.source
    with pytest.raises(DataError, match="needs a table"):
        bk.bind(model, None)


@pytest.fixture(scope="module")
def fit():
    model = bk.formula("y ~ x + (1 + x | site)")
    method = bk.HMC(num_chains=2, num_warmup=200, num_draws=100, chain_method="vectorized")
    return model, bk.infer(model, FRAME, method, key=0, progress=False)


def test_names_and_coordinates_are_those_of_bambi(fit):
    _, post = fit
    posterior = post["posterior"]
    assert {"Intercept", "x", "1|site", "1|site_sigma", "x|site", "x|site_sigma", "sigma"} <= set(posterior.data_vars)
    assert posterior["1|site"].dims == ("chain", "draw", "site__factor_dim")
    assert posterior["site__factor_dim"].values.tolist() == list("abcde")
    assert post["observed_data/y"].dims == ("__obs__",)
    assert post.attrs["formula"] == "y ~ x + (1 + x | site)"
    compile(post.attrs["formula_source"], "source", "exec")


def test_predictions_know_the_groups_of_the_fit_and_draw_others(fit):
    model, post = fit
    new = pd.DataFrame({"site": ["b", "q"], "x": [0.0, 1.0]})
    with pytest.raises(DataError, match="column 'site' has the level 'q' in row 1"):
        bk.predict(model, new, post, key=1)
    found = bk.predict(model, new, post, key=1, new_levels="prior")["predictions"]
    assert found["site__factor_dim"].values.tolist() == [*"abcde", "q"]
    np.testing.assert_array_equal(found["1|site"].values[..., :5], post["posterior/1|site"].values)
    z = (found["1|site"].sel(site__factor_dim="q") / post["posterior/1|site_sigma"]).values
    assert abs(z.mean()) * np.sqrt(z.size) < 4
    again = bk.predict(model, FRAME, post, key=1)
    assert again["posterior_predictive/y"].shape == (2, 100, len(FRAME))


def test_a_fit_is_predicted_from_by_the_formula_with_its_table(fit):
    _, post = fit
    new = FRAME[:2].drop(columns="y")
    text = "y ~ x + (1 + x | site)"
    with pytest.raises(DataError, match="to a table that this formula has not seen"):
        bk.predict(bk.formula(text), new, post, key=1)
    again = bk.formula(text, FRAME)
    assert bk.predict(again, new, post, key=1)["predictions/y"].shape == (2, 100, 2)


def test_thresholds_are_normal_in_order():
    loc = [-1.0, 0.0, 0.5]
    law = OrderedNormal(loc, 1.0)
    independent = np.random.default_rng(0).normal(loc, 1.0, (400_000, 3))
    kept = independent[(np.diff(independent, axis=1) > 0).all(1)]
    share = len(kept) / len(independent)
    probability = float(np.exp(law.log_probability_of_order))
    assert abs(share - probability) < 4 * np.sqrt(probability * (1 - probability) / len(independent))
    draws = np.asarray(law.sample(jax.random.key(0), (4000,)))
    assert (np.diff(draws, axis=1) > 0).all()
    z = (draws.mean(0) - kept.mean(0)) / draws.std(0) * np.sqrt(len(draws))
    assert np.abs(z).max() < 4
    expected = stats.norm.logpdf(kept[0], loc, 1.0).sum() - np.log(probability)
    np.testing.assert_allclose(law.log_prob(kept[0]), expected, rtol=1e-12)
    with pytest.raises(ValueError, match="too rare to draw"):
        OrderedNormal([3.0, -3.0, -9.0], 1.0)
    with pytest.raises(ValueError, match="not traced"):
        jax.jit(lambda loc: OrderedNormal(loc, 1.0).log_prob(loc))(jnp.array([0.0, 1.0]))
