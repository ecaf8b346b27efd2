"""The networks that come with the package."""

from pathlib import Path

import numpy as np
import pytest

from bayeskit.errors import MethodError
from bayeskit.models import pfn
from bayeskit.models.pfn.prior import Prior

HOME = Path(pfn.__file__).parent / "nets"


@pytest.mark.parametrize("name", ["regression", pytest.param("tables", marks=pytest.mark.full)])
def test_they_know_the_prior_they_were_trained_on(name):
    net = pfn.pretrained(name)
    settings = {"Curve": {}, "Table": {"num_rows": 64, "num_features": 32, "num_classes": 4}}
    prior = getattr(pfn.priors, net.facts.prior)(**settings[net.facts.prior])
    assert net.facts.fingerprint == Prior(prior).fingerprint


def test_they_are_small():
    assert sum(path.stat().st_size for path in HOME.iterdir()) < 3 * 2**20


@pytest.mark.full
def test_curves_are_calibrated():
    found = pfn.check(pfn.pretrained("regression"), pfn.priors.Curve(), num_sets=128)
    assert found.ok, found
    assert (np.abs(found.held - 0.95) < 0.02 + 4 * found.held_error).all()


def test_there_are_no_others():
    with pytest.raises(MethodError, match="name must be one of 'regression', 'tables', got 'curves'"):
        pfn.pretrained("curves")
