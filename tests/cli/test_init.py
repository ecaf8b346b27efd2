"""`bayeskit init`: what it makes of a table, and that what it writes runs."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import jax
import numpy as np
import pytest
from numpyro import handlers
from numpyro.infer.util import log_density

import bayeskit as bk
from bayeskit.cli.first_look import look
from bayeskit.cli.first_model import model_text
from bayeskit.cli.inputs import read_inputs
from bayeskit.cli.modelfile import load_model
from bayeskit.cli.plan import read_run_file
from bayeskit.errors import BayeskitError, DataError

ROOT = Path(__file__).resolve().parents[2]
ROWS = 24
SITE = np.array([f"s{i % 6}" for i in range(ROWS)])
RNG = np.random.default_rng(0)
TABLE = {
    "id": np.arange(ROWS),
    "site": SITE,
    "year": np.repeat(np.arange(2000, 2004), 6),
    "mown": np.where(np.arange(ROWS) % 2, "yes", "no"),
    "wet": np.arange(ROWS) % 2,
    "depth": RNG.normal(size=ROWS),
    "note": np.array([f"n{i}" for i in range(ROWS)]),
    "same": np.ones(ROWS),
    "day": np.array(["2020-05-01", "2020-06-01"] * 12),
    "count": RNG.poisson(4.0, ROWS),
}


def write(path, table):
    names = list(table)
    lines = [",".join(names), *(",".join(str(table[name][i]) for name in names) for i in range(len(table[names[0]])))]
    path.write_text("\n".join(lines) + "\n")


def test_roles():
    found = look(TABLE, "t.csv", None, ["year"])
    assert {column.name: column.role for column in found.columns} == {
        "id": "aside",
        "site": "group",
        "year": "group",
        "mown": "contrast",
        "wet": "contrast",
        "depth": "slope",
        "note": "aside",
        "same": "aside",
        "day": "aside",
        "count": "outcome",
    }
    assert look(TABLE, "t.csv", None, []).columns[2].role == "slope"


@pytest.mark.parametrize(
    ("values", "family"),
    [
        ([0.0, 3.0, 1.0, 7.0], "negative_binomial"),
        ([0.0, 1.0, 1.0, 0.0], "bernoulli"),
        (["no", "yes", "no", "yes"], "bernoulli"),
        ([0.1, 3.2, 0.4, 7.5], "log_normal"),
        ([0.01, 0.2, 0.4, 0.95], "beta"),
        ([10.1, 13.2, 10.4, 17.5], "normal"),
        ([-1.0, 3.0, 1.0, 7.0], "normal"),
    ],
)
def test_families(values, family):
    assert look({"x": np.arange(4.0), "out": np.array(values)}, "t.csv", "out", []).family == family


def test_the_outcome_is_the_usual_name_or_the_last_column_of_numbers():
    table = {"count": np.array([1.0, 4.0]), "x": np.array([0.5, 2.0]), "site": np.array(["a", "b"])}
    assert look(table, "t.csv", None, []).outcome.name == "count"
    assert look({"a": table["count"], **table} | {"count": table["site"]}, "t.csv", None, []).outcome.name == "x"
    with pytest.raises(DataError, match="no column of numbers that vary"):
        look({"site": table["site"]}, "t.csv", None, [])


@pytest.mark.parametrize("outcome", ["count", "wet", "mown", "depth", "size"])
def test_what_is_written_has_a_density(outcome, tmp_path, monkeypatch, invoke):
    monkeypatch.chdir(tmp_path)
    table = {**TABLE, "size": np.exp(2 * TABLE["depth"])}
    table = {name: column.astype(object) for name, column in table.items()}
    table["depth"][3] = ""
    write(tmp_path / "t.csv", table)
    done = invoke("init", "t.csv", "--outcome", outcome, "--group", "year")
    assert done.exit_code == 0, done.output
    assert f"regression of {outcome}" in done.output
    plan = read_run_file(Path("run.toml"))
    assert (plan.out, plan.report, plan.predictive) == ("t.zarr", "t.html", (outcome,))
    assert plan.columns["groups"] == ["year"]
    model = load_model("model.py").model
    data = bk.columns("t.csv", **plan.columns)
    assert data.num_rows == ROWS - 1
    arguments = dict(data.for_model(model))

    @jax.jit
    def density():
        trace = handlers.trace(handlers.seed(model, 0)).get_trace(**arguments)
        free = {n: s["value"] for n, s in trace.items() if s["type"] == "sample" and not s["is_observed"]}
        assert trace["effect_site"]["value"].shape == (6,)
        assert trace["effect_year"]["value"].shape == (4,)
        return log_density(model, (), arguments, free)[0]

    assert np.isfinite(density())
    unobserved = arguments | {outcome: None}
    drawn = handlers.trace(handlers.seed(lambda: model(**unobserved), jax.random.key(1)))
    assert jax.eval_shape(lambda: drawn.get_trace()[outcome]["value"]).shape == (ROWS - 1,)


def test_slopes_are_those_of_standardised_columns(tmp_path, monkeypatch, invoke):
    monkeypatch.chdir(tmp_path)
    shutil.copy(ROOT / "data" / "counts.csv", tmp_path)
    assert invoke("init", "counts.csv", "-q").output == ""
    file = load_model("model.py")
    years = bk.columns("counts.csv")["year"]
    np.testing.assert_allclose(file.module.YEAR, (years.mean(), years.std()), rtol=1e-3, atol=1e-3)


NUMBERS = RNG.normal(size=ROWS)
STRANGE = {
    "names in capitals": {"A": NUMBERS, "a": NUMBERS[::-1], "NDVI": NUMBERS**2, "y": NUMBERS},
    "words of Python": {"class": SITE, "lambda": NUMBERS, "2015": NUMBERS[::-1], "y": NUMBERS},
    "names of sites": {"intercept": NUMBERS, "sd_site": NUMBERS[::-1], "site": SITE, "sigma": NUMBERS**2, "y": NUMBERS},
    "names that end a docstring": {'a"""b': NUMBERS, "c\\N{d": NUMBERS[::-1], "y": NUMBERS},
    "two large values": {"x": np.where(np.arange(ROWS) % 2, 1000001, 1000002), "y": NUMBERS},
    "proportions": {"site": SITE, "y": 1 / (1 + np.exp(-NUMBERS))},
    "one column": {"y": NUMBERS},
}


@pytest.mark.parametrize("what", STRANGE)
def test_strange_tables(what, tmp_path):
    table, path = STRANGE[what], tmp_path / "model.py"
    found = look(table, "t.csv", None, [])
    path.write_text(model_text(found, "t.csv"))
    model = load_model(path).model
    arguments = dict(bk.columns(table).for_model(model)) | ({"num_rows": ROWS} if what == "one column" else {})
    trace = handlers.trace(handlers.seed(handlers.condition(model, {"intercept": 0.3}), 0)).get_trace(**arguments)
    site = trace["y"]["fn"]
    if what == "names in capitals":  # standardised by the constants, and not by the first two cells of an argument
        mean = 0.3 + sum(
            trace[f"slope_{name}"]["value"] * (table[name] - table[name].mean()) / table[name].std()
            for name in ("A", "a", "NDVI")
        )
        np.testing.assert_allclose(site.loc, mean, rtol=1e-3, atol=1e-2)
    if what == "two large values":
        assert np.ptp(site.loc) == pytest.approx(abs(trace["effect_x"]["value"]))
    assert np.isfinite(np.asarray(site.log_prob(arguments["y"]))).all()


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"dist": NUMBERS, "y": NUMBERS}, "a module of the model file; rename it"),
        ({"site": SITE, "num_site": NUMBERS, "y": NUMBERS}, "the number of levels of 'site'; rename it"),
        ({"x": NUMBERS, "y": np.where(np.arange(ROWS), NUMBERS, np.inf)}, "'y' holds an infinite number"),
        ({"x": np.where(np.arange(ROWS), "1.5", "five"), "y": NUMBERS}, "'x' holds numbers, but for 'five'"),
    ],
)
def test_tables_of_which_no_model_is_made(table, message):
    with pytest.raises(BayeskitError, match=re.escape(message)):
        look(table, "t.csv", None, [])


def test_columns_that_are_left_aside():
    rows = np.arange(ROWS)
    table = {
        "plot_id": 1000 + 7 * rows,
        "site_id": rows % 6,
        "rare": np.where(rows < 5, NUMBERS, np.nan),
        "gap": np.where(rows, NUMBERS, np.nan),
        "only_there": np.where(rows, "a", "b"),
        "y": NUMBERS,
    }
    found = look(table, "t.csv", None, [])
    roles = {column.name: column.role for column in found.columns}
    assert roles == {
        "plot_id": "aside",
        "site_id": "group",
        "rare": "aside",
        "gap": "slope",
        "only_there": "aside",
        "y": "outcome",
    }
    assert found.num_complete == ROWS - 1


def test_dates_of_a_parquet_file_are_left_aside(tmp_path, monkeypatch, invoke):
    pytest.importorskip("pyarrow")
    pd = pytest.importorskip("pandas")
    monkeypatch.chdir(tmp_path)
    dates = pd.date_range("2024-01-01", periods=ROWS)
    pd.DataFrame({"when": dates, "site": SITE, "y": NUMBERS}).to_parquet("t.parquet")
    done = invoke("init", "t.parquet")
    assert "when: 24 levels, 1 rows each; left aside: dates" in done.stdout
    assert read_inputs(read_run_file(Path("run.toml"))).arguments.left_aside == ("when",)


@pytest.mark.full  # by default each of them: the model above, `run` with a report in tests/models/test_model_files.py
def test_three_commands(tmp_path, monkeypatch, invoke):
    """A hierarchical negative binomial with a report, and no line of Python."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data").mkdir()
    shutil.copy(ROOT / "data" / "counts.csv", tmp_path / "data")
    assert invoke("init", "data/counts.csv").exit_code == 0
    done = invoke("run", "run.toml", "--num-chains", 2, "--num-warmup", 100, "--num-draws", 100, "--no-progress")
    assert done.exit_code in (0, 3), done.output
    assert "sd_site" in done.output
    assert (tmp_path / "counts.html").read_text().rstrip().endswith("</html>")
    post = bk.load("counts.zarr")
    assert list(post["posterior"]["effect_site"].coords["site"].values[:2]) == ["Ash01", "Ash02"]
    for site, truth in {"effect_habitat": -0.9, "slope_year": -0.12 * 2.911, "overdispersion": 0.577}.items():
        draws = post["posterior"][site].values
        assert abs(draws.mean() - truth) < 4 * draws.std(), site
    assert "log_likelihood" in post.children


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--outcome", "cuont"), "did you mean 'count'?"),
        (("--group", "years"), "did you mean 'year'?"),
        (("--outcome", "note"), "text of more than two kinds"),
        (("--outcome", "count", "--group", "count"), "cannot be a group"),
        (("-o", "absent"), "there is no folder absent"),
    ],
)
def test_wrong_input(words, message, tmp_path, monkeypatch, invoke):
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "t.csv", TABLE)
    done = invoke("init", "t.csv", *words)
    assert done.exit_code == 2
    assert message in done.stderr
    assert done.stderr.count("\n") == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["t.csv"]


def test_nothing_is_replaced_without_being_asked(tmp_path, monkeypatch, invoke):
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "t.csv", TABLE)
    (tmp_path / "model.py").write_text("mine\n")
    refused = invoke("init", "t.csv")
    assert (refused.exit_code, refused.stderr) == (
        2,
        "error: model.py would be replaced; add --overwrite, or name a folder with --out\n",
    )
    assert (tmp_path / "model.py").read_text() == "mine\n"
    assert invoke("init", "t.csv", "--overwrite").exit_code == 0
    assert "def model(" in (tmp_path / "model.py").read_text()
