r"""`solve`: the posterior of the solution of a differential equation, with the spectrum learned."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Mapping, Sequence

import jax
import jax.numpy as jnp
import numpy as np

from bayeskit._keys import raw_key
from bayeskit._progress import ProgressBar
from bayeskit._settings import is_number, is_whole
from bayeskit._typing import Array, ArrayLike, Key
from bayeskit.errors import DataError, MethodError, TrainingError
from bayeskit.models.spectral_pde.equations import Basis
from bayeskit.models.spectral_pde.learn import Learner, basis_of
from bayeskit.models.spectral_pde.problem import Problem
from bayeskit.models.spectral_pde.record import FRESH, MATTERS, Record, record_of, training_of
from bayeskit.models.spectral_pde.solution import Solution
from bayeskit.models.spectral_pde.spectrum import Spectrum
from bayeskit.models.spectral_pde.state import State

__all__ = ["solve"]

TOLERANCE = {1: 1e-10, 2: 1e-8, 3: 1e-8}
LEARNING = {1: (1e-2, 1e-4, 1e-6), 2: (1e-2,), 3: (1e-2,)}
"""Tolerances at which the spectrum is learned."""
FURTHER = {1: (), 2: (1e-4, 1e-6), 3: (1e-4, 1e-6)}
"""And then, where the equation does not hold between the nodes."""
PRECISION = 1e-12
LARGEST, STEP = 1e-1, 10.0
FEW_NODES = 10.0
"""Nodes for each number of a learned spectrum, below which the width of the bands is looked at."""
"""The largest tolerance that is tried, and between those that are."""
SHARE_OF_MEMORY = 0.6


def solve(
    problem: Problem,
    *,
    key: Key = 0,
    coefficients: Mapping[str, ArrayLike] | None = None,
    spectrum: Sequence[Spectrum] | None = None,
    num_components: int = 6,
    tolerance: float | None = None,
    max_steps: int = 100,
    progress: bool = False,
) -> Solution:
    r"""Condition a Gaussian process on a differential equation, and learn its spectrum.

    Where the equation is linear this is exact. Where it is not, Gauss-Newton steps lead to the mode, and the posterior
    is the Laplace approximation there. :func:`bayeskit.check` judges the result.

    Args:
        problem: the equation, and what else is known.
        key: for the fresh points at which the residual is looked at; the rest uses no chance.
        coefficients: values of the unknown coefficients of the problem. To infer them, see :func:`model`.
        spectrum: one :class:`Spectrum` a coordinate, which is taken as it is; learned by default.
        num_components: at most so many frequencies along a coordinate, beside a trend.
        tolerance: the smallest error that the equation and its conditions are allowed, as a share of the prior
            standard deviation of their left sides; 1e-10 along one coordinate, else 1e-8. A larger one is taken where
            it has a higher evidence, as for a solution that no process with this spectrum comes near to.
        max_steps: L-BFGS steps of learning, at each tolerance.
        progress: show a progress bar.

    Raises:
        ModelError: the operator is not finite at a solution of zero.
        DataError: a coefficient is missing; or there are more unknowns than fit into the memory.
        MethodError: an impossible setting.
        TrainingError: the evidence, or the solution, is not finite.

    Example:
        >>> import jax.numpy as jnp, numpy as np
        >>> from bayeskit.models import spectral_pde as sp
        >>> problem = sp.Problem(
        ...     domain=[(0.0, 1.0)],
        ...     operator=lambda u: u.xx,
        ...     source=lambda x: -(30.0**2) * jnp.sin(30.0 * x),
        ...     boundary=lambda x: jnp.sin(30.0 * x),
        ...     num_nodes=60,
        ... )
        >>> solution = sp.solve(problem, key=0)
        >>> x = np.linspace(0.0, 1.0, 50)[:, None]
        >>> bool(np.abs(solution.mean(x) - np.sin(30.0 * x[:, 0])).max() < 1e-6)
        True

    References:
        Fang, Cooley, Long, Li, Kirby and Zhe (2024), "Solving High Frequency and Multi-Scale PDEs with Gaussian
        Processes"; Cockayne, Oates, Sullivan and Girolami (2019), "Bayesian Probabilistic Numerical Methods", for the
        posterior; Chen, Hosseini, Owhadi and Stuart (2021), "Solving and learning nonlinear PDEs with Gaussian
        processes", for Gauss-Newton.
    """
    begin = time.perf_counter()
    if not isinstance(problem, Problem):
        raise MethodError(f"solve takes a Problem, got {type(problem).__name__}")
    dimensions = len(problem.coordinates)
    tolerance = TOLERANCE[dimensions] if tolerance is None else tolerance
    if not (is_number(tolerance) and 0 < tolerance < 0.1):
        raise MethodError(f"tolerance must be a number above 0 and below 0.1, got {tolerance!r}")
    for name, value in (("num_components", num_components), ("max_steps", max_steps)):
        if not (is_whole(value) and value >= 1):
            raise MethodError(f"{name} must be a positive integer, got {value!r}")
    raw = raw_key(key)
    values = problem.given(coefficients)
    total = len(LEARNING[dimensions]) * max_steps
    with jax.enable_x64(True), ProgressBar(total, progress) as bar:
        given = {name: jnp.asarray(value) for name, value in values.items()}
        state = State(problem, given)
        start = checked(spectrum, problem.coordinates) if spectrum is not None else state.start(num_components)
        state.rescale(start)
        if spectrum is not None:
            state.spectra = start
            found = _final(state, tolerance, tolerance, raw)
        else:
            learner = state.learner(start, max_steps, bar)
            found = _learned(state, learner, tolerance, raw)
        basis, record = found
        posterior = state.posterior
        assert posterior is not None
        scales = tuple(float(one.scale) for one in state.equations() if one.shapes.is_exact)
    training = training_of(state.course, time.perf_counter() - begin)
    tree = record.tree(training, problem, state, raw)
    solution = Solution(
        coordinates=problem.coordinates,
        domain=problem.domain,
        spectrum=state.spectra,
        combined=jax.tree.map(np.asarray, basis.combined),
        layouts=basis.layouts,
        coefficients=np.asarray(posterior.mean),
        root=np.asarray(posterior.root),
        scales=scales,
        noise=state.noise,
        tree=tree,
    )
    if spectrum is None:
        tree.attrs |= _few_nodes(solution, problem, raw)
    return solution


def _few_nodes(solution: Solution, problem: Problem, raw: Array) -> dict[str, float]:
    """From how many nodes each number of the spectrum was learned; where they are few, how wide the bands are too."""
    assert isinstance(problem.num_nodes, tuple)
    numbers = sum(3 * int(np.sum(np.asarray(one.share) > MATTERS)) for one in solution.spectrum)
    found = {"nodes_per_number": math.prod(problem.num_nodes) / max(numbers, 1)}
    if found["nodes_per_number"] < FEW_NODES:
        low, high = np.asarray(problem.domain).T
        points = low + (high - low) * np.random.default_rng(np.asarray(raw)).uniform(size=(FRESH, len(low)))
        mean, sd = solution.mean(points), solution.sd(points)
        found["band_share"] = float(np.sqrt(np.mean(sd**2) / np.mean(mean**2 + sd**2)))
    return found


def _learned(state: State, learner: Learner, least: float, raw: Array) -> tuple[Basis, Record]:
    """The posterior with spectra that are learned, at the tolerances that are needed.

    Where the equation cannot be satisfied to the least tolerance by a process with this spectrum, or does not hold
    between the nodes, the spectrum is learned once more at a smaller tolerance, for as long as it raises the evidence.
    """
    first, *more = LEARNING[len(state.problem.domain)]
    state.learn(learner, first, prune=not more)
    reached, evidence = first, -state.course.losses[-1]
    for one in more:
        kept = state.kept()
        state.learn(learner, one, prune=True)
        if -state.course.losses[-1] <= evidence:
            state.restore(kept)
            break
        reached, evidence = one, -state.course.losses[-1]
    basis, record = _final(state, least, reached, raw)
    for one in FURTHER[len(state.problem.domain)]:
        if (record.is_fine and record.tolerance <= least) or one < least or not learner.fits(one):
            break
        kept = state.kept()
        state.learn(learner, one, prune=False)
        later = _final(state, least, one, raw)
        if later[1].log_evidence <= record.log_evidence:
            state.restore(kept)
            break
        basis, record = later
    return basis, record


def _final(state: State, least: float, most: float, raw: Array) -> tuple[Basis, Record]:
    """The posterior with the spectra as they are, and what it is judged by.

    At the tolerance between `least` and `most` that has the highest evidence: where the solution has features that the
    process has not, such as a kink at a corner, it is the larger one, and the bands become wider.
    """
    basis = basis_of(state.spectra, state.problem.domain, PRECISION)
    _check_memory(basis, state.problem)
    tolerance = max(least, most)
    steps = state.settle(basis, tolerance)
    assert state.posterior is not None
    best = _finite(float(state.posterior.log_evidence))
    if tolerance > STEP * least:  # mostly the least is best: better than here, and than its neighbour
        lowest = _finite(state.evidence(basis, least))
        if lowest > best and lowest > _finite(state.evidence(basis, STEP * least)):
            return basis, record_of(state, basis, least, state.settle(basis, least), raw)
    for factor, end in ((1.0 / STEP, least), (STEP, LARGEST)):
        here = tolerance
        while tolerance != end:
            other = min(max(tolerance * factor, least), LARGEST)
            evidence = _finite(state.evidence(basis, other))
            if evidence < best:
                break
            tolerance, best = other, evidence
        if tolerance != here:
            steps = state.settle(basis, tolerance)
            break
    return basis, record_of(state, basis, tolerance, steps, raw)


def _finite(evidence: float) -> float:
    if not math.isfinite(evidence):
        raise TrainingError(
            "the solution is not finite: the equation cannot be solved at this tolerance; use a larger tolerance, "
            "fewer num_components, or check the sizes of the source and the boundary values"
        )
    return evidence


def checked(spectrum: Sequence[Spectrum], coordinates: Sequence[str]) -> tuple[Spectrum, ...]:
    """One spectrum a coordinate."""
    spectra = (spectrum,) if isinstance(spectrum, Spectrum) else tuple(spectrum)
    if len(spectra) != len(coordinates) or not all(isinstance(one, Spectrum) for one in spectra):
        raise MethodError(f"spectrum must be one Spectrum for each of {', '.join(coordinates)}; got {spectra!r}")
    ordered = []
    for one in spectra:
        order = np.argsort(np.asarray(one.frequency) > 0, kind="stable")  # trends first
        ordered.append(Spectrum(*(np.asarray(v)[order] for v in (one.weight, one.frequency, one.lengthscale))))
    return tuple(ordered)


def _check_memory(basis: Basis, problem: Problem) -> None:
    unknowns = math.prod(basis.shape)
    assert isinstance(problem.num_nodes, tuple)
    nodes = math.prod(problem.num_nodes)
    terms = len(problem.linear_operator.terms)
    widest = max(basis.shape) ** 2
    needed = 8.0 * (4 * unknowns**2 + nodes * (4 * terms + 4) + widest * max(problem.num_nodes) * 2)
    if len(basis.shape) == 1:
        needed += 8.0 * 4 * nodes * unknowns
    try:
        memory = SHARE_OF_MEMORY * os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):
        memory = 8e9
    if needed > memory:
        each = " x ".join(f"{size} along {name}" for size, name in zip(basis.shape, problem.coordinates, strict=True))
        raise DataError(
            f"the solution would have {unknowns} unknowns ({each}) and take {needed / 2**30:.1f} GiB, of which this "
            f"machine may give {memory / 2**30:.1f}: use fewer num_components, fewer num_nodes or a smaller domain"
        )
