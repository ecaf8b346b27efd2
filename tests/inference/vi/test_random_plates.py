"""Random programs of coins in plates, whose elements are treated apart or mixed, against sums over all their values."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

import bayeskit as bk

NUM_KEYS = 2000
THETA = jnp.array([0.4, -0.7])
SHAPES = [(), (2,), (3,), (2, 3)]
ESTIMATORS = {
    "score": bk.estimators.Score,
    "baseline": lambda: bk.estimators.Score(0.6),
    "enumeration": bk.estimators.Enumeration,
    "measure_valued": bk.estimators.MeasureValued,
}
USES = {
    "apart": lambda x: x,
    "reversed": lambda x: x[..., ::-1] if x.ndim else x,
    "rolled": lambda x: jnp.roll(x, 1, -1) if x.ndim else x,
    "summed": jnp.sum,
    "cumulated": lambda x: jnp.cumsum(x, -1) if x.ndim else x,
    "looked up": lambda x: jnp.array([0.3, -0.5])[x.astype(int)],
    "sorted": lambda x: jnp.sort(x, -1) if x.ndim else x,
    "multiplied": lambda x: x @ jnp.array([[0.0, 1.0], [1.0, 0.5]]) if x.shape == (2,) else x,
    "scanned": lambda x: jax.lax.scan(lambda c, v: (c + v, jnp.sin(c) * v), 0.0 * x.sum(0), x)[1] if x.ndim else x,
}


@dataclass(frozen=True)
class Node:
    """Coins whose odds depend on the parameters and on the node before, and a term that they add to the result."""

    shape: tuple[int, ...]
    estimator: str
    use: str
    term: str
    slope: float
    memory: float
    parameter: int


nodes = st.builds(
    Node,
    st.sampled_from(SHAPES),
    st.sampled_from(list(ESTIMATORS)),
    st.sampled_from(list(USES)),
    st.sampled_from(list(USES)),
    st.floats(0.3, 1.2),
    st.floats(-1.0, 1.0),
    st.integers(0, 1),
)
programs = st.lists(nodes, min_size=1, max_size=3).filter(lambda all_: sum(math.prod(n.shape) for n in all_) <= 9)


def fitted(x, shape):
    """Elementwise where the shapes allow it, else the sum."""
    try:
        return jnp.broadcast_to(x, shape)
    except ValueError:
        return jnp.broadcast_to(jnp.sum(x), shape)


def run(program, sample, theta, together):
    """The number of a program, whose coins are given by `sample(i, logits)`."""
    number, before = 0.0, jnp.zeros(())
    for i, node in enumerate(program):
        logits = node.slope * theta[node.parameter] + node.memory * fitted(USES[node.use](before), node.shape)
        x = jnp.asarray(sample(i, jnp.broadcast_to(logits, node.shape)), float)
        number = number + jnp.sum(jnp.cos(USES[node.term](x) + 0.7 * fitted(before, x.shape) + theta[0])) / 3.0
        before = x + 0.2 * theta[1]
    return number + (number**2 if together else 0.0)


def objective(program, together, theta):
    def sample(i, logits):
        infer = {"estimator": ESTIMATORS[program[i].estimator]()}
        return numpyro.sample(f"x{i}", dist.Bernoulli(logits=logits), infer=infer)

    numbers = []
    bk.draw(lambda: numbers.append(run(program, sample, theta, together)))
    return numbers[0]


def exact(program, together, theta):
    sizes = [math.prod(node.shape) for node in program]
    values = jnp.array(list(itertools.product([0, 1], repeat=sum(sizes))))

    def weighted(row):
        parts = jnp.split(row, np.cumsum(sizes)[:-1])
        log_p = []

        def sample(i, logits):
            x = parts[i].reshape(program[i].shape)
            log_p.append(jnp.sum(dist.Bernoulli(logits=logits).log_prob(x)))
            return x

        number = run(program, sample, theta, together)
        return jnp.exp(sum(log_p)) * number

    return jnp.sum(jax.vmap(weighted)(values))


def compare(program, together, particles):
    keys = jax.random.split(jax.random.PRNGKey(0), NUM_KEYS)
    f = lambda theta: objective(program, together, theta)  # noqa: E731
    several = (lambda theta: bk.average(particles, f, theta)) if particles > 1 else f
    values, gradients = jax.jit(jax.vmap(jax.value_and_grad(bk.expectation(several), argnums=1), (0, None)))(
        keys, THETA
    )
    truth, slope = jax.jit(jax.value_and_grad(lambda theta: exact(program, together, theta)))(THETA)
    estimates = np.concatenate([np.asarray(values)[:, None], np.asarray(gradients)], 1).astype(float)
    error = estimates.std(0) / np.sqrt(NUM_KEYS)
    difference = np.abs(estimates.mean(0) - np.append(truth, slope))
    np.testing.assert_array_less(difference, 4.0 * error + 2e-4, err_msg=f"{estimates.mean(0)} {truth} {slope}")


def check(program, together, particles):
    try:
        compare(program, together, particles)
    except bk.errors.ModelError as refused:
        if "max_lanes" not in str(refused):
            raise


options = settings(
    deadline=None,
    database=None,
    phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
)


@seed(7)
@settings(options, max_examples=2)
@given(programs, st.booleans(), st.sampled_from([1, 3]))
def test_plates_against_their_sum(program, together, particles):
    check(program, together, particles)


@pytest.mark.slow
@seed(11)
@settings(options, max_examples=200)
@given(programs, st.booleans(), st.sampled_from([1, 3]))
def test_many_plates_against_their_sum(program, together, particles):
    check(program, together, particles)


def gradients(program, n=4000, particles=1):
    f = lambda theta: objective(program, False, theta)  # noqa: E731
    estimate = bk.expectation(lambda theta: bk.average(particles, f, theta))
    keys = jax.random.split(jax.random.PRNGKey(1), n)
    return np.asarray(jax.jit(jax.vmap(jax.grad(estimate, argnums=1), (0, None)))(keys, THETA))


def test_elements_of_a_plate_are_enumerated_at_once():
    """Twenty coins apart take two executions; mixed they would take 2^20."""

    def f(theta, mix):
        def program():
            x = numpyro.sample(
                "x", dist.Bernoulli(logits=theta * jnp.ones(20)), infer={"estimator": bk.estimators.Enumeration()}
            )
            return jnp.sum(jnp.cos(jnp.cumsum(x) if mix else x))

        numbers = []
        bk.draw(lambda: numbers.append(program()))
        return numbers[0]

    p = jax.nn.sigmoid(0.3)
    both = jax.value_and_grad(bk.expectation(lambda theta: f(theta, False)), argnums=1)
    value, slope = jax.jit(both)(0, 0.3)
    np.testing.assert_allclose(value, 20 * (p * jnp.cos(1.0) + 1 - p), rtol=1e-5)
    np.testing.assert_allclose(slope, 20 * p * (1 - p) * (jnp.cos(1.0) - 1.0), rtol=1e-4)
    with pytest.raises(bk.errors.ModelError, match=r"1048576 times.*'x' \(enumerated, shape \(20,\)"):
        jax.eval_shape(bk.expectation(lambda theta: f(theta, True)), 0, 0.3)


@pytest.mark.parametrize(
    "estimator", ["score", *(pytest.param(one, marks=pytest.mark.full) for one in ("measure_valued", "enumeration"))]
)
def test_the_variance_of_a_plate_is_that_of_its_elements(estimator):
    """For independent elements with costs of their own, the variance of the gradient is the sum of theirs."""
    one = gradients((Node((), estimator, "apart", "apart", 1.0, 0.0, 0),))
    six = gradients((Node((2, 3), estimator, "apart", "apart", 1.0, 0.0, 0),))
    assert np.all(six.var(0) < 6.0 * one.var(0) * 1.2 + 1e-9)
