"""What the verdict says of the fits of a calibration, from fabricated ranks; and that no finding is without a test."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

import bayeskit as bk

ROOT = Path(__file__).resolve().parents[2]
NUMBER = 200


def ranks(number=NUMBER, **fits):
    """Uniform ranks of one site, of fits without trouble but for what is given: an array over the replicates."""
    pit = xr.Dataset({"mu": ("replicate", np.random.default_rng(0).uniform(size=number))})
    whole = {"failure": np.full(number, ""), "ess": np.full(number, 99.0), "num_divergences": np.zeros(number, int)}
    replicates = xr.Dataset({name: ("replicate", array) for name, array in (whole | fits).items()})
    return xr.DataTree.from_dict({"/pit": pit, "/replicates": replicates})


def some(share, value, rest, number=NUMBER):
    return np.where(np.arange(number) < share * number, value, rest)


def found(tree):
    return [(finding.name, finding.severity) for finding in bk.check(tree, quiet=True).findings]


@pytest.mark.parametrize(
    ("fits", "expected"),
    [
        ({}, []),
        ({"num_divergences": some(0.05, 3, 0)}, []),
        ({"num_divergences": some(0.06, 3, 0)}, [("divergent_replicates", "warning")]),
        ({"ess": some(0.1, 8.0, 99.0)}, [("stuck_replicates", "warning")]),
        ({"ess": some(0.11, 8.0, 99.0)}, [("stuck_replicates", "error")]),
        ({"failure": some(0.05, "ValueError", "")}, [("failed_replicates", "warning")]),
        ({"failure": some(0.06, "ValueError", "")}, [("failed_replicates", "error")]),
    ],
)
def test_fits_in_trouble(fits, expected):
    assert found(ranks(**fits)) == expected


def test_few_replicates():
    assert found(ranks(99)) == [("few_replicates", "warning")]
    assert found(ranks(100)) == []


def test_every_finding_has_a_test_that_causes_it():
    """By name: of all that `check` lists, each stands in some test."""
    listed = re.findall(r"^ +`(\w+)` +(?:error|warning)", bk.check.__doc__, re.MULTILINE)
    assert len(listed) > 50
    text = "\n".join(path.read_text() for path in (ROOT / "tests").rglob("test_*.py"))
    assert [name for name in listed if not re.search(rf"\b{name}\b", text)] == []


def test_every_finding_is_explained():
    listed = re.findall(r"^ +`(\w+)` +(?:error|warning)", bk.check.__doc__, re.MULTILINE)
    text = (ROOT / "docs" / "verdict.md").read_text() + (ROOT / "docs" / "calibration.md").read_text()
    assert [name for name in listed if f"`{name}`" not in text] == []
