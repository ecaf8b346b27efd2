"""The step form of BlackJAX's sampler: exact metrics, right moments, and the same chain however it is run."""

from __future__ import annotations

from functools import cache, partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bayeskit.inference.mcmc import blackjax_nuts
from bayeskit.inference.mcmc.blackjax_adaptation import ADAPTATIONS, History, blackjax_metric, find_adaptation
from bayeskit.inference.mcmc.blackjax_nuts import NUTSSettings, init_chain, step_chain
from bayeskit.inference.mcmc.metrics import (
    CUTOFF,
    DenseMetric,
    LowRankMetric,
    Moments,
    dense_metric,
    diagonal_metric,
    low_rank_metric,
)
from bayeskit.xla.cpu_kernel import has_single_kernel, is_available, kernel_options, single_kernel

needs_single_kernels = pytest.mark.skipif(not is_available(), reason="no CPU, or turned off")

SCALE = np.array([0.02, 1.0, 30.0])
CORRELATION = np.array([[1.0, 0.9, -0.3], [0.9, 1.0, -0.2], [-0.3, -0.2, 1.0]])
COVARIANCE = jnp.asarray(CORRELATION * np.outer(SCALE, SCALE))
PRECISION = jnp.linalg.inv(COVARIANCE)
MEAN = jnp.array([1.0, -2.0, 50.0])
STATISTICS = {
    "diverging", "energy", "lp", "acceptance_rate", "step_size", "tree_depth", "n_steps", "reached_max_treedepth",
}  # fmt: skip


ROWS, COLUMNS = np.indices((3, 3)).reshape(2, -1)


def normal(position):
    """Correlated normal whose scales span three orders of magnitude.

    By indexing, so that its gradient is a scatter, where that can be part of a single kernel.
    """
    centred = position - MEAN
    if not kernel_options():
        return -0.5 * centred @ PRECISION @ centred
    return -0.5 * jnp.sum(PRECISION.ravel() * centred[ROWS] * centred[COLUMNS])


NUM_CHAINS, NUM_STEPS, NUM_WARMUP = 32, 600, 300


def settings_of(adaptation, single=False):
    return NUTSSettings(num_warmup=NUM_WARMUP, adaptation=adaptation, single_kernel=single)


def positions_and_more(settings, state):
    state, statistics = step_chain(settings, state, normal)
    return state, (state.position.position, state.step_size, state.metric.inverse_mass_matrix, statistics)


@cache
def chains_of(adaptation):
    """Start chains, and a program that takes the first `count` of them `steps` further; one compilation for all."""
    settings = settings_of(adaptation, single=is_available())

    @jax.jit
    def start(keys, positions):
        return jax.vmap(lambda key, position: init_chain(settings, key, normal, position))(keys, positions)

    @partial(jax.jit, compiler_options={**kernel_options(), "xla_backend_optimization_level": 3})
    def advance(states, count, steps):
        shapes = jax.eval_shape(partial(positions_and_more, settings), jax.tree.map(lambda leaf: leaf[0], states))[1]
        empty = jax.tree.map(lambda leaf: jnp.zeros((NUM_CHAINS, NUM_STEPS, *leaf.shape), leaf.dtype), shapes)

        def one_chain(chain, carry):
            def one_step(i, carry):
                state, found = carry
                state, new = positions_and_more(settings, state)
                return state, jax.tree.map(lambda all, one: all.at[chain, i].set(one), found, new)

            states, found = carry
            own = jax.tree.map(lambda leaf: leaf[chain], states)
            own, found = jax.lax.fori_loop(0, steps, one_step, (own, found))
            return jax.tree.map(lambda all, one: all.at[chain].set(one), states, own), found

        return jax.lax.fori_loop(0, count, one_chain, (states, empty))

    keys = jax.random.split(jax.random.key(3), NUM_CHAINS)
    return start(keys, MEAN + SCALE * jax.random.normal(jax.random.key(4), (NUM_CHAINS, 3))), advance


@cache
def whole_run(adaptation):
    states, advance = chains_of(adaptation)
    return jax.tree.map(np.asarray, advance(states, NUM_CHAINS, NUM_STEPS))


def moments_of(draws, gradients, dense):
    both = np.stack([draws, gradients])
    centred = both - both.mean(1, keepdims=True)
    squares = np.einsum("kni,knj->kij", centred, centred) if dense else (centred**2).sum(1)
    return Moments(jnp.asarray(float(len(draws))), jnp.asarray(both.mean(1)), jnp.asarray(squares))


def test_dense_metric_of_a_normal_is_its_covariance_after_few_draws():
    draws = np.random.default_rng(0).multivariate_normal(MEAN, COVARIANCE, size=5)
    gradients = -(draws - MEAN) @ PRECISION
    previous = DenseMetric(jnp.eye(3), jnp.eye(3))
    metric = dense_metric(moments_of(draws, gradients, dense=True), previous)
    relative = metric.inverse_mass_matrix / np.outer(SCALE, SCALE)
    np.testing.assert_allclose(relative, CORRELATION, atol=1e-3)
    np.testing.assert_allclose(metric.root @ metric.root.T @ metric.inverse_mass_matrix, np.eye(3), atol=1e-6)


def test_diagonal_metric_of_independent_normals_is_exact_after_two_draws():
    draws = np.random.default_rng(1).normal(size=(2, 3)) * SCALE
    metric = diagonal_metric(moments_of(draws, -draws / SCALE**2, dense=False), jnp.ones(3))
    np.testing.assert_allclose(metric, SCALE**2, rtol=1e-10)


def test_low_rank_metric_finds_the_correlated_directions():
    """Two factors of a normal in 40 dimensions: eigenvalues 25 and 1/25 in the units of the scale."""
    generator = np.random.default_rng(2)
    factors = np.linalg.qr(generator.normal(size=(40, 2)))[0]
    scale = np.geomspace(0.1, 10.0, 40)
    covariance = np.outer(scale, scale) * (np.eye(40) + factors @ np.diag([24.0, 1 / 25 - 1]) @ factors.T)
    draws = generator.multivariate_normal(np.zeros(40), covariance, size=200)
    gradients = -draws @ np.linalg.inv(covariance)
    rows = 220  # some of them unused
    pairs = np.full((2, rows, 40), 7.0)
    pairs[:, 10:210] = draws, gradients
    used = jnp.asarray((np.arange(rows) >= 10) & (np.arange(rows) < 210))
    previous = LowRankMetric(jnp.ones(40), jnp.eye(40, 4), jnp.ones(4))
    metric = jax.jit(low_rank_metric)(jnp.asarray(pairs), used, moments_of(draws, gradients, dense=False), previous)
    np.testing.assert_allclose(metric.vectors.T @ metric.vectors, np.eye(4), atol=1e-8)
    matrix = (np.eye(40) + (metric.vectors * (metric.values - 1)) @ metric.vectors.T) * np.outer(*[metric.scale] * 2)
    condition = np.linalg.eigvals(matrix @ np.linalg.inv(covariance)).real
    before = np.linalg.eigvals(np.diag(np.diag(covariance)) @ np.linalg.inv(covariance)).real
    assert before.max() / before.min() > 2 * CUTOFF**2
    assert condition.max() / condition.min() < CUTOFF**2


def test_a_history_knows_its_latest_draws():
    history = History.empty(jnp.zeros(1), 3)
    for value in (1.0, 2.0, jnp.nan, 3.0, 4.0, 5.0):
        history = history.write(jnp.full((2, 1), value), jnp.asarray(value != 4.0))
    latest = [sorted(history.pairs[0, history.latest(jnp.asarray(n)), 0].tolist()) for n in (1, 2, 3, 9)]
    assert latest == [[5.0], [3.0, 5.0], [2.0, 3.0, 5.0], [2.0, 3.0, 5.0]]
    assert not History.empty(jnp.zeros(1), 3).latest(jnp.asarray(2)).any()


@pytest.mark.parametrize("dense", [True, False])
def test_a_chain_that_has_not_moved_keeps_its_metric(dense):
    draws = np.ones((4, 3))
    estimate = dense_metric if dense else diagonal_metric
    previous = DenseMetric(2 * jnp.eye(3), jnp.eye(3)) if dense else jnp.full(3, 2.0)
    metric = estimate(moments_of(draws, draws, dense), previous)
    assert all(
        jnp.array_equal(new, old) for new, old in zip(jax.tree.leaves(metric), jax.tree.leaves(previous), strict=True)
    )


@pytest.mark.parametrize("adaptation", ["diagonal", "dense"])
def test_a_draw_that_is_not_finite_is_left_out(adaptation):
    functions = find_adaptation(adaptation, 3, 100, 1)
    state = functions.init(jnp.ones(3), jnp.ones(3))
    pair = jnp.array([[1.0, 1.0, 1.0], [1.0, jnp.nan, 0.0]])
    after = functions.update(state, None, pair, jnp.asarray(True), jnp.asarray(False))
    assert all(
        jnp.array_equal(new, old) for new, old in zip(jax.tree.leaves(after), jax.tree.leaves(state), strict=True)
    )


@pytest.mark.parametrize("num_warmup", [0, 1, 19, 20, 150, 1000])
@pytest.mark.parametrize("adaptation", ADAPTATIONS)
def test_schedules_have_one_row_a_step_and_end_without_the_metric(adaptation, num_warmup):
    schedule = find_adaptation(adaptation, 3, num_warmup, 1).schedule
    assert {table.shape for table in schedule} == {(num_warmup,)}
    assert not np.any(schedule.close & ~schedule.collect)
    if num_warmup >= 20:
        assert schedule.close.sum() > 0
        assert not schedule.collect[-1]


def test_an_unknown_adaptation_is_an_error():
    with pytest.raises(ValueError, match="'dens' is not one of auto, diagonal, dense"):
        find_adaptation("dens", 3, 100, 1)


@pytest.mark.parametrize("adaptation", ADAPTATIONS[1:])
def test_moments_of_a_normal(adaptation):
    """Independent chains: their means scatter by an error that needs no estimate of autocorrelation."""
    _, (draws, _, _, statistics) = whole_run(adaptation)
    draws = draws[:, NUM_WARMUP:]
    assert set(statistics) == STATISTICS
    assert not np.any(statistics["diverging"][:, NUM_WARMUP:])
    for value, truth in ((draws, MEAN), ((draws - MEAN) ** 2, jnp.diag(COVARIANCE))):
        mean = value.mean(1)
        z = (mean.mean(0) - truth) / (mean.std(0, ddof=1) / NUM_CHAINS**0.5)
        assert np.max(np.abs(z)) < 4
    rate = statistics["acceptance_rate"][:, NUM_WARMUP:]
    assert 0.7 < rate.mean() < 0.95


@pytest.mark.parametrize("adaptation", ADAPTATIONS[1:])
def test_chunks_do_not_matter_and_nothing_changes_after_warmup(adaptation):
    state, advance = chains_of(adaptation)
    assert state.key.dtype == jnp.uint32
    parts = []
    for length in (130, 210, 20):
        state, part = advance(state, 1, length)
        parts.append([np.asarray(leaf)[0, :length] for leaf in jax.tree.leaves(part)])
    whole_state, whole = whole_run(adaptation)
    for *found, expected in zip(*parts, jax.tree.leaves(whole), strict=True):
        np.testing.assert_array_equal(np.concatenate(found), expected[0, :360])
    assert int(state.step[0]) == 360
    assert np.all(whole_state.step == NUM_STEPS)
    _, step_size, inverse_mass, statistics = whole
    for constant in jax.tree.leaves((step_size, inverse_mass)):
        assert np.all(constant[:, NUM_WARMUP:] == constant[:, NUM_WARMUP - 1 : NUM_WARMUP])
    np.testing.assert_array_equal(statistics["step_size"][:, 1:], step_size[:, :-1])


@needs_single_kernels
@pytest.mark.parametrize(
    "adaptation",  # window has the metric of diagonal
    [pytest.param(name, marks=pytest.mark.full if name == "window" else ()) for name in ADAPTATIONS[1:]],
)
def test_one_kernel_gives_the_chain_that_many_give(adaptation):
    states, advance = chains_of(adaptation)
    settings = settings_of(adaptation)
    assert has_single_kernel(jax.value_and_grad(normal), jnp.zeros(3))

    @jax.jit
    def plain(state):
        return jax.lax.scan(lambda state, _: positions_and_more(settings, state), state, None, length=10)[1][0]

    single = advance(states, 1, 10)[1][0][0, :10]
    np.testing.assert_allclose(single, plain(jax.tree.map(lambda leaf: leaf[0], states)), rtol=1e-8)


def test_operations_without_an_emitter_are_found():
    square = jnp.eye(3)
    assert has_single_kernel(lambda x: jax.lax.fori_loop(0, 3, lambda _, y: jnp.sin(y) + x, x), jnp.ones(3))
    assert not has_single_kernel(lambda x: jnp.linalg.cholesky(square + x), jnp.ones(()))
    assert not has_single_kernel(jnp.sort, jnp.ones(3))
    assert not has_single_kernel(lambda x: jax.lax.cond(x[0] > 0, jnp.sort, jnp.sin, x), jnp.ones(3))
    assert has_single_kernel(jnp.sin, jnp.ones(2**13))
    assert not has_single_kernel(jnp.sin, jnp.ones(2**14))
    matrix = np.ones((300, 300))
    assert has_single_kernel(lambda x: matrix @ x, jnp.ones(300))
    assert not has_single_kernel(lambda x: matrix @ x, jnp.ones((300, 300)))


@needs_single_kernels
def test_a_single_kernel_can_be_mapped_and_differentiated():
    def function(x):
        return jnp.sum(jnp.sin(x) ** 2)

    points = jnp.arange(6.0).reshape(2, 3)
    mapped = jax.jit(jax.vmap(jax.grad(single_kernel(function))), compiler_options=kernel_options())(points)
    np.testing.assert_allclose(mapped, jnp.sin(2 * points), rtol=1e-12)


EMITTED = {
    "elementwise": lambda x: jnp.sin(x) + jnp.exp(-(x**2)) * jnp.log1p(x**2) / jnp.sqrt(1 + jnp.abs(x)) + jnp.tanh(x),
    "special": lambda x: jax.scipy.special.gammaln(x**2 + 1) + jax.scipy.special.digamma(x**2 + 1) + jnp.expm1(x),
    "error": lambda x: jax.scipy.special.erf(x) + jnp.log(jax.nn.sigmoid(x)) + jnp.arctan2(x, 2.0),
    "reductions": lambda x: jnp.max(x) + jnp.prod(x) + jnp.argmin(x) + jnp.any(x > 0) + jax.nn.logsumexp(x) + 0 * x,
    "cumulative": lambda x: jnp.cumsum(x) + jax.lax.cummax(x) + jax.lax.cumlogsumexp(x),
    "gather": lambda x: x[jnp.array([2, 0, 0, 1, 3])] + jax.lax.dynamic_slice(x, (1,), (1,)) + jnp.flip(x),
    "structure": lambda x: jnp.pad(x, 2)[1:6] + jnp.concatenate([x[3:], x[:3]]) + jnp.tile(x, 2).reshape(2, 5)[1],
    "product": lambda x: jnp.outer(x, x) @ jnp.arange(25.0).reshape(5, 5) @ x,
    "update": lambda x: jax.lax.dynamic_update_slice(x, x[:2], (jnp.argmax(x),)),
    "branch": lambda x: jax.lax.cond(x[0] > 0, jnp.sin, jnp.cos, x),
    "control": lambda x: jax.lax.fori_loop(0, 3, lambda i, y: y * x + i, x),
    "scan": lambda x: jax.lax.scan(lambda carry, y: (carry * 0.5 + y, carry), jnp.zeros(()), x)[1],
    "integers": lambda x: x + (jnp.arange(5) % 3 << 1).astype(int) + jnp.floor(x) + jnp.sign(x) + jnp.clip(x, -1, 1),
}


@needs_single_kernels
@pytest.mark.parametrize("kind", EMITTED)
def test_a_single_kernel_has_the_numbers_of_many(kind):
    """Also of the gradients; each is taken for emitted, and is compiled by this version of XLA."""
    x = jnp.array([0.3, -1.2, 0.7, 1.9, -0.4])

    def both(x):
        value, pull = jax.vjp(lambda x: EMITTED[kind](x).astype(x.dtype), x)
        return value, pull(jnp.ones_like(value))[0] if kind not in ("gather", "control") else value

    assert has_single_kernel(both, x)
    single = jax.jit(lambda x: single_kernel(both)(x), compiler_options=kernel_options())(x)
    np.testing.assert_allclose(np.stack(single), np.stack(jax.jit(both)(x)), rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("kind", ["dense", "low_rank"])
def test_metrics_agree_with_their_matrix(kind):
    """Kinetic energy, velocity, momenta and roots, against the inverse mass matrix written out."""
    vectors = jnp.linalg.qr(jnp.arange(6.0).reshape(3, 2) ** 2 + 1)[0]
    low = LowRankMetric(jnp.asarray(SCALE), vectors, jnp.array([9.0, 0.1]))
    inner = jnp.eye(3) + (vectors * (low.values - 1)) @ vectors.T
    matrix = COVARIANCE if kind == "dense" else inner * np.outer(SCALE, SCALE)
    metric = blackjax_metric(DenseMetric(COVARIANCE, jnp.linalg.cholesky(PRECISION)) if kind == "dense" else low)
    momentum = jnp.array([1.0, 2.0, 3.0]) / SCALE
    value, slope = jax.value_and_grad(metric.kinetic_energy)(momentum)
    np.testing.assert_allclose(value, 0.5 * momentum @ matrix @ momentum, rtol=1e-9)
    np.testing.assert_allclose(slope, matrix @ momentum, rtol=1e-9)
    columns = lambda **way: jax.vmap(lambda e: metric.scale(e, e, **way), out_axes=1)(jnp.eye(3))  # noqa: E731
    root = columns(inv=False, trans=False)
    np.testing.assert_allclose(root @ root.T @ matrix, np.eye(3), atol=1e-8)
    np.testing.assert_allclose(columns(inv=False, trans=True), root.T, rtol=1e-9)
    np.testing.assert_allclose(columns(inv=True, trans=False) @ root, np.eye(3), atol=1e-8)
    np.testing.assert_allclose(root.T @ columns(inv=True, trans=True), np.eye(3), atol=1e-8)
    noise = jax.random.normal(jax.random.key(7), (3,))
    np.testing.assert_allclose(metric.sample_momentum(jax.random.key(7), noise), root @ noise, rtol=1e-9)
    assert bool(metric.check_turning(momentum, -momentum, momentum))
    assert not bool(metric.check_turning(momentum, momentum, 4 * momentum))


def test_breakdowns_raise_the_rate_that_is_aimed_at():
    """Few enough leave the slack alone, many bring it to its floor, and the first part of the warmup does not count."""
    settings = NUTSSettings(num_warmup=1000)
    start = init_chain(settings, jax.random.key(0), normal, MEAN)
    start = start._replace(dual_averaging=start.dual_averaging._replace(step=jnp.int32(blackjax_nuts.SEARCH)))

    def after(steps, broken):
        def step(state, broken):
            slack = blackjax_nuts._less_slack(settings, state, broken)
            return state._replace(slack=slack, step=state.step + 1), None

        return float(jax.lax.scan(step, start._replace(step=jnp.int32(steps[0])), broken)[0].slack)

    assert after((300, 1000), np.zeros(700, bool)) == 1.0
    assert after((300, 1000), np.arange(700) % 50 == 49) == pytest.approx(blackjax_nuts.LEAST_SLACK)
    assert blackjax_nuts.LESS_SLACK < after((300, 1000), np.arange(700) == 0) < 0.6
    assert after((0, 200), np.ones(200, bool)) == 1.0
    # one breakdown and as many sound trajectories as belong to it cancel
    share = blackjax_nuts.MOST_BREAKDOWNS
    sound = round((1 - share) / share)
    long = NUTSSettings(num_warmup=10 * sound)
    state = start._replace(step=jnp.int32(5 * sound), slack=jnp.asarray(0.5))
    for broken in (True, False):
        moved = blackjax_nuts._less_slack(long, state, jnp.asarray(broken)) / state.slack
        drift = float(jnp.log(moved)) if broken else drift + sound * float(jnp.log(moved))
    assert abs(drift) < 0.01 * abs(np.log(blackjax_nuts.LESS_SLACK))


def eight_groups(position):
    """Non-centred effects of eight groups whose scale the data leave open: a mild funnel, 10 coordinates."""
    centre, log_scale, white = position[0], position[1], position[2:]
    scale = jnp.exp(log_scale)
    prior = -0.5 * (centre / 5) ** 2 - jnp.log1p((scale / 5) ** 2) + log_scale - 0.5 * jnp.sum(white**2)
    y, sigma = jnp.array([28.0, 8, -3, 7, -1, 1, 18, 12]), jnp.array([15.0, 10, 16, 11, 9, 11, 10, 18])
    return prior - 0.5 * jnp.sum(((y - centre - scale * white) / sigma) ** 2)


def in_the_neck():
    """The median of how much shorter steps have become, and how many of 19,200 trajectories diverge."""
    settings = NUTSSettings(num_warmup=600)

    def chain(key):
        state = init_chain(settings, key, eight_groups, jax.random.normal(key, (10,)))
        step = lambda state, _: step_chain(settings, state, eight_groups)  # noqa: E731
        state, stats = jax.lax.scan(step, state, None, length=1800)
        return state.slack, stats["diverging"][600:]

    slack, diverging = jax.jit(jax.vmap(chain))(jax.random.split(jax.random.key(2), 16))
    return np.median(slack), int(diverging.sum())


def test_a_neck_is_entered_with_a_shorter_step():
    slack, diverging = in_the_neck()
    assert slack < 0.5
    assert diverging < 5


@pytest.mark.full  # what the test above would find if there were no caution
def test_without_the_caution_one_trajectory_in_a_thousand_diverges(monkeypatch):
    monkeypatch.setattr(blackjax_nuts, "LEAST_SLACK", 1.0)
    assert in_the_neck()[1] >= 10
