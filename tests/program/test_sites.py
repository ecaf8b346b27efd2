"""How a site is read by `log_density`, `Target` and `Pointwise`: against NumPyro, and against sums by hand."""

from __future__ import annotations

import re
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from numpyro import handlers
from numpyro.contrib.control_flow import scan
from numpyro.infer.util import log_density as numpyro_log_density
from scipy import stats

import bayeskit as bk
from bayeskit.inference.batches import lift_batches
from bayeskit.inference.pointwise import Pointwise
from bayeskit.program.sites import read

T = 1.7
ROWS = [4, 0, 2]  # of a plate of six


def normal(x, t):
    return -0.5 * (x / t) ** 2 - np.log(t * np.sqrt(2 * np.pi))


class Base(NamedTuple):
    """A distribution with the parameter `t`; its log density by hand, where the value lies inside."""

    make: Any
    log_prob: Any
    upper: float = np.inf
    moves: bool = False
    event: tuple[int, ...] = ()


BASES = {
    "normal": Base(lambda t: dist.Normal(0.0, t), normal),
    "exponential": Base(lambda t: dist.Exponential(t), lambda x, t: np.log(t) - t * x),
    "uniform": Base(lambda t: dist.Uniform(0.0, t), lambda x, t: -np.log(t) + 0 * x, T, True),
    "vector": Base(
        lambda t: dist.MultivariateNormal(jnp.zeros(2), scale_tril=t * jnp.eye(2)),
        lambda x, t: normal(x, t).sum(-1),
        event=(2,),
    ),
    "transformed": Base(
        lambda t: dist.TransformedDistribution(dist.Normal(0.0, t), dist.transforms.ExpTransform()),
        lambda x, t: normal(np.log(x), t) - np.log(x),
    ),
    "stretched vector": Base(
        lambda t: dist.TransformedDistribution(
            dist.Beta(2.0, 1.0).expand([2]).to_event(1),
            dist.transforms.AffineTransform(0.0, t, domain=dist.constraints.unit_interval),
        ),
        lambda x, t: (np.log(2 * x) - 2 * np.log(t)).sum(-1),
        T,
        True,
        (2,),
    ),
}


class Case(NamedTuple):
    """A site, and what it means.

    Attributes:
        start: batch shape of the innermost distribution.
        wrappers: put around it, one after the other.
        plate: `None`, ``"full"`` or ``"subsampled"``: around all of these.
        outer_mask: of `handlers.mask`, or `None`.
        scale: of `handlers.scale`.
        mask: of each element, by hand; its shape is that of the elements.
        within: how many dimensions of the elements one event has.
    """

    base: str
    start: tuple[int, ...]
    wrappers: tuple[tuple[str, Any], ...]
    plate: str | None
    outer_mask: np.ndarray | None
    scale: float
    mask: np.ndarray
    within: int


def masks(draw, shape):
    size = int(np.prod(shape))
    return np.array(draw(st.lists(st.booleans(), min_size=size, max_size=size)), bool).reshape(shape)


@st.composite
def cases(draw):
    start = draw(st.sampled_from([(), (1,), (2,)]))
    wrappers, mask, within = [], np.ones(start, bool), 0
    for kind in draw(st.lists(st.sampled_from(["expand", "mask", "to_event"]), min_size=1, max_size=5)):
        batch = mask.shape[: mask.ndim - within]
        if kind == "expand" and mask.ndim < 3:
            batch = (*batch[:-1], 3) if batch[-1:] == (1,) else (2, *batch)
            mask = np.broadcast_to(mask, (*batch, *mask.shape[mask.ndim - within :]))
            wrappers.append((kind, batch))
        elif kind == "mask":
            own = masks(draw, batch)
            mask = mask & own.reshape((*batch, *[1] * within))
            wrappers.append((kind, own))
        elif kind == "to_event" and batch:
            within += 1
            wrappers.append((kind, 1))
    plate = draw(st.sampled_from([None, "full", "subsampled"]))
    if plate:
        mask = np.broadcast_to(mask, (len(ROWS), *mask.shape))
    outer = None
    if draw(st.booleans()):
        outer = masks(draw, mask.shape[: mask.ndim - within])
        mask = mask & outer.reshape((*outer.shape, *[1] * within))
    scale = draw(st.sampled_from([1.0, 2.5]))
    return Case(draw(st.sampled_from(list(BASES))), start, tuple(wrappers), plate, outer, scale, mask, within)


def wrapped(case, t):
    distribution = BASES[case.base].make(t).expand(case.start)
    for kind, argument in case.wrappers:
        distribution = getattr(distribution, kind)(argument)
    return distribution


def model_of(case):
    rows = 2 * len(ROWS) if case.plate == "subsampled" else len(ROWS)

    def model(y):
        t = numpyro.sample("t", dist.LogNormal(0.0, 1.0))
        distribution = wrapped(case, t)
        outer = jnp.asarray(True if case.outer_mask is None else case.outer_mask)
        with handlers.scale(scale=case.scale), handlers.mask(mask=outer):
            if not case.plate:
                numpyro.sample("y", distribution, obs=y)
                return
            with numpyro.plate("rows", rows, len(ROWS), dim=-1 - len(distribution.batch_shape)):
                numpyro.sample("y", distribution, obs=y)

    return model


def check(case, number, outside):
    base, random = BASES[case.base], np.random.default_rng(number)
    y = random.uniform(0.05, 1.6, (*case.mask.shape, *base.event))
    by_element = np.where(case.mask, base.log_prob(y, T), 0.0)
    y[~case.mask] = random.choice([np.inf, np.nan, -1.0, 9.0], y[~case.mask].shape)
    kept = np.argwhere(case.mask)
    outside = outside and len(kept) > 0 and case.base not in ("normal", "vector")
    if outside:
        where = tuple(kept[number % len(kept)])
        y[where], by_element[where] = -0.5, -np.inf
    by_event = by_element.sum(tuple(range(by_element.ndim - case.within, by_element.ndim)))
    scale = case.scale * (2.0 if case.plate == "subsampled" else 1.0)
    prior = stats.lognorm(1.0).logpdf(T)
    expected = prior + scale * by_event.sum()

    model, rows = model_of(case), {"rows": jnp.array(ROWS)} if case.plate == "subsampled" else {}
    score = lambda t: bk.log_density(lambda: model(jnp.asarray(y)), {"t": t, **rows})  # noqa: E731
    peer = handlers.substitute(model, data=rows)
    by_numpyro = lambda t: numpyro_log_density(peer, (y,), {}, {"t": t})[0]  # noqa: E731
    (density, slope), theirs = jax.jit(lambda t: (jax.value_and_grad(score)(t), 0.0 if outside else by_numpyro(t)))(T)
    np.testing.assert_allclose(density, expected, rtol=1e-10)
    assert np.isfinite(slope)
    if not outside:
        np.testing.assert_allclose(density, theirs, rtol=1e-10)

    def with_nan(nan, y):  # which `bind` refuses in data, but a model may make
        model(jnp.where(nan, jnp.nan, y))

    program = lift_batches(bk.bind(with_nan, {"nan": np.isnan(y), "y": np.nan_to_num(y)}))
    if outside and not base.moves:
        at = re.escape(f" at {[int(i) for i in where]}") if where else ""
        with pytest.raises(bk.errors.ModelError, match=f"'y': the value .*-0.5.*{at} lies outside the support"):
            bk.Target(program)
        return
    target = bk.Target(program)
    z = {"t": jnp.log(T)}
    terms, slopes = jax.jit(lambda target, z: (target.terms(z), jax.grad(target.log_density)(z)))(target, z)
    np.testing.assert_allclose(terms.likelihood["y"].value, by_event, rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(terms.likelihood["y"].total(), scale * by_event.sum(), rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(terms.prior["t"].total(), prior)
    np.testing.assert_allclose(slopes["t"], 1.0 + T * slope, rtol=1e-8)
    if by_event.size == 1 and y.size > 1:
        with pytest.raises(bk.errors.ModelError, match=f"'y'.*one event of {y.size} numbers"):
            Pointwise(target)
        return
    each = Pointwise(target)
    counts = case.mask.any(tuple(range(case.mask.ndim - case.within, case.mask.ndim)))
    expected = by_event if counts.all() and not each.is_masked("y") else by_event[counts]
    np.testing.assert_allclose(each(jnp.full((1, 1, 1), jnp.log(T)))["y"][0, 0], expected, rtol=1e-10, atol=1e-12)


options = settings(deadline=None, database=None, phases=[Phase.generate], suppress_health_check=list(HealthCheck))


@seed(3)
@settings(options, max_examples=6)
@given(cases(), st.integers(0, 99), st.booleans())
def test_any_nest(case, number, outside):
    check(case, number, outside)


@pytest.mark.slow
@seed(5)
@settings(options, max_examples=400)
@given(cases(), st.integers(0, 99), st.booleans())
def test_many_nests(case, number, outside):
    check(case, number, outside)


# ---------------------------------------------------------------- by hand


FIRST = jnp.array([True, False, False])


def masked_uniform(y):
    t = numpyro.sample("t", dist.LogNormal(0.0, 1.0))
    numpyro.sample("y", dist.Uniform(0.0, t).expand([3]).mask(FIRST).to_event(1), obs=y)


def masked_exponential(y):
    r = numpyro.sample("r", dist.LogNormal(0.0, 1.0))
    numpyro.sample("y", dist.Exponential(r).expand([3]).mask(FIRST).to_event(1), obs=y)


@pytest.mark.parametrize("rest", [0.5, 7.0, np.inf])
def test_masked_elements_of_an_event_are_no_part_of_its_sum(rest):
    target = bk.Target(bk.bind(masked_uniform, {"y": [0.5, rest, rest]}))
    both = jax.jit(lambda target, z: jax.value_and_grad(target.log_likelihood)(z))
    value, slope = both(target, {"t": np.log(4.0)})
    np.testing.assert_allclose(value, -np.log(4.0))
    np.testing.assert_allclose(slope["t"], -1.0)
    assert both(target, {"t": np.log(0.4)})[0] == -np.inf


def test_masked_elements_may_lie_outside_the_support():
    program = bk.bind(masked_exponential, {"y": [0.5, -1.0, -1.0]})
    np.testing.assert_allclose(bk.log_density(program, {"r": 1.0}), -1.418938533)
    np.testing.assert_allclose(bk.Target(program).log_density({"r": jnp.array(0.0)}), -1.418938533)


def test_masked_events_of_a_plate_have_a_log_likelihood_each():
    def model(y, mask):
        r = numpyro.sample("r", dist.LogNormal(0.0, 1.0))
        with numpyro.plate("row", 3):
            numpyro.sample("y", dist.Exponential(r).expand([3, 2]).mask(mask).to_event(1), obs=y)

    mask = np.array([[True, False], [True, True], [False, False]])
    target = bk.Target(bk.bind(model, {"y": [[0.5, -1.0], [0.1, 0.2], [-1.0, -1.0]], "mask": mask}))
    each = Pointwise(target)
    assert each.is_masked("y")
    np.testing.assert_allclose(each(jnp.zeros((1, 1, 1)))["y"], [[[-0.5, -0.3]]])
    with pytest.raises(bk.errors.ModelError, match=r"'y': the value -0.2 at \[1, 1\] lies outside.*Exponential"):
        bk.Target(bk.bind(model, {"y": [[0.5, -1.0], [0.1, -0.2], [0.0, 0.0]], "mask": mask}))


def test_a_support_that_moves_with_a_discrete_site():
    """Outside it an enumerated value has no part in the sum, in the density and in each row of it."""

    def model(y, mask):
        top = numpyro.sample("top", dist.LogNormal(0.0, 1.0).expand([2]).to_event(1))
        with numpyro.plate("row", 3):
            k = numpyro.sample("k", dist.Categorical(jnp.array([0.3, 0.7])), infer={"enumerate": "parallel"})
            with handlers.mask(mask=mask):
                numpyro.sample("y", dist.Uniform(0.0, top[k]), obs=y)

    target = bk.Target(bk.bind(model, {"y": [0.5, 1.5, 9.0], "mask": np.array([True, True, False])}))
    z = {"top": jnp.log(jnp.array([1.0, 3.0]))}
    rows = np.log([0.3 + 0.7 / 3.0, 0.7 / 3.0, 1.0])
    terms, density = jax.jit(lambda z: (target.terms(z), target.log_density(z)))(z)
    np.testing.assert_allclose(terms.likelihood["y"].value, rows, atol=1e-12)
    np.testing.assert_allclose(density - terms.prior["top"].total() - terms.jacobian["top"].total(), rows.sum())
    np.testing.assert_allclose(Pointwise(target)(z["top"][None, None])["y"], rows[None, None, :2])


def test_a_bound_that_is_flat_where_the_parameters_are_zero():
    def model(y):
        x = numpyro.sample("x", dist.Normal(0.0, 1.0))
        numpyro.sample("y", dist.Uniform(0.0, 1.0 + x**2), obs=y)

    target = bk.Target(bk.bind(model, {"y": 1.5}))
    assert target.log_likelihood({"x": jnp.array(0.5)}) == -np.inf
    np.testing.assert_allclose(target.log_likelihood({"x": jnp.array(1.0)}), -np.log(2.0))


def test_masks_within_the_steps_of_a_scan():
    def model(y):
        def step(level, value):
            level = numpyro.sample("level", dist.Normal(level, 0.5))
            numpyro.sample("y", dist.Exponential(jnp.exp(level)).expand([3]).mask(FIRST).to_event(1), obs=value)
            return level, None

        scan(step, 0.0, y)

    level, y = jnp.array([0.2, -0.4]), jnp.array([[0.5, -1.0, -1.0], [0.1, -1.0, 0.3]])
    target = bk.Target(bk.bind(model, {"y": y}))
    both = jax.jit(lambda z: (target.terms(z).likelihood["y"].value, bk.log_density(target.program, z)))
    by_event, density = both({"level": level})
    expected = stats.expon(scale=np.exp(-level)).logpdf(y[:, 0])
    np.testing.assert_allclose(by_event, expected)
    prior = stats.norm([0.0, 0.2], 0.5).logpdf(level).sum()
    np.testing.assert_allclose(density, prior + expected.sum())


def test_a_reading():
    nest = dist.Normal(jnp.zeros(3), 1.0).mask(FIRST).to_event(1).expand([2]).mask(jnp.array([True, False]))
    reading = read(nest)
    assert (reading.elements.batch_shape, reading.within) == ((2, 3), 1)
    np.testing.assert_array_equal(jnp.broadcast_to(reading.mask, (2, 3)), [[True, False, False], [False] * 3])
    np.testing.assert_array_equal(reading.kept_events(), [True, False])
