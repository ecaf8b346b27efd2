"""What every check of draws must do: a row in the table gets all tests.

A row is the name of a finding, its severity, and what must be wrong with otherwise good draws to cause it.
"""

from __future__ import annotations

import re

import numpy as np
import pytest

from bayeskit.diagnostics import check
from bayeskit.storage import make_tree

CHAINS, DRAWS = 4, 1000


def good(rng):
    """Independent draws of two sites, with the statistics of a sampler that had no trouble."""
    values = {"mu": rng.normal(size=(CHAINS, DRAWS)), "tau": np.exp(rng.normal(size=(CHAINS, DRAWS)))}
    lp = -0.5 * (values["mu"] ** 2 + np.log(values["tau"]) ** 2)
    return values, {
        "diverging": np.zeros((CHAINS, DRAWS), bool),
        "energy": -lp + 0.5 * rng.chisquare(2, size=lp.shape),
        "lp": lp,
        "acceptance_rate": rng.uniform(0.7, 1, size=lp.shape),
        "reached_max_treedepth": np.zeros((CHAINS, DRAWS), bool),
    }


def walk(rng, share):
    """An autoregression of that correlation, with variance one."""
    noise = rng.normal(size=(CHAINS, DRAWS)) * (1 - share**2) ** 0.5
    out = np.zeros((CHAINS, DRAWS))
    for step in range(1, DRAWS):
        out[:, step] = share * out[:, step - 1] + noise[:, step]
    return out


def at_one_place(rng, value, where):
    draws = rng.normal(size=(CHAINS, DRAWS))
    draws[where] = value
    return draws


def apart(rng, distance):
    return rng.normal(size=(CHAINS, DRAWS)) + distance * np.arange(CHAINS)[:, None]


def on_their_way(rng):
    mu, lp = rng.normal(size=(2, CHAINS, DRAWS))
    mu[:2, 0], lp[:2, 0] = 50.0, -1250.0
    return {"mu": mu, "lp": lp}


def often(rng, share):
    return rng.uniform(size=(CHAINS, DRAWS)) < share


TROUBLES = {
    "non_finite_draws": ("error", lambda rng: {"mu": at_one_place(rng, np.nan, (1, 5))}),
    "r_hat": ("error", lambda rng: {"mu": apart(rng, 0.4)}),
    "ess_bulk": ("error", lambda rng: {"mu": walk(rng, 0.99)}),
    "ess_tail": ("error", lambda rng: {"mu": walk(rng, 0.99)}),
    "divergences": ("error", lambda rng: {"diverging": often(rng, 0.01)}),
    "tree_depth": ("warning", lambda rng: {"reached_max_treedepth": often(rng, 0.9)}),
    "e_bfmi": ("error", lambda rng: {"energy": walk(rng, 0.999)}),
    "stuck_chain": ("error", lambda rng: {"mu": at_one_place(rng, 0.3, 2)}),
    "separated_chains": ("error", lambda rng: {"mu": apart(rng, 9.0)}),
    "unsettled_density": ("error", lambda rng: {"lp": apart(rng, 1.0)}),
    "early_draws": ("error", lambda rng: on_their_way(rng)),
    "underflow": ("error", lambda rng: {"mu": np.where(often(rng, 0.1), 0.0, 1.0 + walk(rng, 0.0))}),
}
WINDINGS = 2 * np.pi * np.arange(CHAINS)[:, None]
LENGTHS = np.exp(np.arange(CHAINS))[:, None, None]
ANGLE = {"support": "circular"}


def at_the_cut(rng):
    return np.pi + 0.3 * rng.normal(size=(CHAINS, DRAWS))


def wrapped(x):
    return (x + np.pi) % (2 * np.pi) - np.pi


def unwrapped_angle(rng):
    line = at_the_cut(rng) + WINDINGS
    attrs = {"theta": ANGLE, "theta_unwrapped": {"auxiliary_of": "theta"}}
    return {"theta": wrapped(line), "theta_unwrapped": line}, attrs


def direction(rng):
    vector = rng.normal(size=(CHAINS, DRAWS, 3)) * LENGTHS
    values = {"d": vector / np.linalg.norm(vector, axis=-1, keepdims=True), "d_normal": vector}
    return values, {"d_normal": {"auxiliary_of": "d"}}


HARMLESS = {
    "an angle that is not wrapped": lambda rng: ({"theta": at_the_cut(rng) + WINDINGS}, {"theta": ANGLE}),
    "the windings of an angle": unwrapped_angle,
    "the length of a vector of which the direction counts": direction,
}
by_trouble = pytest.mark.parametrize("name", TROUBLES)


def verdict_of(changes=None):
    rng = np.random.default_rng(0)
    values, stats = good(rng)
    for name, value in (changes(rng) if changes else {}).items():
        (stats if name in stats else values)[name] = value
    return check(make_tree({"posterior": values, "sample_stats": stats}), quiet=True)


@by_trouble
def test_trouble_is_found_explained_and_documented(name):
    severity, changes = TROUBLES[name]
    verdict = verdict_of(changes)
    (finding,) = (one for one in verdict.findings if one.name == name)
    assert finding.severity == severity
    assert verdict.ok is all(one.severity != "error" for one in verdict.findings)
    assert finding.meaning.endswith(".")
    assert len(finding.advice) > 20
    assert re.search(rf"`{name}` +(error|warning) ", check.__doc__)


@pytest.mark.parametrize("name", HARMLESS)
def test_what_means_the_same_is_no_trouble(name):
    """And is some where the attributes do not say that it means the same."""
    rng = np.random.default_rng(0)
    values, stats = good(rng)
    more, attrs = HARMLESS[name](rng)
    groups = {"posterior": {**values, **more}, "sample_stats": stats}
    assert check(make_tree(groups, site_attrs=attrs), quiet=True).findings == ()
    assert not check(make_tree(groups), quiet=True).ok


def test_good_draws_have_none():
    assert verdict_of().findings == ()
