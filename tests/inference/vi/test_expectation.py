"""Expectations and their gradients against closed forms, for every estimator."""

from __future__ import annotations

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest
from numpyro.distributions import transforms
from scipy import stats

import bayeskit as bk

DISCRETE = {
    "score": bk.estimators.Score(),
    "baseline": bk.estimators.Score(3.0),
    "enumeration": bk.estimators.Enumeration(),
    "measure_valued": bk.estimators.MeasureValued(),
}
by_every_estimator = pytest.mark.parametrize("estimator", DISCRETE.values(), ids=DISCRETE)
by_estimator = pytest.mark.parametrize(
    "estimator",
    [bk.estimators.Score(), bk.estimators.Enumeration(), bk.estimators.MeasureValued()],
    ids=["score", "enumeration", "measure_valued"],
)


def sample(name, distribution, estimator=None):
    return numpyro.sample(name, distribution, infer={} if estimator is None else {"estimator": estimator})


def one(distribution, estimator=None):
    """The value of a program of one choice."""
    return bk.draw(lambda: sample("x", distribution, estimator))[0]["x"]


def is_exact(estimator):
    return estimator == bk.estimators.Enumeration()


def squared(p, estimator):
    return (2 * one(dist.Bernoulli(p), estimator) + 1) ** 2.0


# ---------------------------------------------------------------- one Bernoulli choice


@pytest.mark.parametrize(
    ("estimator", "gradients"),
    [
        (bk.estimators.Score(), [-1 / 0.7, 9 / 0.3]),
        (bk.estimators.Score(3.0), [2 / 0.7, 6 / 0.3]),
        (bk.estimators.Score(lambda: 3.0), [2 / 0.7, 6 / 0.3]),
        (bk.estimators.Enumeration(), [8.0]),
        (bk.estimators.MeasureValued(), [8.0]),
    ],
    ids=["score", "baseline", "function as baseline", "enumeration", "measure_valued"],
)
def test_bernoulli_gradients_take_exactly_their_two_values(estimate, estimator, gradients):
    """(2b+1)² is 1 or 9: the score times it, less the baseline. The law of two values gives mean and deviation."""
    found = estimate(lambda p: squared(p, estimator), 0.3)
    np.testing.assert_allclose(np.unique(np.round(found.gradients, 6)), np.round(sorted(gradients), 6), atol=1e-6)
    low, high = min(gradients), max(gradients)
    assert (0.7 * low + 0.3 * high) == pytest.approx(8.0) if len(gradients) > 1 else low == 8.0
    deviation = np.sqrt(0.3 * 0.7) * (high - low)
    assert deviation == pytest.approx({2: 14.4021 if low < 0 else 7.8558, 1: 0.0}[len(gradients)], abs=1e-3)
    found.check(3.4, 8.0, value_error=0.0 if is_exact(estimator) else 0.06, gradient_error=1.1 * deviation / 4000**0.5)


@by_every_estimator
@pytest.mark.parametrize("num", [1, 3])
def test_average_has_the_same_expectation(estimate, estimator, num):
    found = estimate(lambda p: bk.average(num, lambda: squared(p, estimator)), 0.3)
    found.check(3.4, 8.0, value_error=0.0 if is_exact(estimator) else 0.06, gradient_error=0.25)


def test_leave_one_out_baselines_lower_the_variance(estimate):
    plain = estimate(lambda p: jnp.mean(bk.replicate(8, lambda: squared(p, bk.estimators.Score()))), 0.3)
    leave_one_out = estimate(lambda p: bk.average(8, lambda: squared(p, bk.estimators.Score())), 0.3)
    plain.check(3.4, 8.0, value_error=0.03, gradient_error=0.083)  # 14.402 / sqrt(8 * 4000) = .0805
    leave_one_out.check(3.4, 8.0, value_error=0.03, gradient_error=0.047)  # 7.8558, with the best baseline, gives .0439


@by_estimator
@pytest.mark.parametrize("form", ["loop", "plate", "scan", "scan of draws", "shapes", "replicate"])
def test_square_of_a_sum_of_three(estimate, estimator, form):
    def program(p):
        coin = dist.Bernoulli(p)
        if form == "loop":
            return sum(sample(f"b{i}", coin, estimator) for i in range(3))
        if form == "plate":
            with numpyro.plate("three", 3):
                return jnp.sum(sample("b", coin, estimator))
        if form == "shapes":
            event = sample("event", coin.expand([2]).to_event(1), estimator)
            shaped = numpyro.sample("shaped", coin, sample_shape=(1,), infer={"estimator": estimator})
            return jnp.sum(event) + jnp.sum(shaped)
        return bk.scan(lambda c, _: (c + sample("b", coin, estimator), None), 0, length=3)[0]

    def f(p):
        if form == "replicate":
            return jnp.sum(bk.replicate(3, lambda: one(dist.Bernoulli(p), estimator))) ** 2.0
        if form == "scan of draws":
            return bk.scan(lambda c, _: (c + one(dist.Bernoulli(p), estimator), None), 0, length=3)[0] ** 2.0
        total = []
        bk.draw(lambda: total.append(program(p)))
        return total[0] ** 2.0

    found = estimate(f, 0.3)
    error = {"score": 0.3, "baseline": 0.3, "enumeration": 0.0, "measure_valued": 0.06}
    name = next(k for k, v in DISCRETE.items() if v == estimator)
    found.check(1.44, 6.6, value_error=0.0 if is_exact(estimator) else 0.035, gradient_error=error[name])


# ---------------------------------------------------------------- branches


@by_estimator
def test_choice_in_a_branch(estimate, estimator):
    def f(p):
        x = []

        def program():
            u = sample("u", dist.Uniform())
            x.append(
                bk.cond(
                    u < 0.5,
                    lambda: sample("left", dist.Bernoulli(p), estimator),
                    lambda: sample("right", dist.Bernoulli(p), estimator),
                )
            )

        bk.draw(program)
        return (2 * x[0] + 1) ** 2.0

    found = estimate(f, 0.3)
    found.check(3.4, 8.0, value_error=0.0 if is_exact(estimator) else 0.06, gradient_error=0.26)


@by_estimator
def test_branches_within_branches(estimate, estimator):
    """Three Bernoulli(p) leaves that count 1, 2 and 3, reached with probability p², p(1-p) and 1-p."""

    def f(p):
        x = []

        def program():
            a = sample("a", dist.Bernoulli(p), estimator)
            b = sample("b", dist.Bernoulli(p), estimator)

            def upper():
                return bk.cond(
                    b > 0,
                    lambda: 1.0 * sample("c", dist.Bernoulli(p), estimator),
                    lambda: 2.0 * sample("d", dist.Bernoulli(p), estimator),
                )

            x.append(bk.cond(a > 0, upper, lambda: 3.0 * sample("e", dist.Bernoulli(p), estimator)))

        bk.draw(program)
        return x[0]

    def truth(p):
        return p * (p**2 + 2.0 * p * (1 - p) + 3.0 * (1 - p))

    value, gradient = jax.value_and_grad(truth)(0.3)
    found = estimate(f, 0.3)
    found.check(value, gradient, value_error=0.0 if is_exact(estimator) else 0.03, gradient_error=0.15)


@by_estimator
def test_branches_of_an_objective(estimate, estimator):
    """A branch with particles, and one with a draw: E = p (p² + p(1-p)/2) + (1-p) 9p."""

    def f(p):
        def coin():
            return 1.0 * one(dist.Bernoulli(p), estimator)

        return bk.cond(coin() > 0, lambda: bk.average(2, coin), lambda: 3.0 * coin()) ** 2

    value, gradient = jax.value_and_grad(lambda p: p * (p**2 + p * (1 - p) / 2) + (1 - p) * 9 * p)(0.3)
    found = estimate(f, 0.3)
    found.check(value, gradient, value_error=0.0 if is_exact(estimator) else 0.07, gradient_error=0.15)


def weighed(cases):
    """Sum over cases (probability, number)."""
    return sum(probability * number for probability, number in cases)


@by_estimator
def test_branch_in_a_scan(estimate, estimator):
    def step(c, p, choose):
        return jax.nn.sigmoid(p + c) if choose else jax.nn.sigmoid(p - c)

    def f(p):
        total = []

        def program():
            def body(c, _):
                b = bk.cond(
                    c < 0.5,
                    lambda: 1.0 * sample("b", dist.Bernoulli(step(c, p, True)), estimator),
                    lambda: 2.0 * sample("d", dist.Bernoulli(step(c, p, False)), estimator),
                )
                return c + b, None

            total.append(bk.scan(body, 0.0, length=3)[0])

        _, log_q = bk.draw(program)
        return total[0] ** 2 + log_q

    def truth(p):
        cases = []
        for coins in itertools.product((0, 1), repeat=3):
            weight, c = 1.0, 0.0
            for b in coins:
                q = step(c, p, c < 0.5)
                weight, c = weight * (q if b else 1 - q), c + (b if c < 0.5 else 2 * b)
            cases.append((weight, c**2 + jnp.log(weight)))
        return weighed(cases)

    value, gradient = jax.value_and_grad(truth)(0.3)
    found = estimate(f, 0.3)
    found.check(value, gradient, value_error=0.0 if is_exact(estimator) else 0.08, gradient_error=0.1)


@by_estimator
def test_scan_in_a_branch(estimate, estimator):
    def f(p):
        total = []

        def program():
            a = sample("a", dist.Bernoulli(p), estimator)

            def loop():
                def body(c, _):
                    return c + sample("b", dist.Bernoulli(jax.nn.sigmoid(p + c)), estimator), None

                return bk.scan(body, 0.0, length=2)[0]

            total.append(bk.cond(a > 0, loop, lambda: 3.0 * sample("d", dist.Bernoulli(p), estimator)))

        _, log_q = bk.draw(program)
        return total[0] ** 2 + log_q

    def truth(p):
        cases = []
        for b, c in itertools.product((0, 1), repeat=2):
            first, second = jax.nn.sigmoid(p), jax.nn.sigmoid(p + b)
            weight = p * (first if b else 1 - first) * (second if c else 1 - second)
            cases.append((weight, (b + c) ** 2 + jnp.log(weight)))
        for d in (0, 1):
            weight = (1 - p) * (p if d else 1 - p)
            cases.append((weight, (3 * d) ** 2 + jnp.log(weight)))
        return weighed(cases)

    value, gradient = jax.value_and_grad(truth)(0.3)
    found = estimate(f, 0.3)
    found.check(value, gradient, value_error=0.0 if is_exact(estimator) else 0.08, gradient_error=0.2)


@by_estimator
@pytest.mark.parametrize("inside", [True, False], ids=["in a program", "around draws"])
def test_scan_in_a_scan(estimate, estimator, inside):
    def f(p):
        def choose(c, d):
            coin = dist.Bernoulli(jax.nn.sigmoid(p + 0.5 * d - 0.3 * c))
            return sample("x", coin, estimator) if inside else one(coin, estimator)

        def outer(c, _):
            return c + bk.scan(lambda d, _: (d + choose(c, d), None), 0.0, length=2)[0], None

        def loops():
            return bk.scan(outer, 0.0, length=2)[0]

        if not inside:
            return loops() ** 2
        choices, _ = bk.draw(loops)
        assert choices["x"].shape == (2, 2)
        return jnp.sum(choices["x"]) ** 2.0

    def truth(p):
        cases = []
        for coins in itertools.product((0, 1), repeat=4):
            weight, c = 1.0, 0.0
            for first, second in (coins[:2], coins[2:]):
                d = 0.0
                for b in (first, second):
                    q = jax.nn.sigmoid(p + 0.5 * d - 0.3 * c)
                    weight, d = weight * (q if b else 1 - q), d + b
                c = c + d
            cases.append((weight, c**2))
        return weighed(cases)

    value, gradient = jax.value_and_grad(truth)(0.3)
    found = estimate(f, 0.3)
    found.check(value, gradient, value_error=0.0 if is_exact(estimator) else 0.08, gradient_error=0.15)


@by_estimator
def test_particles_in_a_scan(estimate, estimator):
    def f(p):
        def body(c, _):
            coin = dist.Bernoulli(jax.nn.sigmoid(p + c))
            return c + bk.average(2, lambda: 1.0 * one(coin, estimator)), None

        return bk.scan(body, 0.0, length=2)[0] ** 2

    def truth(p):
        cases = []
        for coins in itertools.product((0, 1), repeat=4):
            weight, c = 1.0, 0.0
            for pair in (coins[:2], coins[2:]):
                q = jax.nn.sigmoid(p + c)
                for b in pair:
                    weight = weight * (q if b else 1 - q)
                c = c + sum(pair) / 2
            cases.append((weight, c**2))
        return weighed(cases)

    value, gradient = jax.value_and_grad(truth)(0.3)
    found = estimate(f, 0.3)
    found.check(value, gradient, value_error=0.0 if is_exact(estimator) else 0.03, gradient_error=0.06)


@by_estimator
def test_a_scan_in_a_particle(estimate, estimator):
    def f(p):
        def particle():
            def body(c, _):
                return c + one(dist.Bernoulli(jax.nn.sigmoid(p + c)), estimator), None

            return bk.scan(body, 0.0, length=2)[0] ** 2

        return bk.average(2, particle)

    def truth(p):
        cases = []
        for b, c in itertools.product((0, 1), repeat=2):
            first, second = jax.nn.sigmoid(p), jax.nn.sigmoid(p + b)
            cases.append(((first if b else 1 - first) * (second if c else 1 - second), (b + c) ** 2))
        return weighed(cases)

    value, gradient = jax.value_and_grad(truth)(0.3)
    found = estimate(f, 0.3)
    found.check(value, gradient, value_error=0.0 if is_exact(estimator) else 0.025, gradient_error=0.03)


# ---------------------------------------------------------------- other distributions

LOGITS = jnp.array([[0.1, -0.5, 0.8], [0.0, 1.0, 0.0]])
VALUES = jnp.array([1.0, 3.0, -2.0])


@by_estimator
@pytest.mark.parametrize("form", ["batched", "plate", "two sites"])
def test_categorical(estimate, estimator, form):
    def program(logits):
        if form == "two sites":
            sample("c0", dist.Categorical(logits=logits[0]), estimator)
            sample("c1", dist.Categorical(probs=jax.nn.softmax(logits[1])), estimator)
        elif form == "plate":
            with numpyro.plate("two", 2):
                sample("c", dist.Categorical(logits=logits), estimator)
        else:
            sample("c", dist.Categorical(logits=logits).to_event(1), estimator)

    def f(logits):
        c, _ = bk.draw(lambda: program(logits))
        first, second = c["c"] if "c" in c else (c["c0"], c["c1"])
        return VALUES[first] * VALUES[second] ** 2

    def truth(logits):
        p = jax.nn.softmax(logits)
        return jnp.sum(p[0] * VALUES) * jnp.sum(p[1] * VALUES**2)

    value, gradient = jax.value_and_grad(truth)(LOGITS)
    found = estimate(f, LOGITS)
    found.check(value, gradient, value_error=0.0 if is_exact(estimator) else 0.25, gradient_error=0.12)


@pytest.mark.parametrize(
    "estimator", [bk.estimators.Score(), bk.estimators.Score(7.0), bk.estimators.MeasureValued()], ids=repr
)
def test_poisson(estimate, estimator):
    found = estimate(lambda rate: one(dist.Poisson(rate), estimator) ** 2.0, 2.3)
    found.check(2.3 + 2.3**2, 2 * 2.3 + 1, value_error=0.2, gradient_error=0.3)


@pytest.mark.parametrize(
    "estimator", [bk.estimators.Pathwise(), bk.estimators.Score(), bk.estimators.MeasureValued()], ids=repr
)
def test_gamma(estimate, estimator):
    """E x² = α(α+1)/β²."""

    def truth(q):
        return q[0] * (q[0] + 1) / q[1] ** 2

    q = jnp.array([2.3, 1.5])
    value, gradient = jax.value_and_grad(truth)(q)
    found = estimate(lambda q: one(dist.Gamma(q[0], q[1]), estimator) ** 2.0, q)
    found.check(value, gradient, value_error=0.1, gradient_error=0.35)


@pytest.mark.parametrize(
    "estimator",
    [bk.estimators.Pathwise(), bk.estimators.Score(), bk.estimators.Score(2.0), bk.estimators.MeasureValued()],
    ids=repr,
)
def test_normal(estimate, estimator):
    """E x³ = μ³ + 3μσ², with the gradient 3μ² + 3σ², 6μσ."""
    found = estimate(lambda q: one(dist.Normal(q[0], q[1]), estimator) ** 3.0, jnp.array([0.7, 1.2]), n=20_000)
    found.check(0.7**3 + 3 * 0.7 * 1.44, [3 * 0.49 + 3 * 1.44, 6 * 0.7 * 1.2], value_error=0.08, gradient_error=0.45)


@pytest.mark.parametrize(
    "estimator", [bk.estimators.Pathwise(), bk.estimators.Score(), bk.estimators.MeasureValued()], ids=repr
)
def test_plated_normals_whose_shapes_broadcast(estimate, estimator):
    """E (Σ x_i)² for x_i ~ Normal(m, s_i), with one m for all."""
    scales = jnp.array([0.5, 1.0, 0.7])

    def f(m):
        def program():
            with numpyro.plate("three", 3):
                sample("x", dist.Normal(m, scales), estimator)

        return jnp.sum(bk.draw(program)[0]["x"]) ** 2

    found = estimate(f, 0.4)
    found.check(1.44 + float(jnp.sum(scales**2)), 18 * 0.4, value_error=0.1, gradient_error=0.45)


def test_uniform_with_a_parameter_for_a_bound(estimate):
    estimate(lambda t: one(dist.Uniform(0, t)), 1.7).check(0.85, 0.5, value_error=0.01, gradient_error=0.006)


@pytest.mark.parametrize("estimator", [bk.estimators.Score(), bk.estimators.MeasureValued()], ids=repr)
@pytest.mark.parametrize(
    "distribution",
    [
        lambda t: dist.Uniform(0, t),
        lambda t: dist.Uniform(0, t).expand([2]).to_event(1),
        lambda t: dist.TruncatedNormal(0.0, 1.0, low=t),
        lambda t: dist.TransformedDistribution(dist.Uniform(0, 1), transforms.AffineTransform(0.0, t)),
        lambda t: dist.TransformedDistribution(dist.Uniform(0, t), transforms.ExpTransform()),
        lambda t: dist.Delta(t),
    ],
    ids=["uniform", "event", "truncated", "scaled uniform", "exp of uniform", "delta"],
)
def test_score_and_weak_derivatives_need_a_fixed_support(estimate, estimator, distribution):
    with pytest.raises(bk.errors.ModelError, match=r"site 'x'.*support|site 'x': no weak derivative"):
        estimate(lambda t: jnp.sum(one(distribution(t), estimator)), 1.7, n=2)


def test_probability_of_a_half_line_by_score(estimate):
    found = estimate(lambda m: jnp.where(one(dist.Normal(m, 1.0), bk.estimators.Score()) > 0, 1.0, 0.0), 0.3, n=20_000)
    found.check(stats.norm.cdf(0.3), stats.norm.pdf(0.3), value_error=0.005, gradient_error=0.006)
    assert stats.norm.pdf(0.3) == pytest.approx(0.38139, abs=1e-5)


@pytest.mark.parametrize(
    "distribution",
    [
        lambda p: dist.Bernoulli(p),
        lambda p: dist.Poisson(p),
        lambda p: dist.MixtureSameFamily(
            dist.Categorical(probs=jnp.stack([p, 1 - p])), dist.Gamma(jnp.arange(1.0, 3.0), 1.0)
        ),
        lambda p: dist.MixtureSameFamily(
            dist.Categorical(probs=jnp.stack([p, 1 - p])), dist.Normal(jnp.zeros((2, 3)), 1.0).to_event(1)
        ),
    ],
    ids=["Bernoulli", "Poisson", "mixture of gammas", "mixture of vectors"],
)
def test_pathwise_is_refused_where_values_do_not_move(estimate, distribution):
    with pytest.raises(bk.errors.ModelError, match="site 'x': pathwise gradients do not pass"):
        estimate(lambda p: jnp.sum(one(distribution(p), bk.estimators.Pathwise())), 0.3, n=2)


def test_mixture_by_default(estimate):
    """The weight of a mixture: E x² has the derivative E x² of one component minus the other's."""

    def f(p):
        mixing = dist.Categorical(probs=jnp.stack([p, 1 - p]))
        return one(dist.MixtureSameFamily(mixing, dist.Normal(jnp.array([0.0, 2.0]), 1.0))) ** 2

    estimate(f, 0.3).check(0.3 + 0.7 * 5, -4.0, value_error=0.1, gradient_error=0.3)


def test_what_an_estimator_cannot_take_is_refused(estimate):
    for distribution, estimator in [
        (dist.Normal(0.3, 1.0), bk.estimators.Enumeration()),
        (dist.Poisson(0.3), bk.estimators.Enumeration()),
        (dist.StudentT(3.0, 0.3, 1.0), bk.estimators.MeasureValued()),
        (dist.Multinomial(1, jnp.ones(3) / 3), bk.estimators.Enumeration()),
        (dist.Bernoulli(0.3), "score"),
    ]:
        with pytest.raises(bk.errors.ModelError, match="site 'x'"):
            bk.expectation(lambda d=distribution, e=estimator: jnp.sum(one(d, e)))(0)


# ---------------------------------------------------------------- masks, wrappers

KEPT = jnp.array([True, False, False])
MASKED = {
    "event": lambda p: dist.Bernoulli(p).expand([3]).mask(KEPT).to_event(1),
    "under an expansion": lambda p: dist.Bernoulli(p).mask(False).expand([3]),
}


@by_estimator
@pytest.mark.parametrize("form", MASKED)
def test_a_masked_choice_is_drawn_and_has_its_gradient(estimate, estimator, form):
    """A mask takes elements out of the density; they are drawn all the same, and a number may depend on them."""
    found = estimate(lambda p: 1.0 * jnp.sum(one(MASKED[form](p), estimator)), 0.3)
    found.check(0.9, 3.0, value_error=0.0 if is_exact(estimator) else 0.015, gradient_error=0.2)


@by_estimator
def test_event_in_a_plate(estimate, estimator):
    """The density of six coins and the square of their sum."""

    def f(p):
        def program():
            with numpyro.plate("two", 2):
                sample("b", dist.Bernoulli(p).expand([3]).to_event(1), estimator)

        choices, log_q = bk.draw(program)
        return jnp.sum(choices["b"]) ** 2.0 + log_q

    def truth(p):
        return 6 * p * (1 - p) + 36 * p**2 + 6 * (p * jnp.log(p) + (1 - p) * jnp.log(1 - p))

    value, gradient = jax.value_and_grad(truth)(0.3)
    found = estimate(f, 0.3, n=2000)
    found.check(value, gradient, value_error=0.0 if is_exact(estimator) else 0.12, gradient_error=1.2)


@by_estimator
def test_rows_that_are_drawn(estimate, estimator):
    """A local coin for each row of a minibatch: the scaled sum has the expectation of the whole."""

    def f(p):
        def program():
            with numpyro.plate("rows", 4, subsample_size=2) as rows:
                sample("z", dist.Bernoulli(p * (1 + rows) / 4), estimator)

        choices, _ = bk.draw(program)
        return 2 * jnp.sum(choices["z"] * (1.0 + choices["rows"]))

    estimate(f, 0.3).check(0.3 * 30 / 4, 30 / 4, value_error=0.06, gradient_error=0.3)


# ---------------------------------------------------------------- estimators together


@by_estimator
def test_discrete_choices_between_pathwise_ones(estimate, estimator):
    """x ~ N(t, 1), b | x, y | x, b and c | x, b, against Gauss-Hermite quadrature and a sum over b and c."""

    def f(t):
        def program():
            x = sample("x", dist.Normal(t, 1.0))
            b = sample("b", dist.Bernoulli(jax.nn.sigmoid(x)), estimator)
            sample("y", dist.Normal(b * t + x, 0.5))
            sample("c", dist.Bernoulli(jax.nn.sigmoid(b - x)), estimator)

        c, _ = bk.draw(program)
        return c["y"] ** 2 * (1 + c["c"]) * (1 + 2 * c["b"])

    def truth(t):
        nodes, weights = np.polynomial.hermite_e.hermegauss(60)
        x, weights, total = t + nodes, weights / weights.sum(), 0.0
        for b, c in itertools.product((0, 1), repeat=2):
            q, r = jax.nn.sigmoid(x), jax.nn.sigmoid(b - x)
            probability = (q if b else 1 - q) * (r if c else 1 - r)
            total += jnp.sum(weights * probability * ((b * t + x) ** 2 + 0.25)) * (1 + c) * (1 + 2 * b)
        return total

    value, gradient = jax.value_and_grad(truth)(0.4)
    estimate(f, 0.4).check(value, gradient, value_error=0.2, gradient_error=0.35)


def test_four_estimators_in_one_program(estimate):
    """Each choice has another estimator, and each depends on those before it."""

    def probabilities(p):
        yield p
        for i in range(1, 4):
            yield lambda before, i=i: jax.nn.sigmoid(p * i - 0.5 * before)

    def f(p):
        def program():
            total = 0.0
            for i, estimator in enumerate(DISCRETE.values()):
                law = list(probabilities(p))[i]
                total += (i + 1) * sample(f"b{i}", dist.Bernoulli(law(total) if callable(law) else law), estimator)
            return total

        total = []
        bk.draw(lambda: total.append(program()))
        return total[0] ** 2

    def truth(p):
        cases = []
        for coins in itertools.product((0, 1), repeat=4):
            weight, total = 1.0, 0.0
            for i, b in enumerate(coins):
                law = list(probabilities(p))[i]
                q = law(total) if callable(law) else law
                weight, total = weight * (q if b else 1 - q), total + (i + 1) * b
            cases.append((weight, total**2))
        return weighed(cases)

    value, gradient = jax.value_and_grad(truth)(0.4)
    estimate(f, 0.4).check(value, gradient, value_error=0.5, gradient_error=2.0)


# ---------------------------------------------------------------- bounds of the evidence


def coin_model():
    z = sample("z", dist.Bernoulli(0.3))
    numpyro.sample("x", dist.Normal(2.0 * z, 1), obs=0.8)


def normal_model():
    z = sample("z", dist.Normal(0, 1))
    numpyro.sample("x", dist.Normal(z, 1), obs=1.2)


@by_every_estimator
def test_elbo_of_a_coin(estimate, estimator):
    found = estimate(
        lambda q: bk.objectives.ELBO()(coin_model, lambda: sample("z", dist.Bernoulli(q), estimator)), 0.4, n=20_000
    )
    if is_exact(estimator):
        assert found.value[0] == pytest.approx(-1.421521, abs=1e-6)
        assert found.gradient[0] == pytest.approx(-0.841833, abs=1e-6)
    p, x = np.array([0.7, 0.3]), np.array([0.0, 2.0])
    joint = np.log(p) + stats.norm.logpdf(0.8, x, 1)
    value = np.sum([0.6, 0.4] * (joint - np.log([0.6, 0.4])))
    gradient = joint[1] - joint[0] - np.log(0.4 / 0.6)
    found.check(value, gradient, value_error=0.0 if is_exact(estimator) else 0.005, gradient_error=0.1)


def iwelbo(loc, num, scale=1.0, estimator=None):
    guide = lambda: sample("z", dist.Normal(loc, scale), estimator)  # noqa: E731
    return bk.objectives.ImportanceWeightedELBO(num)(normal_model, guide)


def test_importance_weighted_elbo_rises_to_the_evidence(estimate):
    bounds = {1: -2.13894, 2: -1.808, 5: -1.681, 10: -1.651, 100: -1.628}
    found = [estimate(lambda loc, num=num: iwelbo(loc, num), 0.0) for num in bounds]
    for estimates, (num, bound) in zip(found, bounds.items(), strict=True):
        assert abs(estimates.value - bound) < 4 * estimates.value_error + 6e-4  # the bounds have three decimals
        assert estimates.value_error < 0.03 / np.sqrt(num)
    values = [float(estimates.value[0]) for estimates in found]
    assert values == sorted(values)
    assert values[-1] < -1.625512


@pytest.mark.parametrize(
    "estimator", [bk.estimators.Pathwise(), bk.estimators.Score(), bk.estimators.Score(-2.0)], ids=repr
)
def test_importance_weighted_elbo_of_two_against_quadrature(estimate, estimator):
    """Value and gradient, with leave-one-out baselines (VIMCO) where the estimator is the score."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(60)
    weights = weights / weights.sum()

    def truth(loc):
        z = loc + nodes
        log_w = dist.Normal(0, 1).log_prob(z) + dist.Normal(z, 1).log_prob(1.2) - dist.Normal(loc, 1).log_prob(z)
        both = jnp.logaddexp(log_w[:, None], log_w) - jnp.log(2.0)
        return jnp.sum(weights[:, None] * weights * both)

    value, gradient = jax.value_and_grad(truth)(0.2)
    found = estimate(lambda loc: iwelbo(loc, 2, estimator=estimator), 0.2, n=20_000)
    found.check(value, gradient, value_error=0.01, gradient_error=0.03)


@by_estimator
@pytest.mark.parametrize("num", [3])
def test_log_average_exp_of_coins(estimate, estimator, num):
    """Against the sum over the number of heads."""

    def truth(p):
        weights = []
        for heads in range(num + 1):
            count = stats.binom(num, 0.5).pmf(heads) * 2**num
            number = jnp.log((heads * jnp.exp(2.0) + (num - heads) * jnp.exp(-1.0)) / num)
            weights.append((count * p**heads * (1 - p) ** (num - heads), number))
        return weighed(weights)

    value, gradient = jax.value_and_grad(truth)(0.3)
    found = estimate(lambda p: bk.log_average_exp(num, lambda: 3.0 * one(dist.Bernoulli(p), estimator) - 1), 0.3)
    found.check(value, gradient, value_error=0.0 if is_exact(estimator) else 0.025, gradient_error=0.15)


@by_estimator
def test_weights_of_zero(estimate, estimator):
    """A particle may have no weight at all; its leave-one-out baselines are numbers all the same."""

    def f(p):
        log_weight = bk.log_average_exp(3, lambda: jnp.where(one(dist.Bernoulli(p), estimator) > 0, 0.0, -jnp.inf))
        return jnp.maximum(log_weight, -5.0)

    value = np.array([-5.0, np.log(1 / 3), np.log(2 / 3), 0.0])
    gradient = 3 * np.sum([0.25, 0.5, 0.25] * np.diff(value))
    found = estimate(f, 0.5)
    found.check(
        np.sum(np.array([1, 3, 3, 1]) / 8 * value),
        gradient,
        value_error=0.0 if is_exact(estimator) else 0.03,
        gradient_error=0.2,
    )


@pytest.mark.parametrize("num", [1, 2, 7])
def test_the_posterior_as_guide_has_no_variance(estimate, num):
    found = estimate(lambda loc: iwelbo(loc, num, scale=0.5**0.5), 0.6, n=500)
    np.testing.assert_allclose(found.values, -1.625512, atol=1e-6)
    assert found.values.std() < 1e-12


@pytest.mark.parametrize("average", [bk.average, bk.log_average_exp])
def test_particles_bring_one_number_each(average):
    with pytest.raises(bk.errors.ModelError, match=r"returns a number.*bayeskit.replicate"):
        bk.expectation(lambda: average(3, lambda: jnp.arange(2.0)))(0)
    with pytest.raises(bk.errors.ModelError, match=r"returns a number.*bayeskit.replicate"):
        bk.expectation(lambda: average(3, lambda: {"a": jnp.zeros(()), "b": jnp.zeros(())}))(0)


# ---------------------------------------------------------------- limits


def test_ten_enumerated_sites_are_traced_once():
    """Each is one more axis of the same operations, not one more copy of them."""

    def f(p):
        choices, _ = bk.draw(
            lambda: [sample(f"b{i}", dist.Bernoulli(p), bk.estimators.Enumeration()) for i in range(10)]
        )
        return sum(choices.values()) ** 2.0

    both = jax.value_and_grad(bk.expectation(f), argnums=1)
    value, gradient = jax.jit(both)(jax.random.PRNGKey(0), 0.3)
    assert float(value) == pytest.approx(10 * 0.3 * 0.7 + 9.0, abs=1e-9)
    assert float(gradient) == pytest.approx(10 * 0.4 + 60.0, abs=1e-9)
    operations = len(jax.make_jaxpr(both)(jax.random.PRNGKey(0), 0.3).eqns)
    assert operations < 2000


def test_too_many_lanes_are_refused_by_name():
    coins = dist.Bernoulli(0.3)

    def particles():
        return iwelbo_of_coins(13)

    def iwelbo_of_coins(num):
        return bk.objectives.ImportanceWeightedELBO(num)(
            coin_model, lambda: sample("z", coins, bk.estimators.Enumeration())
        )

    with pytest.raises(
        bk.errors.ModelError, match=r"8192 times.*max_lanes=4096.*'z' \(enumerated, shape \(13,\), 8192\)"
    ):
        bk.expectation(particles)(0)
    assert np.isfinite(bk.expectation(lambda: iwelbo_of_coins(3), max_lanes=8)(0))
    with pytest.raises(bk.errors.ModelError, match="8 times, more than max_lanes=7"):
        bk.expectation(lambda: iwelbo_of_coins(3), max_lanes=7)(0)

    def mixed():
        drawn, _ = bk.draw(
            lambda: (
                sample("a", coins.expand([10]), bk.estimators.MeasureValued()),
                sample("b", coins.expand([9]), bk.estimators.Enumeration()),
            )
        )
        return 1.0 * jnp.sum(drawn["a"]) * jnp.sum(drawn["b"])

    with pytest.raises(
        bk.errors.ModelError, match=r"5632 times.*'b' \(enumerated, shape \(9,\), 512\), 'a'.*\(10,\), 10\)"
    ):
        bk.expectation(mixed)(0)


# ---------------------------------------------------------------- second derivatives


def product_of_coins(p, first, second):
    choices, _ = bk.draw(lambda: (sample("a", dist.Bernoulli(p), first), sample("b", dist.Bernoulli(p**2), second)))
    return 1.0 * choices["a"] * choices["b"]


def second_derivative(f, at, n=4000):
    keys = jax.random.split(jax.random.PRNGKey(0), n)
    found = jax.jit(jax.vmap(jax.hessian(bk.expectation(f), argnums=1), (0, None)))(keys, at)
    return float(jnp.mean(found)), float(jnp.std(found)) / n**0.5


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (bk.estimators.Score(), bk.estimators.Score()),
        (bk.estimators.Score(0.4), bk.estimators.Score(0.3)),
        (bk.estimators.Enumeration(), bk.estimators.Score()),
        (bk.estimators.Enumeration(),) * 2,
    ],
    ids=repr,
)
def test_second_derivatives(first, second):
    """E ab = p³ has the second derivative 6p."""
    mean, error = second_derivative(lambda p: product_of_coins(p, first, second), 0.5)
    assert abs(mean - 3.0) < 4 * error + 1e-9
    assert error < (1e-9 if is_exact(first) and is_exact(second) else 0.3)


def test_second_derivative_of_one_measure_valued_coin():
    """A sum over the support is linear in the probabilities: (2b+1)² with Bernoulli(p²) gives 1 + 8p²."""
    mean, error = second_derivative(lambda p: squared(p**2, bk.estimators.MeasureValued()), 0.3, n=10)
    assert (mean, error) == (pytest.approx(16.0), pytest.approx(0.0))


@pytest.mark.parametrize(
    "f",
    [
        lambda p: product_of_coins(p, bk.estimators.MeasureValued(), bk.estimators.MeasureValued()),
        lambda p: product_of_coins(p, bk.estimators.MeasureValued(), bk.estimators.Score()),
        lambda p: product_of_coins(p, bk.estimators.Score(), bk.estimators.MeasureValued()),
        lambda p: product_of_coins(p, bk.estimators.Enumeration(), bk.estimators.MeasureValued()),
        lambda p: 1.0 * jnp.prod(one(dist.Bernoulli(p).expand([2]), bk.estimators.MeasureValued())),
        lambda p: p * one(dist.Bernoulli(p), bk.estimators.MeasureValued()),
        lambda p: one(dist.Normal(p, 1.0), bk.estimators.MeasureValued()) ** 2,
        lambda p: one(dist.Gamma(2.0, p), bk.estimators.MeasureValued()) ** 2,
        lambda p: one(dist.Poisson(p), bk.estimators.MeasureValued()) ** 2.0,
    ],
    ids=["two", "then score", "after score", "after enumeration", "vector", "factor", "Normal", "Gamma", "Poisson"],
)
def test_second_derivatives_that_would_lose_terms_raise(f):
    with pytest.raises(bk.errors.ModelError, match="second derivatives do not pass a measure-valued choice"):
        second_derivative(f, 0.3, n=2)


# ---------------------------------------------------------------- as a JAX function


@pytest.mark.parametrize(
    "estimator", [bk.estimators.Score(), bk.estimators.MeasureValued()], ids=["score", "measure_valued"]
)
def test_transformations_of_the_expectation_agree(estimator):
    def f(p, scale):
        return scale * squared(p, estimator)

    both = jax.grad(bk.expectation(f), argnums=(1, 2))
    keys = jax.random.split(jax.random.PRNGKey(1), 5)
    by_vmap = np.array(jax.vmap(both, (0, None, None))(keys, 0.3, 2.0)).T
    by_jit = [jax.jit(both)(key, 0.3, 2.0) for key in keys]
    by_scan = jax.lax.scan(lambda _, key: (None, both(key, 0.3, 2.0)), None, keys)[1]
    np.testing.assert_allclose(np.array(both(keys[0], 0.3, 2.0)), by_vmap[0])
    np.testing.assert_allclose(np.array(by_jit), by_vmap)
    np.testing.assert_allclose(np.array(by_scan).T, by_vmap)
    forward = jax.jvp(lambda p: bk.expectation(f)(keys[0], p, 2.0), (0.3,), (1.0,))[1]
    np.testing.assert_allclose(forward, by_vmap[0, 0])
    np.testing.assert_allclose(by_vmap[0, 1], bk.expectation(f)(keys[0], 0.3, 1.0))


@by_estimator
def test_pytrees_integers_and_dtypes(estimator):
    def f(p):
        b = one(dist.Bernoulli(p["p"]), estimator)
        return {"integer": b, "boolean": b > 0, "list": [b * 2.0, jnp.stack([b, 1 - b])]}

    found = bk.expectation(f)(3, {"p": 0.3})
    if is_exact(estimator):
        assert float(found["integer"]) == float(found["boolean"]) == pytest.approx(0.3)
        np.testing.assert_allclose(found["list"][1], [0.3, 0.7])
    assert found["boolean"].dtype == jnp.float64
    gradients = jax.jacobian(bk.expectation(f), argnums=1)(3, {"p": 0.3})
    if is_exact(estimator) or estimator == bk.estimators.MeasureValued():
        np.testing.assert_allclose(gradients["list"][1]["p"], [1.0, -1.0])
    with jax.enable_x64(False):
        value, gradient = jax.value_and_grad(bk.expectation(lambda p: squared(p, estimator)), argnums=1)(0, 0.3)
        assert value.dtype == gradient.dtype == jnp.float32


def test_complex_numbers_are_refused():
    with pytest.raises(bk.errors.ModelError, match="real numbers"):
        bk.expectation(lambda: 1j * one(dist.Normal(0.0, 1.0)))(0)


@pytest.mark.parametrize("make", [int, jax.random.PRNGKey, jax.random.key], ids=["integer", "raw", "typed"])
def test_keys(make):
    f = bk.expectation(
        lambda p: (
            squared(p, bk.estimators.Score()) + bk.scan(lambda c, _: (c + one(dist.Normal()), c), 0.0, length=2)[0]
        )
    )
    assert float(f(make(7), 0.3)) == float(f(7, 0.3))
    assert float(f(make(7), 0.3)) != float(f(make(8), 0.3))


@pytest.mark.parametrize("returned", [1.0, 2, True], ids=repr)
def test_plain_numbers(returned):
    assert bk.expectation(lambda: returned)(0) == returned


def test_parameter_free_expectations_have_zero_gradient(estimate):
    """A choice that the parameter does not touch, and the parameter beside it."""
    estimate(lambda t: t**2 + 0 * squared(0.3, bk.estimators.Score()), 3.0, n=10).check(9.0, 6.0)


@pytest.mark.parametrize(
    "estimator", [bk.estimators.Enumeration(), bk.estimators.MeasureValued()], ids=["enumeration", "measure_valued"]
)
def test_what_comes_before_a_choice_is_computed_once(estimator):
    """Executions with the choice at other values share it: XLA counts about the flops of one."""
    matrix = jnp.asarray(np.random.default_rng(0).normal(size=(200, 200)), jnp.float32) / 20.0

    def prefix(theta):
        return jnp.tanh(theta * matrix) @ matrix @ matrix

    def f(theta):
        features = prefix(theta)

        def program():
            return numpyro.sample("b", dist.Categorical(logits=features[0, :4]), infer={"estimator": estimator})

        return jnp.sin(bk.draw(program)[0]["b"] + features[0, 1])

    def flops(g):
        return jax.jit(g).lower(0.3).compile().cost_analysis()["flops"]

    alone = flops(jax.grad(lambda theta: jnp.sin(prefix(theta)[0, :4]).sum()))
    assert flops(jax.grad(lambda theta: bk.expectation(f)(jax.random.PRNGKey(0), theta))) < 1.3 * alone
