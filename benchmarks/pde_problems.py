"""The differential equations of the benchmark, each with its solution and the source that makes it so.

Poisson's equation has `laplacian(u) = source`, Allen and Cahn's `laplacian(u) + u (u^2 - 1) = source`; u is given on
the whole boundary. Advection has `u_t + SPEED u_x = 0` at points (x, t), with u given at t = 0 and where it flows in,
at x = 0.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy import cos, pi, sin

Field = Callable[..., np.ndarray]
SPEED = 200.0
TURN, UNIT = (0.0, 2 * pi), (0.0, 1.0)


class Problem(NamedTuple):
    """An equation on a box; `solution` and `source` are functions of its coordinates, one array each.

    `bar` is the relative L2 error that is asked for, `paper` the best one in Fang, Cooley, Long, Li, Kirby and Zhe
    (2024), "Solving high frequency and multi-scale PDEs with Gaussian processes".
    """

    name: str
    kind: str  # "poisson", "allen_cahn" or "advection"
    domain: tuple[tuple[float, float], ...]
    num_nodes: int  # in each dimension, those on the boundary included
    bar: float
    paper: float
    solution: Field
    source: Field


def allen_cahn(laplacian: Field, solution: Field) -> Field:
    """The source of Allen and Cahn's equation."""
    return lambda *at: laplacian(*at) + solution(*at) * (solution(*at) ** 2 - 1)


def wave(x: np.ndarray) -> np.ndarray:
    return sin(100 * x)


def wave_curvature(x: np.ndarray) -> np.ndarray:
    return -10_000 * sin(100 * x)


def product(x: np.ndarray) -> np.ndarray:
    return sin(6 * x) * cos(100 * x)


def product_curvature(x: np.ndarray) -> np.ndarray:
    return -10_036 * sin(6 * x) * cos(100 * x) - 1200 * cos(6 * x) * sin(100 * x)


def slow_product(x: np.ndarray) -> np.ndarray:
    return sin(6 * x) * cos(20 * x)


def slow_product_curvature(x: np.ndarray) -> np.ndarray:
    return -436 * sin(6 * x) * cos(20 * x) - 240 * cos(6 * x) * sin(20 * x)


def scales(x: np.ndarray) -> np.ndarray:
    return sin(x) + 0.1 * sin(20 * x) + cos(100 * x)


def scales_curvature(x: np.ndarray) -> np.ndarray:
    return -sin(x) - 40 * sin(20 * x) - 10_000 * cos(100 * x)


def scales_2d(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return scales(x) * scales(y)


def scales_2d_laplacian(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return scales_curvature(x) * scales(y) + scales(x) * scales_curvature(y)


POISSON = (
    Problem("sin 100x", "poisson", (TURN,), 400, 2e-7, 4e-7, wave, wave_curvature),
    Problem(
        "sin x + .1 sin 20x + .05 sin 100x",
        *("poisson", (UNIT,), 900, 1e-6, 2.7e-3),
        solution=lambda x: sin(x) + 0.1 * sin(20 * x) + 0.05 * sin(100 * x),
        source=lambda x: -sin(x) - 40 * sin(20 * x) - 500 * sin(100 * x),
    ),
    Problem("sin 6x cos 100x", "poisson", (TURN,), 400, 3e-7, 3.2e-6, product, product_curvature),
    Problem(
        "x sin 200x",
        *("poisson", (TURN,), 900, 1e-6, 9e-7),
        solution=lambda x: x * sin(200 * x),
        source=lambda x: 400 * cos(200 * x) - 40_000 * x * sin(200 * x),
    ),
    Problem(
        "sin 500x - 2(x - .5)^2",
        *("poisson", (UNIT,), 400, 1e-6, 4.2e-4),
        solution=lambda x: sin(500 * x) - 2 * (x - 0.5) ** 2,
        source=lambda x: -250_000 * sin(500 * x) - 4,
    ),
    Problem(
        "sin 100x sin 100y",
        *("poisson", (TURN, TURN), 400, 1e-6, 6.5e-5),
        solution=lambda x, y: sin(100 * x) * sin(100 * y),
        source=lambda x, y: -20_000 * sin(100 * x) * sin(100 * y),
    ),
    Problem(
        "sin 6x cos 20x + sin 6y cos 20y",
        *("poisson", (TURN, TURN), 200, 1e-5, 1.0e-3),
        solution=lambda x, y: slow_product(x) + slow_product(y),
        source=lambda x, y: slow_product_curvature(x) + slow_product_curvature(y),
    ),
)
ALLEN_CAHN = (
    Problem("sin 100x", "allen_cahn", (TURN,), 400, 4e-6, 4.9e-6, wave, allen_cahn(wave_curvature, wave)),
    Problem(
        "sin 6x cos 100x", "allen_cahn", (TURN,), 400, 4e-6, 4.2e-6, product, allen_cahn(product_curvature, product)
    ),
    Problem(
        "product of (sin + .1 sin 20 + cos 100)",
        *("allen_cahn", (UNIT, UNIT), 400, 5e-4, 5.8e-3),
        solution=scales_2d,
        source=allen_cahn(scales_2d_laplacian, scales_2d),
    ),
)
ADVECTION = (
    Problem(
        "sin(x - 200t)",
        *("advection", (UNIT, UNIT), 200, 1e-5, 9.1e-4),
        solution=lambda x, t: sin(x - SPEED * t),
        source=lambda x, t: np.zeros(np.broadcast_shapes(np.shape(x), np.shape(t))),
    ),
)
PROBLEMS = POISSON + ALLEN_CAHN + ADVECTION
