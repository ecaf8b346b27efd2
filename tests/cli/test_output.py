"""To whom a command talks: JSON, silence, one line of error; and what it reads and refuses to replace."""

from __future__ import annotations

import json

import numpy as np
import pytest

import bayeskit as bk

# the method that is the quickest to compile
SMALL = ["--num-chains", "2", "--num-warmup", "50", "--num-draws", "50", "--no-progress", "--method", "hmc"]


def only_json(done):
    return json.loads(done.stdout, parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))


def test_json_of_a_run_and_of_what_reads_it(folder, invoke):
    done = invoke("run", "line.toml", *SMALL, "--seed", 3, "-o", "out.zarr", "--log-likelihood", "--json")
    told = only_json(done)
    assert set(told) == {"summary", "verdict", "result", "left_aside", "dropped_rows"}
    assert told["result"] == "out.zarr"
    post = bk.load("out.zarr")
    assert post.attrs["key"] == "[0, 3]"
    assert told["verdict"]["ok"] == bk.check(post, quiet=True).ok == (done.exit_code == 0)
    table = bk.summary(post)
    assert [row["site"] for row in told["summary"]] == list(table.index)
    assert told["summary"][0]["mean"] == table["mean"].iloc[0]
    wide = only_json(invoke("summary", "out.zarr", "--json", "--prob", "0.5", "--site", "slo", "--filter-vars", "like"))
    assert list(wide["summary"][0])[:5] == ["site", "mean", "sd", "q25", "q75"]
    assert set(only_json(invoke("check", "out.zarr", "--json"))) == {"verdict"}
    invoke("run", "line.toml", *SMALL, "-o", "b.zarr", "--log-likelihood", "-q")
    ranked = only_json(invoke("compare", "out.zarr", "b.zarr", "--json"))["comparison"]
    assert {row["name"] for row in ranked} == {"out.zarr", "b.zarr"}
    assert "nuts" in only_json(invoke("methods", "--json"))


def test_errors_are_json_too(folder, invoke):
    done = invoke("check", "absent.zarr", "--json")
    assert done.exit_code == 2
    assert done.stderr == f"error: {only_json(done)['error']}\n"
    assert invoke("check", "absent.zarr").stdout == ""


def test_quiet(folder, invoke):
    done = invoke("run", "line.toml", *SMALL, "--quiet")
    assert done.stdout == ""
    assert (folder / "line.zarr").is_dir()
    checked = invoke("check", "line.zarr", "-q")
    assert (checked.stdout, checked.exit_code) == ("", {0: 0, 3: 1}[done.exit_code])
    assert "slope" in invoke("summary", "line.zarr").stdout  # the next command is heard again


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("rnu",), "bayeskit has no command 'rnu'; did you mean 'run'?"),
        (
            ("run", "line.toml", "--nmu-chains", "4"),
            "bayeskit run has no option --nmu-chains; did you mean '--num-chains'?",
        ),
        (("--vresion",), "bayeskit has no option --vresion; did you mean '--version'?"),
        (("run",), "missing argument 'MODEL.py | RUN.toml'; `bayeskit run --help` lists what there is"),
        (("summary", "a", "b"), "got unexpected extra argument"),
        (("run", "line.toml", "--num-chains", "four"), "--num-chains: "),
    ],
)
def test_wrong_usage_is_one_line(words, message, folder, invoke):
    done = invoke(*words)
    assert (done.exit_code, done.stdout) == (2, "")
    assert done.stderr.startswith(f"error: {message}")
    assert done.stderr.count("\n") == 1


def test_completion_is_offered(invoke):
    assert "--install-completion" in invoke("--help").stdout


def test_no_line_is_wider_than_the_terminal(folder, invoke, monkeypatch, result):
    for columns in (80, 60):
        monkeypatch.setenv("COLUMNS", str(columns))
        for words in (["summary", result], ["check", result], ["methods"], ["--help"], ["run", "--help"]):
            lines = invoke(*words).stdout.splitlines()
            assert max(map(len, lines)) <= columns, words


def test_several_data_files(folder, invoke):
    (folder / "x.csv").write_text("x\n0\n1\n2\n")
    (folder / "y.csv").write_text("y,z\n0.1,1\n0.6,2\n1.5,3\n")
    done = invoke("run", "line.py", "--data", "x.csv", "--data", "y.csv", *SMALL)
    assert done.exit_code in (0, 3), done.output
    assert "left aside: z" in done.stdout
    np.testing.assert_array_equal(bk.load("line.zarr")["observed_data/y"], [0.1, 0.6, 1.5])
    (folder / "two.toml").write_text('model = "line.py"\ndata = ["x.csv", "line.csv"]\n')
    twice = invoke("run", "two.toml", *SMALL)
    assert (twice.exit_code, twice.stderr) == (
        2,
        "error: 'x' stands in x.csv and in line.csv: rename it in one of them\n",
    )


GROUPS = """
import numpyro
import numpyro.distributions as dist

def model(site, num_site, y=None):
    with numpyro.plate("site", num_site):
        level = numpyro.sample("level", dist.Normal(0.0, 1.0))
    with numpyro.plate("row", site.shape[0]):
        numpyro.sample("y", dist.Normal(level[site], 1.0), obs=y)
"""


def test_text_becomes_codes_and_rows_without_a_cell_are_dropped_on_request(folder, invoke):
    (folder / "groups.py").write_text(GROUPS)
    (folder / "groups.csv").write_text("site,y,note\nfen,1.0,a\nbog,2.0,\nfen,,b\nbog,0.5,c\n")
    refused = invoke("run", "groups.py", "--data", "groups.csv", *SMALL)
    assert refused.exit_code == 2
    assert "'y'" in refused.stderr
    done = invoke("run", "groups.py", "--data", "groups.csv", "--drop-missing", *SMALL)
    assert done.exit_code in (0, 3), done.output
    assert "left aside: note" in done.stdout
    assert "dropped: 1 of 4 rows, which lack a cell (y 1)" in done.stdout
    post = bk.load("groups.zarr")
    assert list(post["posterior"].coords["site"].values) == ["bog", "fen"]
    assert post["observed_data/y"].shape == (3,)


def test_settings_of_columns_are_for_tables(folder, invoke):
    (folder / "a.toml").write_text('model = "line.py"\n[data]\nx = [1.0]\ny = [2.0]\n[columns]\ndrop_missing = true\n')
    assert "say how a table is read, but the [data] table is no table" in invoke("run", "a.toml", *SMALL).stderr
    (folder / "b.toml").write_text('model = "line.py"\ndata = "line.csv"\n[columns]\ngruops = ["x"]\n')
    assert "[columns]: unknown key 'gruops'; did you mean 'groups'?" in invoke("run", "b.toml", *SMALL).stderr


TINY = ["--num-chains", "1", "--num-warmup", "5", "--num-draws", "5", "--no-progress", "--method", "hmc"]


def test_another_model_of_the_same_name_replaces_nothing(folder, invoke):
    assert invoke("run", "line.toml", *TINY).exit_code in (0, 3)
    text = (folder / "line.py").read_text()
    for before, after in (('"sigma"', '"noise"'), ("HalfNormal(1.0)", "HalfNormal(2.0)")):  # other sites, other priors
        (folder / "line.py").write_text(text.replace(before, after))
        refused = invoke("run", "line.toml", *TINY)
        assert refused.exit_code == 2
        assert "line.zarr holds the result of another run (the model has been edited since; " in refused.stderr
    mixed = invoke("run", "line.toml", *TINY, "--resume")
    assert mixed.exit_code == 2
    assert "its functions have been edited since" in mixed.stderr
    assert "sigma" in bk.load("line.zarr")["posterior"]
    (folder / "line.py").write_text(f"# the same\n{text}")
    assert invoke("run", "line.toml", *TINY).exit_code in (0, 3)


def test_labels_are_no_measurements(folder, invoke):
    (folder / "labels.csv").write_text("x,y\n1.0,low\n2.0,high\n3.0,low\n4.0,high\n")
    done = invoke("run", "line.py", "--data", "labels.csv", *TINY)
    assert done.exit_code == 2
    assert "'y' holds text or groups, so its values are codes of labels, and site 'y' (Normal)" in done.stderr
    assert not (folder / "line.zarr").exists()


@pytest.mark.parametrize(
    "kind",
    [
        pytest.param("trace", marks=pytest.mark.full),  # the default, of the next test
        pytest.param("rank", marks=pytest.mark.full),
        pytest.param("forest", marks=pytest.mark.full),
        pytest.param("pair", marks=pytest.mark.full),
        "ppc",
    ],
)
def test_plots(kind, tmp_path, monkeypatch, invoke, predicted):
    monkeypatch.chdir(tmp_path)
    done = invoke("plot", predicted, "--kind", kind)
    assert done.exit_code == 0, done.output
    assert (tmp_path / f"line_{kind}.png").read_bytes()[:4] == b"\x89PNG"
    assert done.stdout == f"plot  line_{kind}.png\n"


@pytest.fixture(scope="module")
def predicted(result, tmp_path_factory):
    rng = np.random.default_rng(0)
    post = bk.load(result).copy()
    from bayeskit.storage.tree import add_group

    draws = {"y": rng.normal(size=(4, 500, 12))}
    path = tmp_path_factory.mktemp("predicted") / "line.nc"
    bk.save(add_group(post.isel(draw=slice(0, 500)), "posterior_predictive", draws, dims={"y": ("point",)}), path)
    return path


def test_plots_that_cannot_be_drawn(result, folder, invoke):
    assert "did you mean 'trace'?" in invoke("plot", result, "--kind", "trac").stderr
    assert "a picture ends in .png, .svg, .pdf, not '.gif'" in invoke("plot", result, "-o", "a.gif").stderr
    assert "bayeskit predict adds them" in invoke("plot", result, "--kind", "ppc").stderr
    assert "did you mean 'slope'?" in invoke("plot", result, "--site", "slop").stderr
    assert "needs two elements or more" in invoke("plot", result, "--kind", "pair", "--site", "slope").stderr
    assert invoke("plot", result, "--site", "slope", "-o", "slope.svg").exit_code == 0
    assert "<svg" in (folder / "slope.svg").read_text()
