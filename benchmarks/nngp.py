"""The kernel of an infinitely wide network and its gradient, against the same written for one pair of inputs.

    python benchmarks/nngp.py [--num 2000] [--depth 4] [--features 10] [--float64] [--repeats 5]

All are compiled, with the same inputs, in one process, by turns. "elementwise" is a tinygp kernel whose `evaluate` is
the textbook recursion for one pair (arccos, sine and cosine), mapped over all pairs by tinygp; "our evaluate" is what
tinygp makes of `Network.evaluate`; "ours" is `Network.nngp`. The gradient is that of the sum of the kernel times a
fixed matrix by weight_std and bias_std, value included. The figures are the least wall and processor seconds.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import jax
import jax.numpy as jnp
import numpy as np
from tinygp.kernels import Kernel

from bayeskit.models import nngp


class Elementwise(Kernel):
    """The textbook recursion for one pair."""

    weight_std: jax.Array
    bias_std: jax.Array
    depth: int

    def evaluate(self, x: jax.Array, y: jax.Array) -> jax.Array:
        w, b = self.weight_std**2, self.bias_std**2
        first, second, both = (w * product / x.shape[0] + b for product in (x @ x, y @ y, x @ y))
        for _ in range(self.depth):
            root = jnp.sqrt(first * second)
            cosine = jnp.clip(both / root, -1, 1)
            theta = jnp.arccos(cosine)
            both = w * root * (jnp.sin(theta) + (jnp.pi - theta) * cosine) / (2 * jnp.pi) + b
            first, second = w * first / 2 + b, w * second / 2 + b
        return both


def seconds(function: Callable[[], object]) -> tuple[float, float]:
    wall, processor = time.perf_counter(), time.process_time()
    jax.block_until_ready(function())
    return time.perf_counter() - wall, time.process_time() - processor


def kernels(num: int, depth: int, features: int, repeats: int) -> None:
    generator = np.random.default_rng(0)
    x = jnp.asarray(generator.normal(size=(num, features)), float)
    weights = jnp.asarray(generator.normal(size=(num, num)), float)
    parameters = (jnp.asarray(1.4), jnp.asarray(0.3))
    contestants = {
        "elementwise": lambda w, b, x: Elementwise(w, b, depth)(x, x),
        "our evaluate": lambda w, b, x: Kernel.__call__(nngp.fully_connected(depth, w, b), x, x),
        "ours": lambda w, b, x: nngp.fully_connected(depth, w, b).nngp(x),
    }
    tasks = {}
    for name, kernel in contestants.items():
        gradient = jax.value_and_grad(lambda p, x, g, k=kernel: jnp.sum(k(*p, x) * g))
        tasks[name, "kernel"] = jax.jit(lambda p, x, _, k=kernel: k(*p, x))
        tasks[name, "gradient"] = jax.jit(gradient)
    best = {}
    for turn in range(repeats + 1):  # the first compiles
        for key, task in tasks.items():
            found = seconds(lambda task=task: task(parameters, x, weights))
            if turn:
                best[key] = tuple(map(min, best.get(key, found), found))
    print(f"{num} x {num}, {depth} layers, {features} features, {x.dtype}, {jax.devices()[0].device_kind}")
    print(
        f"{'':14s}{'kernel: wall':>14s}{'processor':>11s}{'gradient: wall':>16s}{'processor':>11s}{'both, ratio':>13s}"
    )
    for name in contestants:
        (k_wall, k_cpu), (g_wall, g_cpu) = best[name, "kernel"], best[name, "gradient"]
        of_slow = (best["elementwise", "kernel"][0] + best["elementwise", "gradient"][0]) / (k_wall + g_wall)
        print(f"{name:14s}{k_wall:14.4f}{k_cpu:11.4f}{g_wall:16.4f}{g_cpu:11.4f}{of_slow:12.1f}x")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--num", type=int, default=2000)
    parser.add_argument("--depth", type=int, default=4)
    parser.add_argument("--features", type=int, default=10)
    parser.add_argument("--float64", action="store_true")
    parser.add_argument("--repeats", type=int, default=5)
    settings = parser.parse_args()
    with jax.enable_x64(settings.float64):
        kernels(settings.num, settings.depth, settings.features, settings.repeats)


if __name__ == "__main__":
    main()
