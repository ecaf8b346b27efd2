"""What a report says of each kind of result, and of the model behind it."""

import inspect
import json
import re
import sys
import types
from html.parser import HTMLParser

import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest
import xarray as xr

from bayeskit.diagnostics.page import drawn, simulated
from bayeskit.diagnostics.page.blocks import Picture, Plot, pictures_of
from bayeskit.diagnostics.page.forest import by_scale
from bayeskit.diagnostics.page.report import report
from bayeskit.diagnostics.page.subject import is_auxiliary
from bayeskit.diagnostics.page.wording import breakable, rounded, seconds
from bayeskit.diagnostics.plots import kind_of_data
from bayeskit.errors import DataError, ModelError, StorageError
from bayeskit.storage import add_group, make_tree
from bayeskit.train.training import Stopped, Training

SHAPE = (2, 400)


class Words(HTMLParser):
    """The text of a page, by heading of its sections."""

    def __init__(self, text):
        super().__init__()
        self.sections, self.heading, self.inside, self.skipped = {"": []}, "", "", False
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        if tag == "h2":
            self.heading, self.inside = "", "h2"
        self.skipped = tag == "style"
        if tag != "wbr":
            self.sections.setdefault(self.heading, []).append(" ")

    def handle_endtag(self, tag):
        self.inside = ""

    def handle_data(self, data):
        if self.inside == "h2":
            self.heading = data
        if not self.skipped:
            self.sections.setdefault(self.heading, []).append(data)

    def __getitem__(self, heading):
        return " ".join("".join(self.sections[heading]).split())

    @property
    def words(self):
        return " ".join(self[heading] for heading in self.sections)


@pytest.fixture
def words(tmp_path, monkeypatch):
    """The words of the report of a result, without its pictures and what it draws itself, which other tests look at."""
    real = drawn.drawn_plot
    monkeypatch.setattr(simulated, "_mapped", _nothing)
    for module in [m for name, m in sys.modules.items() if name.startswith("bayeskit.diagnostics")]:
        if getattr(module, "drawn_plot", None) is real:
            monkeypatch.setattr(module, "drawn_plot", _undrawn)

    def write(post, **settings):
        return Words(report(post, tmp_path / "page.html", **settings).read_text(encoding="utf-8"))

    return write


def _nothing(*_):
    raise ModelError("nothing is drawn here")


def _undrawn(draw, title, caption, alt, **_):
    assert callable(draw)
    return Plot(title, caption, alt, "data:,")


def counts(year, site, num_sites, count=None):
    """Counts at sites over years."""
    level = numpyro.sample("level", dist.Normal(0.0, 2.0))
    slope = numpyro.sample("slope", dist.Normal(0.0, 1.0))
    with numpyro.plate("site", num_sites):
        z = numpyro.sample("site_raw", dist.Normal(0.0, 1.0))
        by_site = numpyro.deterministic("by_site", 0.5 * z)
    with numpyro.plate("row", len(year)):
        numpyro.sample("count", dist.Poisson(jnp.exp(level + by_site[site] + slope * year)), obs=count)


@pytest.fixture(scope="module")
def fitted():
    rng = np.random.default_rng(0)
    raw = rng.normal(size=(*SHAPE, 3))
    return make_tree(
        {
            "posterior": {
                "site_raw": raw,
                "by_site": 0.5 * raw,
                "slope": rng.normal(0.1, 0.05, size=SHAPE),
                "level": rng.normal(1.0, 0.1, size=SHAPE),
            },
            "sample_stats": {"diverging": np.zeros(SHAPE, bool), "lp": rng.normal(size=SHAPE)},
            "observed_data": {"count": rng.poisson(3.0, size=20)},
            "constant_data": {
                "year": rng.normal(size=20),
                "site": rng.integers(0, 3, size=20),
                "num_sites": np.array(3),
            },
        },
        site_kinds={"by_site": "deterministic"},
        attrs={
            "method": "NUTS",
            "model": f"{__name__}.counts",
            "wall_time": 10.0,
            "compile_time": 6.0,
            "warmup_time": 7.0,
            "table": json.dumps(
                {
                    "source": "birds.csv",
                    "num_rows": 20,
                    "num_dropped": 2,
                    "dropped": {"count": 2},
                    "left_aside": ["observer"],
                }
            ),
        },
    )


@pytest.fixture(scope="module")
def whole(fitted, tmp_path_factory):
    return report(fitted, tmp_path_factory.mktemp("whole") / "page.html", model=counts).read_text(encoding="utf-8")


def test_the_model_and_its_data_are_on_the_page(whole):
    page = Words(whole)
    assert "Counts at sites over years." in page["Model"]
    assert "def counts(year, site, num_sites, count=None):" in page["Model"]
    assert "count Poisson(jnp.exp(level + by_site[site] + slope * year)) level, slope, by_site" in page["Model"]
    assert "From birds.csv: 20 rows used, 2 dropped (count missing in 2)." in page["Data"]
    assert "does not use: observer" in page["Data"]
    assert "year given 20 float64" in page["Data"]
    assert "slope Normal(0.0, 1.0)" in page["Priors"]
    assert "Drawn for this report" in page["Predictive check"]
    assert "Rootogram" in page["Predictive check"]
    assert "bk.log_likelihood" in page["Leave-one-out"] or "bayeskit.log_likelihood" in page["Leave-one-out"]
    assert "could not be drawn" not in page.words


def test_it_can_be_read_aloud(whole):
    text = Words(whole)[""]
    assert (
        "The model counts was fitted to 20 observations of count by Markov chain Monte Carlo (NUTS), in 2 chains"
        in text
    )
    assert "No check found a sign of trouble" in text or "with care" in text
    assert re.search(r"slope is 0\.(09|10)", text)
    assert "with probability 90% between" in text


def test_scalars_come_first_and_raw_quantities_last(whole):
    text = Words(whole)["Estimates"]
    places = [text.index(name) for name in ("slope", "by_site: 3 elements", "Raw quantities", "site_raw: 3 elements")]
    assert places == sorted(places)
    assert "mean of the draws" in text
    assert "central one of 90%" in text


def test_priors_are_drawn_of_the_model(whole):
    text = Words(whole)["Priors"]
    slope = text[text.index("prior, central 90%") :].split("slope ")[1]
    low, _, high = slope.split()[:3]
    # 1,000 draws of a normal distribution: a 5% quantile has a standard error of 0.067
    assert abs(float(low.replace("−", "-")) + 1.645) < 4 * 0.067 + 0.05
    assert abs(float(high) - 1.645) < 4 * 0.067 + 0.05


def test_times_add_up(whole):
    text = Words(whole)["Run"]
    assert "compiling 6.0 s 60% warmup and sampling 4.0 s 40% wall time 10.0 s 100%" in text
    assert "Warmup took 7.0 s of it" in text


def test_the_model_is_found_where_it_has_been_imported(words, fitted, monkeypatch):
    module = types.ModuleType("of_report")
    module.counts = counts
    monkeypatch.setitem(sys.modules, "of_report", module)
    found = fitted.copy()
    found.attrs["model"] = "of_report.counts"
    page = words(found)
    assert "def counts(" in page["Model"]
    assert "could not be drawn from (ModelError: nothing is drawn here)" in page["Priors"]
    assert "no data could be drawn: nothing is drawn here" in page["Predictive check"]
    found.attrs["model"] = "of_report.other"
    page = words(found)
    assert "The model was of_report.other." in page["Model"]
    assert "model=model, data=data" in page["Priors"]
    assert "bayeskit.predict adds them" in page["Predictive check"]


def test_the_source_of_a_formula_is_shown(words, fitted):
    def model(**arguments):
        return counts(**arguments)

    model.source = "numpyro.sample('slope', dist.Normal(0.0, 1.0))"
    model.__signature__ = inspect.signature(counts)
    page = words(fitted, model=model)
    assert model.source in page["Model"]


def test_a_formula_leaves_its_source_in_the_record(words, fitted):
    post = fitted.copy()
    source = "numpyro.sample('slope', dist.Normal(0.0, 2.5))"
    post.attrs |= {"model": "formula.model", "formula": "count ~ year", "formula_source": source}
    page = words(post)
    assert "The model count ~ year was fitted" in page[""]
    assert source in page["Model"]
    assert "slope Normal(0.0, 2.5)" in page["Priors"]


def test_another_model_is_refused(tmp_path, fitted):
    def other(count):
        mu = numpyro.sample("mu", dist.Normal(0.0, 1.0))
        numpyro.sample("count", dist.Poisson(jnp.exp(mu)), obs=count)

    with pytest.raises(ModelError, match=r"'other' has no site 'site_raw'"):
        report(fitted, tmp_path / "a.html", model=other)
    with pytest.raises(ModelError, match="not given"):
        report(fitted, tmp_path / "a.html", data={})
    with pytest.raises(DataError, match="lack"):
        report(fitted, tmp_path / "a.html", model=counts, data={"year": [1.0]})
    data = {"year": np.ones(4), "site": np.arange(4), "num_sites": 4, "count": np.ones(4, int)}
    with pytest.raises(ModelError, match=r"'site_raw' has shape \(4,\)"):
        report(fitted, tmp_path / "a.html", model=counts, data=data)
    assert not (tmp_path / "a.html").exists()


def test_leave_one_out_and_its_shapes(words, fitted):
    rng = np.random.default_rng(1)
    likelihood = rng.normal(-2.0, 0.1, size=(*SHAPE, 20))
    likelihood[..., 3] -= 3.0 * rng.exponential(size=SHAPE)  # weights with no mean
    text = words(add_group(fitted, "log_likelihood", {"count": likelihood}))["Leave-one-out"]
    assert "cannot be trusted at 1 observation of count" in text
    assert "count[3]" in text


def test_predictions_are_apart_from_checks(words, fitted):
    rng = np.random.default_rng(1)
    post = add_group(fitted, "predictions", {"count": rng.poisson(3.0, size=(*SHAPE, 5))})
    post = add_group(post, "predictions_constant_data", {"year": np.arange(5.0)})
    page = words(post)
    assert "count against year" in page["Predictions"]
    assert "nothing has been observed" in page["Predictions"]


def test_particles_have_an_evidence_and_no_chains(words):
    rng = np.random.default_rng(0)
    stages = np.linspace(0.0, 1.0, 6)[None].repeat(2, 0)
    post = make_tree(
        {
            "posterior": {"mu": rng.normal(size=SHAPE)},
            "sample_stats": {"lp": rng.normal(size=SHAPE)},
            "warmup_sample_stats": {
                "temperature": stages,
                "ess": 200.0 + stages,
                "moved": 0.95 + 0.0 * stages,
                "ancestors": 100.0 - stages,
                "correlation": 0.1 + 0.0 * stages,
            },
        },
        attrs={"method": "SMC", "log_evidence": -12.5, "log_evidence_error": 0.1},
    )
    page = words(post)
    assert "log evidence −12.500" in page["Evidence and stages"]
    assert "its standard error 0.1" in page["Evidence and stages"]
    assert "2 runs with 400 particles" in page[""]
    assert "standard error of 0.1" in page[""]
    assert "R-hat" not in page.words
    assert "of 400 particles" in page[""]
    assert "E-BFMI" not in page.words
    assert "Chains" not in page.sections


def test_an_approximation_has_weights_and_a_loss(words):
    rng = np.random.default_rng(0)
    post = make_tree(
        {
            "posterior": {"mu": rng.normal(size=(1, 400))},
            "sample_stats": {"log_weight": rng.normal(-3.0, 0.1, size=(1, 400)), "lp": rng.normal(size=(1, 400))},
            "warmup_sample_stats": {"loss": 3.0 + np.exp(-np.arange(200.0))[None], "gradient_norm": np.ones((1, 200))},
        },
        attrs={"method": "VI"},
    )
    page = words(post)
    assert "variational inference (VI), an approximation, from which 400 draws were taken" in page[""]
    assert "max Pareto k" in page["Optimisation"]
    assert "bound on the log evidence (ELBO) −3.0" in page["Optimisation"]
    assert "flat at the end" in page["Optimisation"]
    assert "R-hat" not in page.words
    assert "error of mean" in page["Estimates"]


class Learned:
    """Something learned, of which there is a picture."""

    def __init__(self):
        steps = np.exp(-np.arange(300.0) / 20)
        none = np.zeros(0)
        training = Training(steps, none, none, none.astype(int), Stopped.SETTLED, True, 2.0, (("adam", 300),))
        self.tree = training.tree("Learned", {"num_components": 3})

    def __repr__(self):
        return "Learned(3 components)"


@pictures_of.register
def _(thing: Learned):
    yield Picture("Curve", "A curve.", f"A curve of {thing} that rises", lambda: plt.figure(figsize=(1, 1)))


def test_what_was_learned_shows_itself(words):
    page = words(Learned())
    assert "Learned was fitted by the method Learned, in 300 steps of training." in page[""]
    assert "Learned(3 components)" in page["What was learned"]
    assert "A curve." in page["What was learned"]
    assert "It ended after 300 steps because the loss no longer falls." in page["Optimisation"]
    assert "training 2.0 s" in page["Run"] or "wall time 2.0 s" in page["Run"]
    assert "posterior predictive" not in page.words


def test_predictions_of_a_network(words):
    rng = np.random.default_rng(0)
    tree = xr.DataTree.from_dict(
        {
            "/posterior_predictive": xr.Dataset({"y": (("chain", "draw", "row"), rng.normal(size=(1, 100, 12)))}),
            "/leave_one_out": xr.Dataset({"log_density": ("row", np.full(12, -1.0))}),
            "/observed_data": xr.Dataset({"y": ("row", rng.normal(size=12))}),
        }
    )
    tree.attrs = {
        "prior_p_value": 0.4,
        "num_draws": 100,
        "method": "Amortised",
        "model": "Curve",
        "network": "Net(...)",
    }
    page = words(tree)
    assert "A network trained on the prior Curve predicted 12 observations of y." in page[""]
    assert "all rows 12 −12.0" in page["Leave-one-out"]
    assert "Net" in page["What was learned"]


def test_ranks_of_a_calibration(words):
    assert "Ranks" in words(make_ranks(np.random.default_rng(0)))["Calibration"]


def make_ranks(rng):
    """The result of a calibration, as `bayeskit.sbc` leaves it."""
    count = 120
    tree = xr.DataTree.from_dict(
        {
            "/pit": xr.Dataset({"mu": ("replicate", rng.uniform(size=count))}),
            "/replicates": xr.Dataset(
                {
                    "ess": ("replicate", np.full(count, 100.0)),
                    "failure": ("replicate", np.full(count, "")),
                    "num_divergences": ("replicate", np.zeros(count, int)),
                }
            ),
        }
    )
    tree.attrs = {"num_replicates": count, "method": "NUTS", "model": "models.line.model"}
    return tree


@pytest.mark.parametrize(
    ("thing", "error", "said"),
    [
        ({"a": make_tree({"posterior": {"mu": np.zeros(SHAPE)}})}, TypeError, r"bayeskit\.compare"),
        ("run.zarr", TypeError, r"bayeskit\.load\('run\.zarr'\)"),
        (counts, TypeError, r"bayeskit\.infer\(model, data, method"),
        (types.SimpleNamespace(evaluate=None), TypeError, "a kernel has been fitted to nothing"),
        (3, TypeError, r"an? int is none: pass what bayeskit\.infer returned"),
        (make_tree({"prior": {"mu": np.zeros(SHAPE)}}), StorageError, "the prior alone"),
        (make_tree({"observed_data": {"y": np.zeros(3)}}), StorageError, r"no group 'posterior'; it has observed_data"),
    ],
    ids=["several", "file", "function", "kernel", "number", "prior", "data"],
)
def test_what_cannot_be_reported_says_what_to_do(tmp_path, thing, error, said):
    with pytest.raises(error, match=said):
        report(thing, tmp_path / "a.html")


def test_each_scale_has_its_axis():
    def interval(middle, width):
        return np.array([middle - width, middle, middle, middle, middle + width])

    found = {"mass": interval(1000.0, 50.0), "rate": interval(0.01, 0.002), "other": interval(980.0, 40.0)}
    assert by_scale(found) == [["mass", "other"], ["rate"]]
    near = {"a": interval(0.0, 1.0), "b": interval(2.0, 0.5)}
    assert by_scale(near) == [["a", "b"]]
    assert by_scale({"far": interval(500.0, 1.0), "near": interval(0.0, 1.0)}) == [["far"], ["near"]]


@pytest.mark.parametrize(
    "name", ["z", "z_site", "alpha_raw", "w_white", "theta_base", "mu_decentered", "x_trans", "1|site_offset"]
)
def test_raw_quantities_are_known_by_their_names(name):
    assert is_auxiliary(name)
    assert not is_auxiliary(f"a{name}s")


def test_short_words_stay_whole():
    assert str(breakable("concentrate on this")) == "concentrate on this"
    long = str(breakable("log_evidence_of_the_first_model"))
    assert "<wbr>" in long
    assert long.replace("<wbr>", "") == "log_evidence_of_the_first_model"
    assert all(len(part) >= 4 for part in long.split("<wbr>"))
    assert str(breakable("<b>")) == "&lt;b&gt;"
    assert max(map(len, str(breakable("a" * 100)).split("<wbr>"))) <= 28


def test_numbers_are_rounded_by_their_scale():
    assert rounded(1.23456, 0.05) == "1.235"
    assert rounded(-1234.56, 30.0) == "−1,235"
    assert rounded(0.0, 0.0) == "0"
    assert rounded(float("nan"), 1.0) == "undefined"
    assert [seconds(s) for s in (0.0123, 12.34, 120.0, 7200.0)] == ["0.012 s", "12.3 s", "2.0 min", "2.0 h"]


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        (np.array([0, 1, 1]), "binary"),
        (np.array([True, False]), "binary"),
        (np.array([0, 1, 2]), "count"),
        (np.array([-1, 2]), "few"),
        (np.zeros(80), "many"),
    ],
)
def test_the_kind_of_check_suits_the_data(values, kind):
    assert kind_of_data(xr.DataArray(values), xr.DataArray(values[None, None])) == kind


def test_rare_counts_are_no_proportions():
    assert kind_of_data(xr.DataArray(np.array([0, 1, 0])), xr.DataArray(np.array([[[0, 2, 1]]]))) == "count"
