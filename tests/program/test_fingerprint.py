"""A fingerprint tells models apart that have the same sites, and not by how they are laid out."""

from __future__ import annotations

import numpy as np
import pytest

from bayeskit.program import bind
from bayeskit.program.fingerprint import fingerprint, may_be_same

SOURCE = """
import numpyro, numpyro.distributions as dist
SCALE = (1.0, 2.0)
def prior(): return numpyro.sample("mu", dist.Normal(0.0, 1.5))
def model(y):
    "What it is."
    numpyro.sample("y", dist.Normal(prior() * SCALE[0], 1.0), obs=y)
"""


def of(source):
    names = {"__name__": "models.m"}
    exec(source, names)
    return fingerprint(bind(names["model"], {"y": np.ones(2)}))


@pytest.mark.parametrize(("before", "after"), [("1.5", "1.6"), ("(1.0,", "(1.1,"), ("1.0), obs", "0.9), obs")])
def test_an_edit_counts(before, after):
    assert not may_be_same(of(SOURCE), of(SOURCE.replace(before, after)))


def test_comments_and_docstrings_do_not_count():
    laid_out = SOURCE.replace('"What it is."', '"""Else."""  # why\n').replace("def model", "\n\ndef model")
    assert of(SOURCE) == of(laid_out)


def test_what_cannot_be_compared_may_be_the_same():
    assert may_be_same(None, of(SOURCE))
    assert may_be_same("python3.1:0123", of(SOURCE))
