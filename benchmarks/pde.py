"""Differential equations by Gaussian processes with learned spectra, against bars and against numerical methods.

    python benchmarks/pde.py [accuracy] [frequency] [scaling] [calibration] [inverse] [baseline]

All parts by default. accuracy: `solve` on the table of `pde_problems.py`; errors are relative, in L2, on 300 equispaced
points in each dimension, ends included; "first" are the seconds of the first solve in the process, with compilation,
"again" those of a second one of the same problem; "steps" those of Gauss-Newton; "check" is the verdict of
`bayeskit.check`; Chebyshev and differences are those of `pde_peers.py` on as many nodes. frequency: what is learned of
sin 100x. scaling: seconds by the number of nodes. calibration: `pde_calibration.py`. inverse: `pde_inverse.py`.
baseline: GP-HM by Adam. float64.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import jax.numpy as jnp
import numpy as np

import bayeskit as bk
from bayeskit.errors import BayeskitError
from bayeskit.models import spectral_pde as sp
from benchmarks.pde_calibration import calibration, verdict
from benchmarks.pde_inverse import Settings, inverse
from benchmarks.pde_peers import chebyshev, finite_differences, relative_l2, timed
from benchmarks.pde_problems import PROBLEMS, SPEED, Field, Problem

OPERATORS = {
    ("poisson", 1): lambda u: u.xx,
    ("poisson", 2): lambda u: u.xx + u.yy,
    ("allen_cahn", 1): lambda u: u.xx + u.value * (u.value**2 - 1),
    ("allen_cahn", 2): lambda u: u.xx + u.yy + u.value * (u.value**2 - 1),
    ("advection", 2): lambda u: u.t + SPEED * u.x,
}
WAVE = PROBLEMS[0]
FREQUENCY = 100 / (2 * np.pi)
SLOPE = 1.6


def by_numpy(function: Field) -> Callable:
    """The same for JAX arrays, evaluated in float64 by NumPy, as the peers have it."""
    return lambda *at: jnp.asarray(function(*map(np.asarray, at)), jnp.float64)


def posed(problem: Problem) -> sp.Problem:
    """The problem as the solver takes it."""
    solution = by_numpy(problem.solution)
    known = {"boundary": solution}
    if problem.kind == "advection":
        known = {"boundary": {"x": (solution, None)}, "initial": by_numpy(lambda x: problem.solution(x, 0.0))}
    return sp.Problem(
        domain=problem.domain,
        operator=OPERATORS[problem.kind, len(problem.domain)],
        source=by_numpy(problem.source),
        num_nodes=problem.num_nodes,
        **known,
    )


def seconds_of(problem: sp.Problem) -> tuple[sp.Solution, float]:
    begin = time.perf_counter()
    solution = sp.solve(problem, key=0)
    return solution, time.perf_counter() - begin


# ---------------------------------------------------------------- parts


def accuracy(asked: argparse.Namespace) -> None:
    heading = f"{'equation':56}{'nodes':>8}{'error':>10}{'bar':>10}{'':8}{'paper':>8}{'first':>8}{'again':>8}"
    print(f"\n{heading}{'steps':>6}  check   Chebyshev   seconds differences   seconds")
    for problem in (PROBLEMS[at] for at in asked.problems):
        dimension = len(problem.domain)
        label = f"{problem.kind} {dimension}-D  {problem.name}"
        row = f"{label:56}{f'{problem.num_nodes}^{dimension}':>8}"
        try:
            row += ours(problem)
        except BayeskitError as error:
            row += f"  missed, {type(error).__name__}: {error}\n{'':64}"
        print(row + timed(chebyshev, problem) + timed(finite_differences, problem), flush=True)


def ours(problem: Problem) -> str:
    """Error, verdict and seconds of the solver."""
    given = posed(problem)
    solution, first = seconds_of(given)
    _, again = seconds_of(given)
    error = relative_l2(solution.mean, problem)
    steps, ok = solution.tree.attrs["gauss_newton_steps"], bk.check(solution, quiet=True).ok
    judged = f"{error:10.1e}{problem.bar:10.1e}  {verdict(error <= problem.bar):6}{problem.paper:8.1e}"
    return f"{judged}{first:8.1f}{again:8.1f}{steps:6}  {'ok' if ok else 'not ok':6}"


def frequency(_: argparse.Namespace) -> None:
    solution, _ = seconds_of(posed(WAVE))
    spectrum = solution.spectrum[0]
    largest = int(np.argmax(spectrum.share))
    found = float(spectrum.frequency[largest])
    others = np.delete(spectrum.share, largest)
    gap, rest = abs(found - FREQUENCY), float(others.max(initial=0.0))
    print(f"\nfrequency of {WAVE.name}: {found:.6f}, off by {gap:.1e} cycles, bar 1e-3: {verdict(gap < 1e-3)}")
    print(f"largest share of another component, of {len(others)}: {rest:.1e}, bar 1e-4: {verdict(rest < 1e-4)}")


def scaling(asked: argparse.Namespace) -> None:
    print("\nPoisson's equation 2-D, sin 20x sin 20y, a second solve by nodes a side")
    print(f"{'nodes':>8}{'seconds':>10}{'L-BFGS steps':>14}{'unknowns':>10}{'error':>10}")
    spent = []
    for side in asked.sides:
        problem = WAVE._replace(
            domain=WAVE.domain * 2,
            num_nodes=side,
            solution=lambda x, y: np.sin(20 * x) * np.sin(20 * y),
            source=lambda x, y: -800 * np.sin(20 * x) * np.sin(20 * y),
        )
        given = posed(problem)
        seconds_of(given)
        solution, seconds = seconds_of(given)
        spent.append(seconds)
        steps = solution.tree["training"].sizes.get("step", 0)
        error = relative_l2(solution.mean, problem)
        print(f"{f'{side}^2':>8}{seconds:10.2f}{steps:14}{solution.coefficients.size:10}{error:10.1e}", flush=True)
    slope = np.polyfit(2 * np.log(asked.sides), np.log(spent), 1)[0]
    print(f"seconds grow as nodes to the power {slope:.2f}, bar {SLOPE}: {verdict(slope <= SLOPE)}")


def calibrated(asked: argparse.Namespace) -> None:
    calibration(asked.draws, asked.learned)


def inverted(asked: argparse.Namespace) -> None:
    inverse(asked.seeds, Settings(asked.inverse_nodes, asked.warmup, asked.kept), asked.pinn_seconds)


def baseline(asked: argparse.Namespace) -> None:
    print(f"\nbaseline: Poisson's equation 1-D, {WAVE.name}, {WAVE.num_nodes} nodes")
    print(f"{'':8}{'steps':>10}{'error':>10}{'seconds':>10}")
    given = posed(WAVE)
    solution, seconds = seconds_of(given)
    steps = solution.tree["training"].sizes.get("step", 0)
    print(f"{'solve':8}{steps:10}{relative_l2(solution.mean, WAVE):10.1e}{seconds:10.1f}", flush=True)
    if not hasattr(sp, "GPHM"):
        print("GP-HM is skipped: this version of the package has no spectral_pde.GPHM")
        return
    for num_steps in asked.adam:
        begin = time.perf_counter()
        fit = sp.GPHM(num_steps=num_steps).fit(given)
        seconds = time.perf_counter() - begin
        print(f"{'GP-HM':8}{num_steps:10}{relative_l2(fit.mean, WAVE):10.1e}{seconds:10.1f}", flush=True)


PARTS: dict[str, Callable[[argparse.Namespace], None]] = {
    "accuracy": accuracy,
    "frequency": frequency,
    "scaling": scaling,
    "calibration": calibrated,
    "inverse": inverted,
    "baseline": baseline,
}


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("parts", nargs="*", metavar="part", help=f"of {', '.join(PARTS)}; all by default")
    parser.add_argument("--problems", type=int, nargs="*", default=range(len(PROBLEMS)), help="rows of accuracy")
    parser.add_argument("--sides", type=int, nargs="+", default=[100, 200, 400, 800], help="of scaling")
    parser.add_argument("--draws", type=int, default=200, help="solutions of calibration")
    parser.add_argument("--learned", type=int, default=10, help="of these also with learned spectra")
    parser.add_argument("--seeds", type=int, default=40, help="data sets of the inverse problem")
    parser.add_argument("--inverse-nodes", type=int, default=25, help="nodes a side of the inverse problem")
    parser.add_argument("--warmup", type=int, default=150, help="of a chain of the inverse problem")
    parser.add_argument("--kept", type=int, default=200, help="draws of a chain of the inverse problem")
    parser.add_argument("--pinn-seconds", type=float, default=30, help="of training the network; 0 for none")
    parser.add_argument("--adam", type=int, nargs="+", default=[500, 2000], help="steps of GP-HM")
    asked = parser.parse_args()
    for name in asked.parts:
        if name not in PARTS:
            parser.error(f"there is no part {name!r}; there are {', '.join(PARTS)}")
    for name in asked.parts or PARTS:
        PARTS[name](asked)


if __name__ == "__main__":
    main()
