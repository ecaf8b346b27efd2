"""Data that index past the end of an array are refused, and nothing else is."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest
from jax.scipy.ndimage import map_coordinates
from numpyro.contrib.control_flow import scan

import bayeskit as bk
from bayeskit.errors import DataError, ModelError
from bayeskit.storage import make_tree
from bayeskit.target import Target, index_check
from bayeskit.xla import indexing

pytestmark = pytest.mark.smoke

Y = np.array([0.1, 0.4, -0.3, 0.9])


def levels(use):
    """Three levels, and four rows that `use` looks up among them."""

    def model(group, y=None):
        with numpyro.plate("levels", 3):
            level = numpyro.sample("level", dist.Normal(0.0, 1.0))
        with numpyro.plate("row", 4):
            numpyro.sample("y", dist.Normal(use(level, group), 1.0), obs=y)

    return model


def carried(level, group):
    return jax.lax.scan(lambda total, i: (total + level[i], level[i]), 0.0, group)[1]


def in_a_loop(level, group):
    return jax.lax.fori_loop(0, 4, lambda i, total: total + level[group[i]], 0.0)


def in_a_while(level, group):
    return jax.lax.while_loop(lambda s: s[0] < 4, lambda s: (s[0] + 1, s[1] + level[group[s[0]]]), (0, 0.0))[1]


def in_a_branch(level, group):
    return jax.lax.cond(group[0] == 0, lambda: level[group], lambda: jnp.zeros(4))


USES = {
    "an index": lambda level, group: level[group],
    "of a table": lambda level, group: jnp.stack([level, level], 1)[group, 1],
    "one element": lambda level, group: level[group[3]],
    "take": lambda level, group: jnp.take(level, group),
    "take along an axis": lambda level, group: jnp.take_along_axis(jnp.tile(level, (4, 1)), group[:, None], 1)[:, 0],
    "counts": lambda level, group: jnp.zeros(3).at[group].add(1.0)[0] + level[0],
    "sums": lambda level, group: jax.ops.segment_sum(jnp.ones(4), group, 3)[0] + level[0],
    "scan": carried,
    "loop": in_a_loop,
    "while": in_a_while,
    "branch": in_a_branch,
    "compiled": jax.jit(lambda level, group: level[group]),
}


def look(model, group, **data):
    return index_check(Target(bk.bind(model, {"group": np.asarray(group), "y": Y, **data})))


@pytest.mark.parametrize("name", USES)
def test_an_index_past_the_end_is_named(name):
    model = levels(USES[name])
    look(model, [0, 1, 2, 2])
    with pytest.raises(DataError, match=r"data 'group' holds 3 at \[3\], and indexes an axis of 3.* 0 to 2"):
        look(model, [0, 1, 2, 3])


@pytest.mark.parametrize("name", [name for name in USES if name not in ("counts", "sums")])
def test_a_negative_index_is_one_too(name):
    with pytest.raises(DataError, match=r"data 'group' holds -1 at \[3\].*is it the code of a missing category"):
        look(levels(USES[name]), [0, 1, 2, -1])


def test_the_line_and_the_likely_cause_are_told():
    model = levels(USES["an index"])
    with pytest.raises(
        DataError, match=r"holds 3 at \[2\] \(and 1 more\).*test_indices\.py, line \d+\).*start at one\? Subtract 1"
    ):
        look(model, [1, 2, 3, 3])
    with pytest.raises(DataError, match=r"holds -2 at \[0\].*it would count from the end"):
        look(model, [-2, 0, 1, 2])
    shifted = levels(lambda level, group: level[group - 1])
    look(shifted, [1, 2, 3, 3])
    with pytest.raises(DataError, match=r"holds 0 .*it may hold 1 to 3"):
        look(shifted, [0, 1, 2, 3])


def test_what_is_meant_is_let_pass():
    """A negative constant, clipping that is asked for, and an index whose branch is not taken."""
    ends = levels(lambda level, group: level[-1] + level[np.array([-1, 0, 1, -3])] + 0.0 * group)
    look(ends, [7, 8, 9, 9])
    look(levels(lambda level, group: jnp.take(level, group, mode="clip")), [0, 1, 2, 9])
    look(levels(lambda level, group: jnp.take(level, group, mode="wrap")), [0, 1, 2, -4])
    look(levels(lambda level, group: level.at[group].get(mode="fill", fill_value=0.0)), [0, 1, 2, 9])
    look(levels(lambda level, group: level[jnp.where(group < 0, group + 3, group)]), [0, 1, 2, -3])
    look(levels(lambda level, group: level[2 * jnp.where(group < 0, group + 2, group)]), [0, 1, 1, -2])
    look(levels(in_a_branch), [1, 7, 8, 9])


def test_functions_that_drop_what_is_out_of_range_are_let_pass():
    """They index past the end by themselves: `tril_indices`, as in the transform to Cholesky factors, among them."""

    def model(group, y):
        factor = numpyro.sample("factor", dist.LKJCholesky(3))
        with numpyro.plate("row", 4):
            level = numpyro.sample("level", dist.Normal(0.0, 1.0))
            counts = jnp.bincount(group, length=2)[0] + jnp.nonzero(group > 0, size=4)[0]
            image = map_coordinates(jnp.eye(3), [10.0 * level, level], order=1, mode="constant")
            numpyro.sample("y", dist.Normal(level + counts + image + factor[2, 0], 1.0), obs=y)

    at = look(model, [0, 1, 5, 9])
    at({"factor": jnp.zeros((1, 3)), "level": jnp.ones((1, 4))})


def test_constants_of_the_model_are_checked():
    outside = np.array([0, 1, 2, 3])
    with pytest.raises(ModelError, match="the index 3, where an axis has 3 elements"):
        look(levels(lambda level, group: level[outside]), [0, 0, 0, 0])


@pytest.mark.parametrize("categories", [3, 4])
def test_all_values_of_a_discrete_site_are_looked_at(categories):
    def model(y):
        with numpyro.plate("level", 3):
            levels = numpyro.sample("levels", dist.Normal(0.0, 1.0))
        with numpyro.plate("row", 4):
            kind = numpyro.sample("kind", dist.Categorical(jnp.ones(categories) / categories))
            numpyro.sample("y", dist.Normal(levels[kind], 1.0), obs=y)

    target = Target(bk.bind(model, {"y": Y}))
    if categories == 3:
        index_check(target)({"levels": jnp.zeros((1, 3))})
        return
    with pytest.raises(ModelError, match="the index 3, where an axis has 3 elements"):
        index_check(target)


def test_indices_of_latent_values_are_checked_where_chains_start():
    def model(y):
        place = numpyro.sample("place", dist.Uniform(0.0, 10.0))
        numpyro.sample("y", dist.Normal(jnp.arange(5.0)[place.astype(int)], 1.0), obs=y)

    at = index_check(Target(bk.bind(model, {"y": Y[0]})))
    at({"place": jnp.array([-2.0, -1.0])})
    with pytest.raises(ModelError, match="made of latent values is 7 at the start of chain 1, where an axis has 5"):
        at({"place": jnp.array([-2.0, 1.1])})


def test_a_scan_of_the_model_is_looked_into():
    def model(group, y):
        with numpyro.plate("levels", 3):
            level = numpyro.sample("level", dist.Normal(0.0, 1.0))

        def step(last, row):
            number, value = row
            return numpyro.sample("x", dist.Normal(last + level[number], 1.0), obs=value), None

        scan(step, 0.0, (group, y))

    look(model, [0, 1, 2, 2])
    with pytest.raises(DataError, match=r"data 'group' holds 3 at \[3\]"):
        look(model, [0, 1, 2, 3])


def test_infer_and_predict_check():
    model, tiny = levels(USES["an index"]), bk.NUTS(num_chains=1, num_warmup=5, num_draws=5)
    with pytest.raises(DataError, match="'group' holds 57"):
        bk.infer(model, {"group": np.array([0, 1, 2, 57]), "y": Y}, tiny, key=0, progress=False)
    post = make_tree({"posterior": {"level": np.zeros((1, 5, 3))}}, site_kinds={"level": "latent"})
    with pytest.raises(DataError, match="'group' holds 57"):
        bk.predict(model, {"group": np.array([0, 1, 2, 57])}, post, key=0)


def test_solvers_of_differential_equations_index_as_they_like(monkeypatch):
    """Beyond the last time they read what they do not use."""
    diffrax = pytest.importorskip("diffrax")

    def decay(times, y):
        rate = numpyro.sample("rate", dist.LogNormal(0.0, 0.5))
        term, saved = diffrax.ODETerm(lambda time, state, rate: -rate * state), diffrax.SaveAt(ts=times)
        path = diffrax.diffeqsolve(term, diffrax.Euler(), 0.0, times[-1], 0.1, jnp.ones(()), rate, saveat=saved)
        numpyro.sample("y", dist.Normal(path.ys, 0.1), obs=y)

    def check(times):
        index_check(Target(bk.bind(decay, {"times": times, "y": np.exp(-times)})))({"rate": np.zeros(1)})

    check(np.array([0.5, 1.0, 2.0]))
    monkeypatch.setattr(indexing, "_OWN_AFFAIR", ())
    with pytest.raises(ModelError, match="an index that is made of latent values is 4 at the start of chain 0"):
        check(np.array([0.5, 1.0, 1.5, 2.0]))
