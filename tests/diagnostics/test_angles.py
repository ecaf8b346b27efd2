"""Angles, and auxiliary sites several of whose values mean the same."""

from __future__ import annotations

import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest
from numpyro.handlers import reparam
from numpyro.infer.reparam import CircularReparam
from scipy import special, stats

import bayeskit as bk
from bayeskit.diagnostics import check, summary
from bayeskit.diagnostics.tables import note_on_angles
from bayeskit.storage import make_tree

CHAINS, DRAWS = 4, 1000
WINDINGS = 2 * np.pi * np.array([0, 3, -1, 12])[:, None]
ATTRS = {"theta": {"support": "circular"}, "theta_unwrapped": {"auxiliary_of": "theta"}}
KINDS = {"theta": "deterministic", "theta_unwrapped": "latent"}


def wrapped(x):
    return (x + np.pi) % (2 * np.pi) - np.pi


def reparameterised(unwrapped, attrs=ATTRS):
    """What a fit with `CircularReparam` leaves."""
    values = {"theta_unwrapped": unwrapped, "theta": wrapped(unwrapped)}
    return make_tree({"posterior": values}, site_kinds=KINDS, site_attrs=attrs)


def normal(key, loc=0.0, scale=0.3):
    return loc + scale * np.random.default_rng(key).normal(size=(CHAINS, DRAWS))


def names(verdict):
    return {finding.name for finding in verdict.findings}


# ---------------------------------------------------------------- no false alarm


@pytest.mark.parametrize("key", range(3))
@pytest.mark.parametrize("loc", [0.0, np.pi, -2.0])
def test_chains_on_different_windings_agree(key, loc):
    post = reparameterised(normal(key, loc) + WINDINGS)
    verdict = check(post, quiet=True)
    assert verdict.findings == ()
    assert "theta_unwrapped (auxiliary; theta is judged in its place)" in verdict.unchecked
    assert summary(post).loc["theta_unwrapped", "r_hat"] > 1.5  # shown as it is
    plain = check(reparameterised(normal(key, loc) + WINDINGS, {}), quiet=True)
    assert {"separated_chains", "r_hat", "ess_bulk"} <= names(plain)


def test_where_the_circle_is_cut_makes_no_difference():
    """Sticky chains around a point, and around the cut, which a line would have them jump over."""
    draws = np.zeros((CHAINS, DRAWS))
    noise = normal(0)
    for t in range(1, DRAWS):
        draws[:, t] = 0.6 * draws[:, t - 1] + noise[:, t]
    verdicts = [check(reparameterised(draws + shift + WINDINGS), quiet=True) for shift in (0.0, np.pi)]
    assert [verdict.ok for verdict in verdicts] == [True, True]
    for measure in ("max_r_hat", "min_ess_bulk", "min_ess_tail"):
        one, other = (getattr(verdict, measure) for verdict in verdicts)
        assert one == pytest.approx(other, rel=1e-9)


OBSERVED = np.array([3.0, -3.1, 2.9, -2.8, 3.1])


def circular():
    with reparam(config={"theta": CircularReparam()}):
        theta = numpyro.sample("theta", dist.VonMises(0.0, 0.5))
    numpyro.sample("y", dist.VonMises(theta, 8.0), obs=OBSERVED)


@pytest.fixture(scope="module")
def fit():
    """Its chains are on different windings."""
    post = bk.infer(circular, None, bk.NUTS(num_warmup=300, num_draws=400), key=0, progress=False)
    assert np.ptp(np.round(post["posterior/theta_unwrapped"].values / (2 * np.pi))) >= 1
    return post


def test_a_fit_with_windings_is_good(fit, tmp_path):
    assert fit["posterior/theta"].attrs == {"site_kind": "deterministic", "support": "circular"}
    assert fit["posterior/theta_unwrapped"].attrs == {"site_kind": "latent", "auxiliary_of": "theta"}
    assert check(fit, quiet=True).findings == ()
    bk.save(fit, tmp_path / "post.zarr")
    assert check(bk.load(tmp_path / "post.zarr"), quiet=True) == check(fit, quiet=True)


def test_the_summary_of_a_fit_is_the_posterior_on_the_circle(fit):
    """The von Mises family is conjugate: the posterior's vector is the sum of the prior's and of the observations'."""
    vector = 0.5 + 8.0 * np.exp(1j * OBSERVED).sum()
    resultant = special.ive(1, abs(vector)) / special.ive(0, abs(vector))
    row = summary(fit).loc["theta"]
    assert abs(wrapped(row["mean"] - np.angle(vector))) < 4 * row["mcse_mean"]
    assert abs(row["sd"] - np.sqrt(-2 * np.log(resultant))) < 4 * row["mcse_sd"]


# ---------------------------------------------------------------- what is wrong is still found


@pytest.mark.parametrize("other", [2.5, np.pi - 0.5, -0.5])  # the same sine as 0.5, or the same cosine
def test_modes_of_the_angle_that_the_model_sees(other):
    draws = normal(0, 0.5, 0.1)
    draws[3] += other - 0.5
    verdict = check(reparameterised(draws + WINDINGS), quiet=True)
    assert {"separated_chains", "r_hat"} <= names(verdict)
    assert set(verdict.findings[0].sites) <= {"sin(theta)", "cos(theta)"}


def test_chains_that_do_not_pass_the_cut():
    """A latent angle is put on an interval: each chain knows one half of a mode at its ends."""
    side = np.array([1, 1, -1, 1])[:, None]
    draws = side * (np.pi - np.abs(normal(0)))
    verdict = check(make_tree({"posterior": {"theta": draws}}, site_attrs=ATTRS), quiet=True)
    assert {"separated_chains", "r_hat"} <= names(verdict)


def test_a_chain_that_stands_still():
    draws = normal(0)
    draws[1] = draws[1, 0]
    found = check(reparameterised(draws + WINDINGS), quiet=True).findings[0]
    assert found.name == "stuck_chain"
    assert found.sites == ("sin(theta)", "cos(theta)")
    assert "chain 1 barely moves" in found.meaning


def test_an_auxiliary_site_alone_is_judged():
    draws = normal(0) + WINDINGS
    post = make_tree({"posterior": {"theta_unwrapped": draws}}, site_attrs=ATTRS)
    assert "separated_chains" in names(check(post, quiet=True))


def test_an_auxiliary_site_that_is_not_finite():
    draws = normal(0) + WINDINGS
    draws[0, 5] = np.inf
    values = {"theta_unwrapped": draws, "theta": wrapped(normal(0))}
    verdict = check(make_tree({"posterior": values}, site_attrs=ATTRS), quiet=True)
    assert [(one.name, one.sites) for one in verdict.findings] == [("non_finite_draws", ("theta_unwrapped",))]


def test_names_that_a_tree_cannot_hold():
    draws = normal(0) + WINDINGS
    attrs = {
        f"a/{name}": {key: value.replace("theta", "a/theta") for key, value in row.items()}
        for name, row in ATTRS.items()
    }
    post = make_tree({"posterior": {"a/theta_unwrapped": draws, "a/theta": wrapped(draws)}}, site_attrs=attrs)
    verdict = check(post, quiet=True)
    assert verdict.findings == ()
    assert "a.theta_unwrapped (auxiliary; a.theta is judged in its place)" in verdict.unchecked


def fitted(draws, log_weight):
    values = {"theta_unwrapped": draws, "theta": wrapped(draws)}
    sample_stats = {"lp": log_weight, "log_weight": log_weight}
    return make_tree({"posterior": values, "sample_stats": sample_stats}, site_kinds=KINDS, site_attrs=ATTRS)


def test_fits_on_different_windings_agree_and_their_moments_are_of_the_circle():
    draws = normal(0, np.pi)
    even = 0.05 * normal(1)
    assert check(fitted(draws + WINDINGS, even), quiet=True).findings == ()
    lean = (draws - np.pi) / 0.3  # the posterior is a whole standard deviation further on
    verdict = check(fitted(draws + WINDINGS, lean), quiet=True)
    assert [(one.name, one.sites) for one in verdict.findings] == [("guide_moments", ("theta",))]


# ---------------------------------------------------------------- the summary


def test_the_summary_of_an_angle_is_circular():
    """Of a wrapped normal distribution, $R = exp(-sigma^2 / 2)$, so that the circular standard deviation is sigma."""
    scale = np.array([1e-6, 0.1, 0.5, 1.5])
    draws = np.random.default_rng(0).normal(size=(CHAINS, DRAWS, 4)) * scale + np.pi
    post = make_tree(
        {"posterior": {"a": draws, "theta": wrapped(draws), "z": draws}}, site_attrs={"theta": {"support": "circular"}}
    )
    table = summary(post)
    assert list(table.index) == [f"{name}[{k}]" for name in ("a", "theta", "z") for k in range(4)]
    rows = table.loc[[f"theta[{k}]" for k in range(4)]]
    flat = wrapped(draws).reshape(-1, 4)
    np.testing.assert_allclose(rows["mean"], stats.circmean(flat, np.pi, -np.pi, axis=0), atol=1e-12)
    # SciPy's loses its digits where the angles are close together
    np.testing.assert_allclose(rows["sd"][1:], stats.circstd(flat, np.pi, -np.pi, axis=0)[1:], rtol=1e-9)
    assert np.all(np.abs(wrapped(rows["mean"] - np.pi)) < 4 * rows["mcse_mean"])
    assert np.all(np.abs(rows["sd"] - scale) < 4 * rows["mcse_sd"])
    # where the circle is not nearly full, the quantiles are those of the line, seen from the mean
    line = table.loc[[f"a[{k}]" for k in range(3)]]
    turns = 2 * np.pi * np.round((line["mean"].to_numpy() - rows["mean"].to_numpy()[:3]) / (2 * np.pi))
    np.testing.assert_allclose(rows[["q5", "q95"]][:3] + turns[:, None], line[["q5", "q95"]], atol=1e-9)
    np.testing.assert_allclose(table.loc["z[0]"], table.loc["a[0]"])


def test_standard_errors_of_circular_means_are_calibrated():
    """Over 100 autoregressions of a wide wrapped distribution, the z-scores have unit spread."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(4, 500, 100))
    for t in range(1, 500):
        x[:, t] = 0.5 * x[:, t - 1] + np.sqrt(0.75) * x[:, t]
    post = make_tree({"posterior": {"x": wrapped(x + 3.0)}}, site_attrs={"x": {"support": "circular"}})
    table = summary(post)
    for scores in (wrapped(table["mean"] - 3.0) / table["mcse_mean"], (table["sd"] - 1) / table["mcse_sd"]):
        assert abs(np.std(scores) - 1) < 4 / np.sqrt(2 * 100)


def test_the_reader_is_told(tmp_path, capsys):
    from bayeskit.cli.show import show_summary

    post = reparameterised(normal(0) + WINDINGS)
    note = "theta is an angle: its mean is the mean direction, and q5 and q95 are counted from it."
    assert note_on_angles(post) == note
    assert note_on_angles(post, ["theta_unwrapped"]) == ""
    show_summary(post, sites=None, limit=None)
    assert note in " ".join(capsys.readouterr().out.split())
    page = bk.report(post, tmp_path / "report.html").read_text()
    assert note in page
    assert "Trace plots of theta&#34;" in page or 'alt="Trace plots of theta"' in page  # the auxiliary is not drawn
    two = make_tree(
        {"posterior": {"a": normal(0), "b": normal(1)}}, site_attrs={n: {"support": "circular"} for n in "ab"}
    )
    assert (
        note_on_angles(two)
        == "a, b are angles: their means are mean directions, and q5 and q95 are counted from these."
    )
