"""Steps of training, and a kernel, on one device, for the rows of `gpu.py`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from bayeskit.models.pfn import training
from benchmarks import bridge, gpu_transformer, nngp, pfn, vi
from benchmarks.gpu_work import Contestant, Work, timed


def autoencoder(batch: int, num_steps: int) -> tuple[Contestant, Contestant]:
    """Steps of Adam, one call each, as a training loop would make them: bayeskit's, and NumPyro's `SVI.update`."""

    def images() -> jax.Array:
        return jnp.asarray(np.random.default_rng(0).integers(0, 2, (batch, vi.PIXELS)), jnp.float32)

    def steps(advance: Callable[[Any], Any], state: Any) -> Callable[[], Work]:
        def loop() -> Any:
            now = state
            for _ in range(num_steps):
                now = advance(now)
            return now

        return lambda: timed(loop, lambda _: (num_steps, ""))

    def ours() -> Callable[[], Work]:
        x, step, key = images(), vi.step(vi.with_bayeskit), jax.random.key(1)
        return steps(lambda state: step(key, state, x)[0], (vi.parameters(), optax.adam(vi.RATE).init(vi.parameters())))

    def theirs() -> Callable[[], Work]:
        x, (update, init) = images(), vi.numpyro_step()
        return steps(lambda state: update(state, x)[0], init(x))

    return ours, theirs


def kernel(num: int, depth: int = 4, features: int = 10) -> tuple[Contestant, Contestant]:
    """The kernel of a deep network for all pairs: ours, and the arc-cosine formula of `nngp.py` in jnp."""

    def contestant(make: Callable[[jax.Array, jax.Array], Callable]) -> Contestant:
        def made() -> Callable[[], Work]:
            x = jnp.asarray(np.random.default_rng(0).normal(size=(num, features)), jnp.float32)
            compiled = jax.jit(lambda w, b, x: make(w, b)(x))
            parameters = jnp.asarray(1.4), jnp.asarray(0.3)
            return lambda: timed(lambda: compiled(*parameters, x), lambda k: (num**2, f"corner {float(k[0, -1]):.5f}"))

        return made

    def ours(w: jax.Array, b: jax.Array) -> Callable:
        return nngp.nngp.fully_connected(depth, w, b).nngp

    def formula(w: jax.Array, b: jax.Array) -> Callable:
        return lambda x: nngp.Elementwise(w, b, depth)(x, x)

    return contestant(ours), contestant(formula)


def plain_light_loss(free: tuple, epsilon: float, x0: jax.Array, x1: jax.Array) -> jax.Array:
    """The loss of Korotin, Gushchin and Burnaev (2024), with each map the square of a lower triangle."""
    log_alpha, r, triangle = free
    triangle = jnp.tril(triangle)
    carried = jnp.sum(jnp.einsum("kij,ni->nkj", triangle, x0) ** 2, axis=-1)
    log_c = jax.nn.logsumexp(log_alpha + (carried + 2 * x0 @ r.T) / (2 * epsilon), axis=1)
    apart = jnp.swapaxes(x1[:, None] - r, 0, 1)
    white = jax.vmap(lambda root, rows: jax.scipy.linalg.solve_triangular(root, rows.T, lower=True))(triangle, apart)
    log_scale = jnp.sum(jnp.log(jnp.abs(jnp.diagonal(triangle, axis1=1, axis2=2))), axis=1)
    size = x0.shape[1]
    log_normal = -0.5 * jnp.sum(white**2, axis=1).T / epsilon - log_scale - 0.5 * size * jnp.log(2 * jnp.pi * epsilon)
    return jnp.mean(log_c) - jnp.mean(jax.nn.logsumexp(log_alpha + log_normal, axis=1))


def light_bridge(dimension: int, num: int, num_steps: int, epsilon: float = 1.0) -> tuple[Contestant, Contestant]:
    """Steps over all points from the same start: ours of the fixed point, theirs of Adam on the plain formula."""
    method = bridge.schrodinger_bridge.LightBridge

    def problem() -> tuple[jax.Array, jax.Array, Any]:
        with jax.enable_x64(True):
            true = bridge.true_bridge(dimension, epsilon, 0)
        first, second, plan = jax.random.split(jax.random.key(0), 3)
        x0, other = (jax.random.normal(key, (num, dimension)) for key in (first, second))
        x1 = bridge.as_float(true, jnp.float32).sample(other, key=plan)
        start = method(bridge.COMPONENTS, epsilon, num_steps=1).fit(x0[: num // 2], x1[: num // 2], key=0).bridge
        return x0, x1, start

    def free(found: Any) -> tuple:
        return found.log_alpha, found.r, jnp.linalg.cholesky(found.S.dense())

    judge = jax.jit(plain_light_loss, static_argnums=1)

    def ours() -> Callable[[], Work]:
        x0, x1, start = problem()
        settings = method(bridge.COMPONENTS, epsilon, num_steps=num_steps, tolerance=0.0)

        def found(fit: Any) -> tuple[float, str]:
            steps = len(fit.losses) - 1
            return steps, f"loss {float(judge(free(fit.bridge), epsilon, x0, x1)):.4f} after {steps} steps"

        return lambda: timed(lambda: settings.fit(x0, x1, key=0, init=start), found)

    def theirs() -> Callable[[], Work]:
        x0, x1, start = problem()
        optimizer = optax.adam(1e-3)

        @jax.jit
        def step(now: tuple, moments: Any, x0: jax.Array, x1: jax.Array) -> tuple[tuple, Any]:
            slope = jax.grad(plain_light_loss)(now, epsilon, x0, x1)
            updates, moments = optimizer.update(slope, moments)
            return optax.apply_updates(now, updates), moments

        def run() -> tuple:
            now = free(start)
            moments = optimizer.init(now)
            for _ in range(num_steps):
                now, moments = step(now, moments, x0, x1)
            return now

        def found(now: tuple) -> tuple[float, str]:
            return num_steps, f"loss {float(judge(now, epsilon, x0, x1)):.4f} after {num_steps} steps"

        return lambda: timed(run, found)

    return ours, theirs


def pfn_training(batch: int, num_steps: int) -> tuple[Contestant, Contestant]:
    """Data sets that are drawn and trained on: `pfn.train`, and a transformer in plain JAX."""

    def ours() -> Callable[[], Work]:
        def run() -> Work:
            rate, compiling = pfn.our_rate_and_compile_seconds(num_steps, batch)
            return Work(num_steps * batch / rate, lambda: (num_steps * batch, ""), compiling)

        return run

    def theirs() -> Callable[[], Work]:
        train = gpu_transformer.trainer(batch, num_steps, training.BLOCK)
        return lambda: timed(train, lambda _: (num_steps * batch, ""))

    return ours, theirs
