"""Three numbers that NumPyro's variational inference gets wrong without a word, beside bayeskit's and the truth.

    python benchmarks/against_numpyro.py

1. The gradient of the ELBO with a Bernoulli guide: NumPyro's `Trace_ELBO` differentiates through the draw, which has
   no gradient.
2. The gradient of the two-particle Rényi bound (alpha = 0) with the same model and guide.
3. The gradient of the ELBO with respect to the weight of a `MixtureSameFamily` guide.
"""

from __future__ import annotations

import itertools
import sys
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import jax
import jax.numpy as jnp
import numpyro
import numpyro.distributions as dist
from numpyro.infer import RenyiELBO, Trace_ELBO

import bayeskit as bk

NUM = 100_000


def model() -> None:
    z = numpyro.sample("z", dist.Bernoulli(0.3))
    numpyro.sample("x", dist.Normal(2.0 * z, 1.0), obs=0.8)


def bernoulli(q: jax.Array) -> Callable[[], None]:
    return lambda: numpyro.sample("z", dist.Bernoulli(q))


def log_joint(z: int) -> jax.Array:
    return dist.Bernoulli(0.3).log_prob(z) + dist.Normal(2.0 * z, 1.0).log_prob(0.8)


def exact_elbo(q: jax.Array) -> jax.Array:
    return sum(p * (log_joint(z) - jnp.log(p)) for z, p in ((0, 1 - q), (1, q)))


def exact_renyi(q: jax.Array) -> jax.Array:
    p = (1 - q, q)
    return sum(
        p[a] * p[b] * jnp.log(0.5 * sum(jnp.exp(log_joint(z) - jnp.log(p[z])) for z in (a, b)))
        for a, b in itertools.product((0, 1), repeat=2)
    )


def normal_model() -> None:
    numpyro.sample("z", dist.Normal(0.5, 1.0))


def mixture(w: jax.Array) -> dist.Distribution:
    weights = dist.Categorical(probs=jnp.stack([1 - w, w]))
    return dist.MixtureSameFamily(weights, dist.Normal(jnp.array([-1.0, 1.0]), 0.7))


def exact_mixture(w: jax.Array) -> jax.Array:
    z = jnp.linspace(-9.0, 9.0, 20_001)
    log_q = mixture(w).log_prob(z)
    return jnp.sum(jnp.exp(log_q) * (dist.Normal(0.5, 1.0).log_prob(z) - log_q)) * (z[1] - z[0])


def ours(objective: Callable, model: Callable, guide: Callable, at: float) -> tuple[float, float]:
    f = bk.expectation(lambda q: objective(model, guide(q)))
    gradients = jax.jit(jax.vmap(jax.grad(f, argnums=1), (0, None)))(jax.random.split(jax.random.key(0), NUM), at)
    return float(gradients.mean()), float(gradients.std() / NUM**0.5)


def numpyros(loss: object, model: Callable, guide: Callable, at: float) -> tuple[float, float]:
    def value(q: jax.Array, key: jax.Array) -> jax.Array:
        return -loss.loss(key, {}, model, guide(q))

    gradients = jax.jit(jax.vmap(jax.grad(value), (None, 0)))(at, jax.random.split(jax.random.key(0), NUM))
    return float(gradients.mean()), float(gradients.std() / NUM**0.5)


def main() -> None:
    """Print one line a case."""
    weight = lambda w: lambda: numpyro.sample("z", mixture(w))  # noqa: E731
    cases = {
        "ELBO, Bernoulli guide": (exact_elbo, bk.objectives.ELBO(), Trace_ELBO(), model, bernoulli, 0.4),
        "two-particle Rényi bound": (
            exact_renyi,
            bk.objectives.Renyi(0.0, 2),
            RenyiELBO(0.0, 2),
            model,
            bernoulli,
            0.4,
        ),
        "weight of a mixture guide": (exact_mixture, bk.objectives.ELBO(4), Trace_ELBO(), normal_model, weight, 0.3),
    }
    print(f"{'gradient of':28}{'truth':>9}{'bayeskit':>10}{'± s.e.':>8}{'NumPyro':>10}{'± s.e.':>8}")
    for name, (exact, objective, loss, program, guide, at) in cases.items():
        truth = float(jax.grad(exact)(at))
        mean, error = ours(objective, program, guide, at)
        theirs, their_error = numpyros(loss, program, guide, at)
        print(f"{name:28}{truth:9.4f}{mean:10.4f}{error:8.4f}{theirs:10.4f}{their_error:8.4f}", flush=True)


if __name__ == "__main__":
    jax.config.update("jax_enable_x64", True)
    main()
