"""What Chebyshev collocation and second-order finite differences get on the nodes of the benchmark of equations.

    python benchmarks/pde_peers.py [--problems 0 1 2 ...] [--seeds 100] [--pinn-seconds 30]

NumPy and SciPy in float64. Errors are relative, in L2, on 300 equispaced points in each dimension, ends included;
seconds are those of solving, without evaluation. "bar" and "paper" are those of `pde_problems.py`. Then the inverse
problem of `pde_inverse_peers.py`: how far least squares and a physics-informed network end from the unknowns, and how
often the intervals of least squares hold them.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
from scipy import fft
from scipy.interpolate import RectBivariateSpline, make_interp_spline
from scipy.linalg import lu_factor, lu_solve, solve_sylvester
from scipy.signal import lfilter
from scipy.sparse.linalg import LinearOperator, gmres

from benchmarks.pde_inverse_peers import least_squares_inverse, pinn_inverse, simulate_readings
from benchmarks.pde_problems import PROBLEMS, SPEED, Problem

TRUTH = (0.3, 0.4)  # diffusion and place of the inverse problem
Solution = Callable[[np.ndarray], np.ndarray]  # points of shape (points, dimension) to values


class Scheme(NamedTuple):
    """A discrete Laplacian: of values at all nodes, at the inner nodes; and its inverse where the boundary is zero."""

    nodes: list[np.ndarray]
    laplacian: Callable[[np.ndarray], np.ndarray]
    inverse: Callable[[np.ndarray], np.ndarray]


def relative_l2(solution: Solution, problem: Problem, num_points: int = 300) -> float:
    """The error on equispaced points, relative to the norm of the exact solution there."""
    axes = [np.linspace(low, high, num_points) for low, high in problem.domain]
    points = np.stack(np.meshgrid(*axes, indexing="ij"), -1).reshape(-1, len(axes))
    exact = problem.solution(*points.T)
    return float(np.linalg.norm(np.asarray(solution(points)).reshape(-1) - exact) / np.linalg.norm(exact))


# ---------------------------------------------------------------- equations at rest


def at_rest(problem: Problem, scheme: Scheme) -> np.ndarray:
    """Values at the nodes that solve a discrete Poisson or Allen-Cahn equation.

    With S the inverse, inner values w and the linear solution w0, the latter equation is w + S(w^3 - w) = w0.
    """
    mesh = np.meshgrid(*scheme.nodes, indexing="ij")
    inner = (slice(1, -1),) * len(mesh)
    values = np.array(problem.solution(*mesh))
    values[inner] = 0
    linear = scheme.inverse(problem.source(*mesh)[inner] - scheme.laplacian(values))
    values[inner] = linear if problem.kind == "poisson" else newton(linear, scheme.inverse)
    return values


def newton(linear: np.ndarray, inverse: Callable[[np.ndarray], np.ndarray], num_steps: int = 20) -> np.ndarray:
    """The root of w + S(w^3 - w) = w0 by Newton's method from w0, each step by GMRES; raises if it is not found."""
    w = linear
    for _ in range(num_steps):

        def slope(v: np.ndarray, w: np.ndarray = w) -> np.ndarray:
            v = v.reshape(w.shape)
            return (v + inverse((3 * w**2 - 1) * v)).ravel()

        residual = linear - w - inverse(w**3 - w)
        step, failed = gmres(LinearOperator((w.size, w.size), slope), residual.ravel(), rtol=1e-10, maxiter=10)
        if failed:
            raise RuntimeError("GMRES has not converged in 200 iterations")
        w = w + step.reshape(w.shape)
        if np.abs(step).max() < 1e-12 * np.abs(w).max():
            return w
    raise RuntimeError(f"Newton's method has not converged in {num_steps} steps")


# ---------------------------------------------------------------- Chebyshev


def chebyshev(problem: Problem, num_nodes: int) -> Solution:
    """Collocation at Chebyshev's points, those on the boundary included; values between them are barycentric."""
    nodes = [low + (high - low) * (1 + unit_nodes(num_nodes)) / 2 for low, high in problem.domain]
    solve = chebyshev_advection if problem.kind == "advection" else chebyshev_at_rest
    values = solve(problem, nodes)
    return lambda points: barycentric(nodes, values, points)


def unit_nodes(num_nodes: int) -> np.ndarray:
    """Chebyshev's points on [-1, 1], ascending and exactly symmetric."""
    return np.sin(np.pi * (2 * np.arange(num_nodes) - num_nodes + 1) / (2 * (num_nodes - 1)))


def node_weights(num_nodes: int) -> np.ndarray:
    """The barycentric weights of these points."""
    weights = (-1.0) ** np.arange(num_nodes)
    weights[[0, -1]] /= 2
    return weights


def derivatives(num_nodes: int, length: float) -> tuple[np.ndarray, np.ndarray]:
    """The matrices of the first and second derivative at Chebyshev's points of an interval.

    Differences of points are products of sines, and diagonals make rows sum to zero, both against rounding
    (Baltensperger and Trummer 2003, "Spectral differencing with a twist").
    """
    angles = np.pi * np.arange(num_nodes) / (num_nodes - 1)
    gaps = 2 * np.sin((angles[:, None] + angles) / 2) * np.sin((angles[:, None] - angles) / 2)
    np.fill_diagonal(gaps, 1)
    weights = node_weights(num_nodes)
    first = weights / weights[:, None] / gaps
    np.fill_diagonal(first, 0)
    np.fill_diagonal(first, -first.sum(1))
    second = 2 * first * (np.diag(first)[:, None] - 1 / gaps)
    np.fill_diagonal(second, 0)
    np.fill_diagonal(second, -second.sum(1))
    return first * (2 / length), second * (2 / length) ** 2


def chebyshev_at_rest(problem: Problem, nodes: list[np.ndarray]) -> np.ndarray:
    """In two dimensions the inverse diagonalises the second derivative along each (Lynch, Rice and Thomas 1964)."""
    second = [derivatives(len(x), high - low)[1] for x, (low, high) in zip(nodes, problem.domain, strict=True)]
    if len(nodes) == 1:
        factors = lu_factor(second[0][1:-1, 1:-1])
        return at_rest(problem, Scheme(nodes, lambda u: second[0][1:-1] @ u, lambda f: lu_solve(factors, f)))
    along_x, along_y = second
    (values_x, vectors_x), (values_y, vectors_y) = (np.linalg.eig(matrix[1:-1, 1:-1]) for matrix in second)
    back_x, back_y = np.linalg.inv(vectors_x), np.linalg.inv(vectors_y)

    def laplacian(u: np.ndarray) -> np.ndarray:
        return along_x[1:-1] @ u[:, 1:-1] + u[1:-1] @ along_y[1:-1].T

    def inverse(f: np.ndarray) -> np.ndarray:
        return vectors_x @ (back_x @ f @ back_y.T / (values_x[:, None] + values_y)) @ vectors_y.T

    return at_rest(problem, Scheme(nodes, laplacian, inverse))


def chebyshev_advection(problem: Problem, nodes: list[np.ndarray]) -> np.ndarray:
    """Collocation in space and time at once, a Sylvester equation for the values not given."""
    x, t = nodes
    (along_x, _), (along_t, _) = (derivatives(len(each), each[-1] - each[0]) for each in nodes)
    values = np.zeros((len(x), len(t)))
    values[0], values[:, 0] = problem.solution(x[0], t), problem.solution(x, t[0])
    known = SPEED * along_x[1:] @ values[:, 1:] + values[1:] @ along_t[1:].T
    values[1:, 1:] = solve_sylvester(SPEED * along_x[1:, 1:], along_t[1:, 1:].T, -known)
    return values


def barycentric(nodes: list[np.ndarray], values: np.ndarray, points: np.ndarray, chunk: int = 5000) -> np.ndarray:
    """The polynomial through values at Chebyshev's points of a box (Berrut and Trefethen 2004, equation 4.2)."""

    def basis(x: np.ndarray, at: np.ndarray) -> np.ndarray:
        gaps = at[:, None] - x
        hit = gaps == 0
        terms = node_weights(len(x)) / np.where(hit, 1, gaps)
        return np.where(hit.any(1, keepdims=True), hit, terms / terms.sum(1, keepdims=True))

    def evaluate(points: np.ndarray) -> np.ndarray:
        first, *rest = (basis(x, at) for x, at in zip(nodes, points.T, strict=True))
        along = first @ values
        return np.sum(along * rest[0], axis=1) if rest else along

    return np.concatenate([evaluate(points[at : at + chunk]) for at in range(0, len(points), chunk)])


# ---------------------------------------------------------------- finite differences


def finite_differences(problem: Problem, num_nodes: int) -> Solution:
    """Second-order differences on an equispaced grid; values between its nodes by cubic splines."""
    nodes = [np.linspace(low, high, num_nodes) for low, high in problem.domain]
    values = box_scheme(problem, nodes) if problem.kind == "advection" else at_rest(problem, differences(nodes))
    if len(nodes) == 1:
        spline = make_interp_spline(nodes[0], values, k=3)
        return lambda points: spline(points[:, 0])
    surface = RectBivariateSpline(*nodes, values, kx=3, ky=3)
    return lambda points: surface.ev(*points.T)


def differences(nodes: list[np.ndarray]) -> Scheme:
    """Central second differences, which the sine transform diagonalises."""
    steps = [x[1] - x[0] for x in nodes]
    inner = (slice(1, -1),) * len(nodes)
    spectrum = [
        -4 / step**2 * np.sin(np.pi * np.arange(1, len(x) - 1) / (2 * (len(x) - 1))) ** 2
        for x, step in zip(nodes, steps, strict=True)
    ]
    eigenvalues = sum(np.meshgrid(*spectrum, indexing="ij"))

    def laplacian(u: np.ndarray) -> np.ndarray:
        def along(axis: int) -> np.ndarray:
            others = tuple(slice(None) if each == axis else keep for each, keep in enumerate(inner))
            return np.diff(u[others], 2, axis=axis) / steps[axis] ** 2

        return sum(along(axis) for axis in range(len(nodes)))

    def inverse(f: np.ndarray) -> np.ndarray:
        return fft.idstn(fft.dstn(f, type=1) / eigenvalues, type=1)

    return Scheme(nodes, laplacian, inverse)


def box_scheme(problem: Problem, nodes: list[np.ndarray]) -> np.ndarray:
    """Differences centred in each cell of space and time, stable at any step.

    In a cell with old values a, b and new ones c, d from left to right, d = a + r (c - b) with
    r = (courant - 1) / (courant + 1): along x a recursion of first order from the value that flows in.
    """
    x, t = nodes
    courant = SPEED * (t[1] - t[0]) / (x[1] - x[0])
    r = (courant - 1) / (courant + 1)
    values = np.empty((len(x), len(t)))
    values[0], values[:, 0] = problem.solution(x[0], t), problem.solution(x, t[0])
    for now in range(len(t) - 1):
        old, inflow = values[:, now], values[0, now + 1]
        values[1:, now + 1] = lfilter([1.0], [1.0, -r], old[:-1] - r * old[1:], zi=[r * inflow])[0]
    return values


# ---------------------------------------------------------------- the table


def timed(method: Callable[[Problem, int], Solution], problem: Problem) -> str:
    """Error and seconds, or that the method has failed."""
    start = time.perf_counter()
    try:
        solution = method(problem, problem.num_nodes)
    except RuntimeError as error:
        return f"{error!s:>22}"
    seconds = time.perf_counter() - start
    return f"{relative_l2(solution, problem):12.1e}{seconds:10.3f}"


def inverse_table(num_seeds: int, pinn_seconds: float) -> None:
    """Errors and intervals over data sets of one truth; the network sees the first three."""
    truth = np.array(TRUTH)
    data_sets = [simulate_readings(*TRUTH, seed) for seed in range(num_seeds)]
    fits = [least_squares_inverse(data.readings, data.at) for data in data_sets]
    scale = np.array([truth[0], 1.0])
    errors = (np.array([(fit.diffusion, fit.place) for fit in fits]) - truth) / scale
    intervals = np.array([fit.intervals for fit in fits])
    held = np.mean((intervals[..., 0] <= truth) & (truth <= intervals[..., 1]), axis=0)
    rms = np.sqrt(np.mean(errors**2, axis=0))
    print(f"\ninverse problem, diffusion {TRUTH[0]}, place {TRUTH[1]}: relative error of the one, error of the other")
    print(f"least squares, {num_seeds} data sets: rms {rms[0]:.4f} {rms[1]:.4f}, 90% intervals hold", end=" ")
    print(f"{held[0]:.0%} {held[1]:.0%}, {np.median([fit.seconds for fit in fits]):.3f} s each")
    for seed, data in enumerate(data_sets[:3] if pinn_seconds else ()):
        fit = pinn_inverse(data.readings, data.at, pinn_seconds, seed=seed)
        error = (np.array([fit.diffusion, fit.place]) - truth) / scale
        print(f"data set {seed}: least squares {errors[seed][0]:7.4f} {errors[seed][1]:7.4f}, network", end=" ")
        print(f"{error[0]:7.4f} {error[1]:7.4f} after {fit.steps} steps, {fit.seconds:.1f} s", flush=True)


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--problems", type=int, nargs="*", default=range(len(PROBLEMS)), help="rows of the table")
    parser.add_argument("--seeds", type=int, default=100, help="data sets of the inverse problem")
    parser.add_argument("--pinn-seconds", type=float, default=30, help="of training; 0 for no network")
    asked = parser.parse_args()
    print(f"{'equation':56}{'nodes':>8}{'bar':>10}{'paper':>9}   Chebyshev   seconds differences   seconds")
    for problem in (PROBLEMS[at] for at in asked.problems):
        dimension = len(problem.domain)
        label = f"{problem.kind} {dimension}-D  {problem.name}"
        nodes = f"{problem.num_nodes}^{dimension}"
        row = f"{label:56}{nodes:>8}{problem.bar:10.1e}{problem.paper:9.1e}"
        print(row + timed(chebyshev, problem) + timed(finite_differences, problem), flush=True)
    if asked.seeds:
        inverse_table(asked.seeds, asked.pinn_seconds)


if __name__ == "__main__":
    main()
