r"""`model`: a differential equation as a NumPyro model, so that its unknown coefficients go through any inference."""

from __future__ import annotations

import dataclasses
import math
import threading
import warnings
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
from numpyro.distributions import Distribution

from bayeskit._settings import is_number
from bayeskit._typing import Array, ArrayLike, Key
from bayeskit.errors import DataError, MethodError
from bayeskit.models.spectral_pde.equations import (
    Basis,
    Equations,
    condition_equations,
    derivative_rows,
    interior_equations,
    matrices_of,
)
from bayeskit.models.spectral_pde.evidence import log_evidence, moment, precision
from bayeskit.models.spectral_pde.given import check_points
from bayeskit.models.spectral_pde.learn import layouts_of
from bayeskit.models.spectral_pde.problem import Problem
from bayeskit.models.spectral_pde.solution import Solution
from bayeskit.models.spectral_pde.solve import LEARNING, checked, solve
from bayeskit.models.spectral_pde.spectrum import Spectrum
from bayeskit.xla.precision import in_double, to_default

__all__ = ["model"]

TOLERANCE = 1e-5
PRECISION = 1e-5
GAUSS_NEWTON = 8
ARRIVED = 1e-3
"""Relative change in the last Gauss-Newton step beyond which the density is NaN."""
OWN = ("noise", "readings", "at")
SHORTER = 3.0
"""By how much a sampled length scale may be shorter than the learned one."""


def model(
    problem: Problem,
    *,
    spectrum: Sequence[Spectrum] | None = None,
    noise: Distribution | float | None = None,
    sample_spectrum: bool = False,
    key: Key = 0,
) -> Callable[..., None]:
    r"""A NumPyro model of noisy readings of a solution whose equation has unknown coefficients.

    Its arguments are `at`, the places of the readings, shape `(readings, coordinates)`, and `readings`, shape
    `(readings,)`, or `None` to predict them. Its sites are the unknown coefficients, `noise`, and `readings`:

    $$c \sim p(c), \qquad \sigma \sim p(\sigma), \qquad \text{readings} \sim N(m_c, V_c + \sigma^2 I)$$

    with $m_c$ and $V_c$ the mean and the covariance of the solution at these places, given the equation with the
    coefficients $c$, its source and its conditions. $V_c$ is what the grid leaves open. The density of the equation
    itself is no part of it: a source that is known whatever the coefficients are says nothing about them. Where the
    equation is not linear the solution is found by Gauss-Newton steps; where these do not arrive the density is NaN.

    The spectrum is learned when the model is first used, at the medians of the priors of the coefficients, and stays.

    Args:
        problem: with `coefficients` that have priors, and without `data`.
        spectrum: one :class:`Spectrum` a coordinate, to be used in the place of a learned one.
        noise: the prior of the standard deviation of the readings, or a number that is known; by default half normal,
            with the root mean square of the solution at the medians of the coefficients as its scale.
        sample_spectrum: make the logarithms of the length scales, the frequencies and the weights of the spectrum
            sites of the model too, around what was learned, with the evidence of the equation at the medians of
            the coefficients as a factor.
        key: for :func:`solve`.

    Returns:
        A function of `at` and `readings`, for :func:`bayeskit.infer` and :func:`bayeskit.predict`.

    Raises:
        DataError: a problem with data, or without anything unknown; a coefficient with the name of another site.
        MethodError: `problem` is no Problem; an impossible `noise`.

    Example:
        >>> import bayeskit as bk, jax.numpy as jnp, numpy as np, numpyro.distributions as dist
        >>> from bayeskit.models import spectral_pde as sp
        >>> decay = sp.Problem(
        ...     domain=[(0.0, 2.0)],
        ...     operator=lambda u, rate: u.t + rate * u.value,
        ...     initial=1.0,
        ...     coefficients={"rate": dist.LogNormal(0.0, 0.5)},
        ...     num_nodes=30,
        ... )
        >>> at = np.linspace(0.2, 2.0, 10)[:, None]
        >>> readings = np.exp(-1.5 * at[:, 0]) + 0.01 * np.cos(40.0 * at[:, 0])
        >>> spectrum = sp.Spectrum(weight=1.0, frequency=0.0, lengthscale=1.0)
        >>> fitted = sp.model(decay, spectrum=[spectrum], noise=0.01)
        >>> data = {"at": at, "readings": readings}
        >>> post = bk.infer(fitted, data, bk.NUTS(num_chains=1, num_warmup=100, num_draws=100), key=0, progress=False)
        >>> bool(abs(post.posterior["rate"].mean() - 1.5) < 0.05)
        True
    """
    if not isinstance(problem, Problem):
        raise MethodError(f"model takes a Problem, got {type(problem).__name__}")
    if problem.data is not None:
        raise DataError("a problem with data is for solve; leave data out and give the readings to infer")
    for name in problem.coefficients:
        if name in OWN:
            raise DataError(f"{name!r} is a name that the model itself uses; call the coefficient something else")
    if not (noise is None or isinstance(noise, Distribution) or (is_number(noise) and noise > 0)):
        raise MethodError(f"noise must be a distribution, a positive number, or None; got {noise!r}")
    if not problem.unknown and isinstance(noise, float | int) and not sample_spectrum:
        raise DataError("nothing of the problem is unknown: give coefficients a prior, or use solve with data")
    given = None if spectrum is None else checked(spectrum, problem.coordinates)
    learned = _Learned(problem, given, key, SHORTER if sample_spectrum else 1.0)

    def readings_model(at: ArrayLike, readings: ArrayLike | None = None) -> None:
        known = learned.get()
        values: dict[str, Any] = {
            name: numpyro.sample(name, prior) if isinstance(prior, Distribution) else np.asarray(prior)
            for name, prior in problem.coefficients.items()
        }
        prior = dist.HalfNormal(known.size) if noise is None else noise
        sd = numpyro.sample("noise", prior) if isinstance(prior, Distribution) else prior
        spectra = _sampled(problem, known) if sample_spectrum else None
        mean, covariance = to_default(_conditional(known.equation, values, spectra, _points(problem, at)))
        both = covariance + sd**2 * jnp.eye(len(mean))
        numpyro.sample("readings", dist.MultivariateNormal(mean, covariance_matrix=both), obs=readings)

    return readings_model


def _points(problem: Problem, at: ArrayLike) -> Array:
    points = jnp.asarray(at)
    points = points[:, None] if points.ndim == 1 and len(problem.coordinates) == 1 else points
    if not isinstance(points, jax.core.Tracer):
        check_points("at", np.asarray(points), problem.domain, problem.coordinates)
    elif points.ndim != 2 or points.shape[1] != len(problem.coordinates):
        raise DataError(
            f"at must have the shape (readings, {len(problem.coordinates)}), a column a coordinate "
            f"({', '.join(problem.coordinates)}); it is {points.shape}"
        )
    return points


@dataclasses.dataclass(frozen=True, eq=False)
class _Equation:
    """What the conditional is computed from, the same at every evaluation."""

    problem: Problem
    learned: Basis
    scales: tuple[float, ...]
    tolerance: float
    reference: dict[str, np.ndarray]
    values: tuple[np.ndarray, ...]

    def basis(self, spectra: tuple[Spectrum, ...] | None) -> Basis:
        """The features of these spectra; of the learned ones, which are constants, for `None`."""
        return self.learned if spectra is None else Basis.of(spectra, self.learned.layouts)

    def equations(self, coefficients: dict[str, Array], values: Sequence[Array]) -> tuple[Equations, ...]:
        """All of them, linearised at these derivatives, in the units of the reference."""
        problem = self.problem
        source = problem.source_values(coefficients)
        found = [interior_equations(problem, source, coefficients, values), *condition_equations(problem, coefficients)]
        return tuple(
            eqx.tree_at(lambda e: e.scale, one, jnp.asarray(scale))
            for one, scale in zip(found, self.scales, strict=True)
        )


class _Known(NamedTuple):
    """What was learned."""

    equation: _Equation
    spectra: tuple[Spectrum, ...]
    size: float


class _Learned:
    """The spectrum, learned once, when it is first asked for.

    In a thread of its own: the first question may come while a program is traced, and what is traced belongs to a
    thread.
    """

    def __init__(self, problem: Problem, spectrum: tuple[Spectrum, ...] | None, key: Key, shorter: float):
        self._problem, self._spectrum, self._key, self._shorter = problem, spectrum, key, shorter
        self._known: _Known | None = None

    def get(self) -> _Known:
        """What was learned."""
        if self._known is None:
            found: list[_Known | BaseException] = []
            worker = threading.Thread(target=lambda: found.append(self._attempt()))
            worker.start()
            worker.join()
            if isinstance(found[0], BaseException):
                raise found[0]
            self._known = found[0]
        return self._known

    def _attempt(self) -> _Known | BaseException:
        try:
            return self._learn()
        except BaseException as problem:  # raised again in the thread that asked
            return problem

    def _learn(self) -> _Known:
        problem = self._problem
        reference = problem.reference()
        unknown = {name: reference[name] for name in problem.unknown}
        solution = solve(problem, coefficients=unknown, spectrum=self._spectrum, tolerance=TOLERANCE, key=self._key)
        _warn_unless_good(solution)
        points = problem.inner_points()
        shape = tuple(
            len(range(n)[slice(*ends)]) for n, ends in zip(problem.grid()[0].shape, problem.inner, strict=True)
        )
        terms = problem.linear_operator.terms
        with jax.enable_x64(True):
            basis = solution.basis
            mean = jnp.asarray(solution.coefficients).ravel()
            values = [
                np.asarray(derivative_rows(basis, jnp.asarray(points), orders) @ mean).reshape(shape)
                for orders in terms
            ]
            u = np.asarray(derivative_rows(basis, jnp.asarray(points), (0,) * len(shape)) @ mean)
        tolerance = float(solution.tree.attrs["tolerance"])
        layouts = layouts_of(solution.spectrum, problem.domain, PRECISION, self._shorter)
        spectra = [jax.tree.map(np.asarray, one) for one in solution.spectrum]
        equation = _Equation(problem, Basis.of(spectra, layouts), solution.scales, tolerance, reference, tuple(values))
        return _Known(equation, solution.spectrum, max(float(np.sqrt(np.mean(u**2))), 1e-12))


def _warn_unless_good(solution: Solution) -> None:
    """Say what is wrong with the solution from which all others start."""
    from bayeskit.diagnostics.check import check

    findings = check(solution, quiet=True).findings
    # that nothing but the equation is known may be so: the readings are to come
    bad = [one for one in findings if one.severity == "error" and one.name != "undetermined"]
    errors = [f"{one.name}: {one.meaning}" for one in bad]
    if errors:
        warnings.warn(
            "at the medians of the coefficients the equation is not well solved, so that what is inferred from this "
            f"model may be wrong. {' '.join(errors)}",
            stacklevel=2,
        )


def _sampled(problem: Problem, known: _Known) -> tuple[Spectrum, ...]:
    """Spectra around the learned one, as sites of the model, with the evidence of the equation as a factor."""
    spectra = []
    for name, one, (low, high) in zip(problem.coordinates, known.spectra, problem.domain, strict=True):
        logs = np.log(np.asarray(one.lengthscale))
        around = dist.TruncatedNormal(logs, 0.5, low=logs - 0.99 * math.log(SHORTER))
        scale = jnp.exp(numpyro.sample(f"log_lengthscale_{name}", around.to_event(1)))
        weights = np.log(np.maximum(np.asarray(one.weight), 1e-30))
        weight = jnp.exp(numpyro.sample(f"log_weight_{name}", dist.Normal(weights, 1.0).to_event(1)))
        tones = np.asarray(one.frequency) > 0
        frequency = jnp.zeros(len(tones))
        if tones.any():
            near = dist.Normal(np.asarray(one.frequency)[tones], 0.1 / (high - low)).to_event(1)
            frequency = frequency.at[np.flatnonzero(tones)].set(numpyro.sample(f"frequency_{name}", near))
        spectra.append(Spectrum(weight, jnp.abs(frequency), scale))
    numpyro.factor("equation", to_default(_evidence(known.equation, tuple(spectra))))
    return tuple(spectra)


@in_double
def _evidence(equation: _Equation, spectra: tuple[Spectrum, ...]) -> Array:
    reference = {name: jnp.asarray(value) for name, value in equation.reference.items()}
    equations = equation.equations(reference, [jnp.asarray(one) for one in equation.values])
    return log_evidence(equations, equation.basis(spectra), LEARNING[len(spectra)][0])


@in_double
def _conditional(
    equation: _Equation, coefficients: dict[str, Array], spectra: tuple[Spectrum, ...] | None, at: Array
) -> tuple[Array, Array]:
    """Mean and covariance of the solution at points."""
    basis = equation.basis(spectra)
    coefficients = {name: jnp.asarray(value) for name, value in coefficients.items()}
    rows = derivative_rows(basis, at, (0,) * at.shape[1])
    values = [jnp.asarray(one) for one in equation.values]
    low, high = jnp.asarray(equation.problem.domain).T
    slack = 1e-6 * (high - low)  # points may come in single precision
    good = jnp.all((at >= low - slack) & (at <= high + slack))  # not where the features repeat, nor at NaN
    if not equation.problem.is_linear:
        fixed = jax.lax.stop_gradient((coefficients, basis.spectra))
        values, arrived = _gauss_newton(equation, fixed[0], basis._replace(spectra=fixed[1]), values)
        good = good & arrived
    equations = equation.equations(coefficients, values)
    matrices = matrices_of(equations, basis)
    matrix = precision(equations, matrices, basis, equation.tolerance)
    right = jnp.concatenate([moment(equations, matrices, equation.tolerance).reshape(-1, 1), rows.T], axis=1)
    solved = _solve(matrix, right)
    mean, covariance = rows @ solved[:, 0], rows @ solved[:, 1:]
    return jnp.where(good, mean, jnp.nan), 0.5 * (covariance + covariance.T)


def _gauss_newton(
    equation: _Equation, coefficients: dict[str, Array], basis: Basis, values: list[Array]
) -> tuple[list[Array], Array]:
    """The derivatives of the solution at the nodes, and whether it has been found; nothing of it is differentiated."""

    def step(values: list[Array], _: None) -> tuple[list[Array], Array]:
        equations = equation.equations(coefficients, values)
        matrices = matrices_of(equations, basis)
        matrix = precision(equations, matrices, basis, equation.tolerance)
        mean = _solve(matrix, moment(equations, matrices, equation.tolerance).reshape(-1, 1)).reshape(basis.shape)
        later = equations[0].derivatives(matrices[0], mean)
        gaps = [jnp.linalg.norm(b - a) / (jnp.linalg.norm(b) + 1e-300) for a, b in zip(values, later, strict=True)]
        return later, jnp.max(jnp.stack(gaps))

    found, changes = jax.lax.scan(step, values, None, length=GAUSS_NEWTON)
    return jax.lax.stop_gradient(found), changes[-1] < ARRIVED


def _solve(matrix: Array, right: Array) -> Array:
    """A symmetric solve whose derivative is another solve with the same factor, and none of the factorisation."""
    root = jax.lax.stop_gradient(jnp.linalg.cholesky(jax.lax.stop_gradient(matrix)))
    return jax.lax.custom_linear_solve(
        lambda x: matrix @ x, right, lambda _, b: jax.scipy.linalg.cho_solve((root, True), b), symmetric=True
    )
