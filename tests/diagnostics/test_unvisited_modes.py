"""What the verdict says of modes that the ascents have found and the draws have not."""

from __future__ import annotations

import json

import numpy as np
import pytest

import bayeskit as bk
from bayeskit.storage import make_tree

FAR = 8.0


def mode(place, log_mass, scale=1.0):
    return {"log_mass": log_mass, "centre": {"x": [place, place]}, "scale": {"x": [scale, scale]}}


def findings(modes, places=(0.0,) * 4, **site):
    """Of chains of standard normal draws around some places."""
    draws = np.random.default_rng(0).normal(size=(4, 1000, 2)) + np.asarray(places)[:, None, None]
    post = make_tree({"posterior": {"x": draws}}, attrs={"modes": json.dumps(modes)}, **site)
    return [f for f in bk.check(post, quiet=True).findings if f.name == "unvisited_mode"]


def test_a_mode_that_changes_the_moments_is_an_error():
    (finding,) = findings([mode(0.0, 0.0), mode(FAR, np.log(0.25))])
    assert finding.severity == "error"
    assert finding.value == pytest.approx(0.2)
    assert set(finding.sites) == {"x[0]", "x[1]"}
    assert "20% of the posterior" in finding.meaning.replace("20.0", "20")
    assert "swapped" not in finding.meaning


def test_a_mode_that_hardly_changes_them_is_a_warning():
    (finding,) = findings([mode(0.0, 0.0), mode(4.0, np.log(0.01))])
    assert finding.severity == "warning"


def test_labels_that_may_be_swapped_are_named():
    (finding,) = findings([mode(0.0, 0.0), mode(FAR, 0.0), mode(-FAR, -0.1)])
    assert "labels swapped" in finding.meaning
    assert "1 more such mode" in finding.meaning


@pytest.mark.parametrize(
    ("modes", "places"),
    [
        ([mode(0.0, 0.0), mode(FAR, 0.0)], (0.0, 0.0, 0.0, FAR)),
        ([mode(0.0, 0.0), mode(FAR, -6.0)], (0.0,) * 4),
        ([mode(-FAR, 0.0), mode(FAR, 0.0)], (0.0,) * 4),
        ([mode(0.0, 0.0), mode(1.0, 0.0)], (0.0,) * 4),
        ([], (0.0,) * 4),
    ],
    ids=["visited", "no mass", "none is where the draws are", "within the draws", "none known"],
)
def test_what_is_no_trouble(modes, places):
    assert findings(modes, places) == []


def test_a_file_with_other_sites_is_not_judged():
    draws = np.random.default_rng(0).normal(size=(4, 1000))
    post = make_tree({"posterior": {"y": draws}}, attrs={"modes": json.dumps([mode(0.0, 0.0), mode(FAR, 0.0)])})
    assert bk.check(post, quiet=True).ok
