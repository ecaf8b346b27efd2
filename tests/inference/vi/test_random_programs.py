"""Random small programs against sums over their discrete choices and Gauss-Hermite quadrature over the normal ones."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

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
NODES, WEIGHTS = np.polynomial.hermite_e.hermegauss(24)
SIZES = {"bernoulli": 2, "categorical": 3, "normal": len(NODES)}


@dataclass(frozen=True)
class Site:
    """A choice whose law depends smoothly on the parameters and on the total of those before it."""

    kind: str
    estimator: str
    parameter: int
    slope: float
    memory: float
    share: float

    def parameters(self, theta, total):
        u = self.slope * theta[self.parameter] + self.memory * jnp.sin(total)
        if self.kind == "bernoulli":
            return (u,)
        if self.kind == "categorical":
            return (jnp.zeros_like(u), u, -0.5 * u)
        return u, 0.4 + 0.4 * jax.nn.sigmoid(u + theta[1 - self.parameter])

    def distribution(self, theta, total):
        parameters = self.parameters(theta, total)
        if self.kind == "bernoulli":
            return dist.Bernoulli(logits=parameters[0])
        if self.kind == "categorical":
            return dist.Categorical(logits=jnp.stack(parameters))
        return dist.Normal(*parameters)

    def contribution(self, value):
        return self.share * (jnp.sin(value) if self.kind == "normal" else value)

    def count(self, value):
        """What branches may depend on: it does not move with the parameters."""
        return jnp.zeros((), int) if self.kind == "normal" else value

    def make_estimator(self, total):
        return {
            "default": lambda: None,
            "pathwise": bk.estimators.Pathwise,
            "score": bk.estimators.Score,
            "baseline": lambda: bk.estimators.Score(0.7),
            "fitted baseline": lambda: bk.estimators.Score(lambda: 0.3 + total**2),
            "enumeration": bk.estimators.Enumeration,
            "measure_valued": bk.estimators.MeasureValued,
        }[self.estimator]()


@dataclass(frozen=True)
class Node:
    """One site, a plate of two, two passes of a scan, or one site in each branch of a `cond`."""

    form: str
    site: Site
    other: Site | None = None


# ---------------------------------------------------------------- as a program


def draw_site(site, name, theta, total):
    estimator = site.make_estimator(total)
    infer = {} if estimator is None else {"estimator": estimator}
    return numpyro.sample(name, site.distribution(theta, total), infer=infer)


def run_node(i, node, theta, total, count):
    def at(site, name, total):
        value = draw_site(site, name, theta, total)
        return site.contribution(value), site.count(value)

    if node.form == "single":
        more, number = at(node.site, f"x{i}", total)
        return total + more, count + number
    if node.form == "plate":
        with numpyro.plate(f"p{i}", 2):
            more, number = at(node.site, f"x{i}", total)
        return total + more[0] + 2.0 * more[1], count + jnp.sum(number)
    if node.form == "scan":

        def step(carry, _):
            total, count = carry
            more, number = at(node.site, f"x{i}", total)
            return (total + more, count + number), None

        return bk.scan(step, (total, count), length=2)[0]
    more, number = bk.cond(
        count % 2 == 1, lambda: at(node.site, f"x{i}left", total), lambda: at(node.other, f"x{i}right", total)
    )
    return total + more, count + number


def final(total, log_q, theta):
    return 0.5 * total**2 + jnp.sin(total + theta[0]) + 0.2 * log_q


def objective(nodes) -> Callable[..., Any]:
    def f(theta):
        out = []

        def program():
            total, count = jnp.zeros(()), jnp.zeros((), int)
            for i, node in enumerate(nodes):
                total, count = run_node(i, node, theta, total, count)
            out.append(total)

        _, log_q = bk.draw(program)
        return final(out[0], log_q, theta)

    return f


# ---------------------------------------------------------------- as a sum


def elements(node):
    return {"single": [node.site], "branch": [node.site, node.other]}.get(node.form, [node.site] * 2)


def truth(nodes) -> Callable[..., Any]:
    """The sum over a grid with an axis for each element of each choice."""
    dimension = sum(len(elements(node)) for node in nodes)

    def f(theta):
        axes = iter(range(dimension))

        def element(site, total):
            """Contribution, count, weight and log density along the next axis."""
            shape = [1] * dimension
            shape[next(axes)] = -1
            parameters = site.parameters(theta, total)
            if site.kind == "normal":
                noise = jnp.asarray(NODES).reshape(shape)
                value = parameters[0] + parameters[1] * noise
                weight = jnp.asarray(WEIGHTS / WEIGHTS.sum()).reshape(shape)
                return site.contribution(value), 0, weight, dist.Normal(*parameters).log_prob(value)
            value = jnp.arange(SIZES[site.kind]).reshape(shape)
            if site.kind == "bernoulli":
                log_q = jax.nn.log_sigmoid(jnp.where(value == 1, parameters[0], -parameters[0]))
            else:
                log_q = sum(jnp.where(value == k, u, 0.0) for k, u in enumerate(parameters))
                log_q = log_q - jax.nn.logsumexp(jnp.stack(jnp.broadcast_arrays(*parameters)), axis=0)
            return site.contribution(value), value, jnp.exp(log_q), log_q

        total, count, weight, log_q = jnp.zeros([1] * dimension), jnp.zeros([1] * dimension, int), 1.0, 0.0
        for node in nodes:
            if node.form == "branch":
                left, right = element(node.site, total), element(node.other, total)
                taken = count % 2 == 1
                more, number, q, log = (jnp.where(taken, a, b) for a, b in zip(left, right, strict=True))
                idle = jnp.where(taken, 1 / SIZES[node.other.kind], 1 / SIZES[node.site.kind])
                total, count, weight, log_q = total + more, count + number, weight * q * idle, log_q + log
                continue
            before = total
            for j in range(len(elements(node))):
                more, number, q, log = element(node.site, before if node.form == "plate" else total)
                total = total + more * (2.0 if node.form == "plate" and j == 1 else 1.0)
                count, weight, log_q = count + number, weight * q, log_q + log
        return jnp.sum(weight * final(total, log_q, theta))

    return f


# ---------------------------------------------------------------- random ones

ESTIMATORS = {
    "bernoulli": ["default", "score", "baseline", "fitted baseline", "enumeration", "measure_valued"],
    "categorical": ["default", "score", "baseline", "fitted baseline", "enumeration", "measure_valued"],
    "normal": ["default", "pathwise", "score", "fitted baseline", "measure_valued"],
}
coefficients = st.sampled_from([-1.0, -0.5, 0.5, 1.0])


@st.composite
def sites(draw, kinds):
    kind = draw(st.sampled_from(kinds))
    estimator = draw(st.sampled_from(ESTIMATORS[kind]))
    return Site(kind, estimator, draw(st.integers(0, 1)), *(draw(coefficients) for _ in range(3)))


@st.composite
def programs(draw):
    """3 to 5 nodes, at most two elements of which are normal, with a grid and lanes that stay small."""
    nodes: list[Node] = []
    number = draw(st.integers(3, 5))
    for _ in range(number):
        elsewhere = [site for node in nodes for site in elements(node)]
        normal = sum(site.kind == "normal" for site in elsewhere)
        forms = ["single", "plate", "scan", "branch"] if len(elsewhere) <= 6 - (number - len(nodes)) else ["single"]
        form = draw(st.sampled_from(forms))
        kinds = list(SIZES) if normal == 0 or (normal == 1 and form == "single") else ["bernoulli", "categorical"]
        lanes = np.prod([SIZES[s.kind] for s in elsewhere if s.estimator == "enumeration"])
        if form != "single" and lanes > 12:
            form = "single"
        node = Node(form, draw(sites(kinds)), draw(sites(kinds)) if form == "branch" else None)
        nodes.append(node)
    return tuple(nodes)


def check(nodes):
    keys = jax.random.split(jax.random.PRNGKey(0), NUM_KEYS)
    value, gradient = jax.jit(jax.value_and_grad(truth(nodes)))(THETA)
    exact = np.array([value, *gradient])
    both = jax.value_and_grad(bk.expectation(objective(nodes)), argnums=1)
    everything = [site for node in nodes for site in elements(node)]
    enumerated = all(site.estimator == "enumeration" for site in everything)
    values, gradients = jax.jit(jax.vmap(both, (0, None)))(keys[: 2 if enumerated else NUM_KEYS], THETA)
    found = np.column_stack([values, gradients])
    mean, error = found.mean(0), found.std(0) / np.sqrt(len(found))
    if enumerated:
        np.testing.assert_allclose(found, np.broadcast_to(exact, found.shape), atol=1e-8)
    assert np.all(error < 3.0), f"nothing is learned from a standard error of {error}"
    assert np.all(np.abs(mean - exact) < 5 * error + 1e-6), f"{mean} ± {error}, exactly {exact}"


SETTINGS = {
    "deadline": None,
    "database": None,
    "suppress_health_check": list(HealthCheck),
    "phases": [Phase.explicit, Phase.generate],
}


def run(part, number):
    """A part of the programs, so that several processes can share them."""
    seed(part)(settings(max_examples=number, **SETTINGS)(given(programs())(check)))()


@pytest.mark.parametrize("part", [pytest.param(0, marks=pytest.mark.full), 1])
def test_random_programs(part):
    run(part, 2)


@pytest.mark.slow
@pytest.mark.parametrize("part", range(2, 10))
def test_two_hundred_random_programs(part):
    run(part, 25)


@seed(0)
@settings(max_examples=1, **SETTINGS)
@given(programs())
def test_random_programs_of_enumerated_choices(nodes):
    """Exact to rounding."""
    plain = {"bernoulli": "bernoulli", "categorical": "categorical", "normal": "bernoulli"}

    def enumerated(site):
        return None if site is None else Site(plain[site.kind], "enumeration", *list(vars(site).values())[2:])

    check(tuple(Node(node.form, enumerated(node.site), enumerated(node.other)) for node in nodes))
