"""`maximise_evidence`: hyperparameters of a scale mixture by maximum marginal likelihood."""

from __future__ import annotations

import dataclasses
import math
import warnings
from collections.abc import Callable, Mapping

import jax
import jax.numpy as jnp
import numpy as np
import scipy.optimize

from bayeskit._keepable import keepable
from bayeskit._progress import ProgressBar
from bayeskit._typing import Array, ArrayLike, Key
from bayeskit.errors import DataError, MethodError, TrainingError
from bayeskit.models.nngp.mixtures.scale_mixture import ScaleMixture

__all__ = ["EvidenceFit", "maximise_evidence"]

Parameters = dict[str, ArrayLike]


@keepable("nngp.EvidenceFit")
@dataclasses.dataclass(frozen=True)
class EvidenceFit:
    """Hyperparameters that maximise the evidence.

    Attributes:
        mixture: built from the best parameters.
        parameters: the best parameters, float64.
        log_marginal_likelihood: the evidence at them.
        converged: whether, within `max_steps`, the gradient vanished (not at the ends of the range) or a step gained
            less than 1e-8 nats per observation.
        at_ends: names of the parameters that lie at an end of their range, where the evidence still rises outwards.
        restarts: the evidence that each start led to, shape `(num_restarts,)`.
        num_evaluations: of the evidence and its gradient, over all starts.
    """

    mixture: ScaleMixture
    parameters: dict[str, np.ndarray]
    log_marginal_likelihood: float
    converged: bool
    at_ends: tuple[str, ...]
    restarts: np.ndarray
    num_evaluations: int


@dataclasses.dataclass(frozen=True)
class _Problem:
    """The negative evidence per observation, as a function of one vector of logarithms."""

    build: Callable[[Parameters], ScaleMixture]
    names: tuple[str, ...]
    shapes: tuple[tuple[int, ...], ...]
    x: np.ndarray
    y: np.ndarray

    def parameters(self, vector: Array) -> Parameters:
        offsets = np.cumsum([math.prod(shape) for shape in self.shapes])
        pieces = jnp.split(jnp.exp(vector), offsets[:-1])
        return {name: piece.reshape(s) for name, piece, s in zip(self.names, pieces, self.shapes, strict=True)}

    def loss(self, vector: Array, x: Array, y: Array) -> Array:
        mixture = self.build(self.parameters(vector))
        if not isinstance(mixture, ScaleMixture):
            raise MethodError(f"build must return a ScaleMixture; it returned {type(mixture).__name__}")
        return -mixture.log_marginal_likelihood(x, y) / len(y)


def maximise_evidence(
    build: Callable[[Parameters], ScaleMixture],
    start: Mapping[str, ArrayLike],
    x: ArrayLike,
    y: ArrayLike,
    *,
    num_restarts: int = 1,
    key: Key = 0,
    max_steps: int = 200,
    factor: float = 1e6,
    progress: bool = False,
) -> EvidenceFit:
    r"""Maximise $\log p(y \mid x, \theta)$ over positive hyperparameters $\theta$ (type II maximum likelihood).

    L-BFGS on $\log \theta$, in float64, with exact gradients. Parameters stay between `start / factor` and
    `start * factor`: an evidence may rise for ever (a noise variance towards zero where rows are repeated, a scale
    prior towards a point), and what ends at an end of its range is named in the result and in a warning. Where the
    covariance is not positive definite the evidence counts as minus infinity.

    Args:
        build: maps parameters by name to a `ScaleMixture`; called under `jax.jit`.
        start: positive numbers or arrays by name.
        x: inputs, shape `(n, ...)`.
        y: observations, shape `(n,)`.
        num_restarts: number of starts; the first is `start`, the others are `start` times independent log-normal
            factors with scale 1. The best of what they lead to is returned.
        key: for the restarts.
        max_steps: L-BFGS steps a start.
        factor: how far a parameter may move from its start.
        progress: show a progress bar.

    Raises:
        DataError: a start is not positive and finite.
        MethodError: a setting is impossible, or `build` does not return a `ScaleMixture`.
        TrainingError: the evidence is not finite at any start.

    Example:
        >>> import numpy as np, numpyro.distributions as dist
        >>> from bayeskit.models import nngp
        >>> def build(p):
        ...     network = nngp.serial(nngp.Dense(p["weight_std"], p["bias_std"]), nngp.relu, nngp.Dense(1.0, 0.0))
        ...     return nngp.ScaleMixture(network, dist.InverseGamma(2.0, 2.0), noise_variance=p["noise_variance"])
        >>> x = np.linspace(-2.0, 2.0, 30)[:, None]
        >>> fit = nngp.maximise_evidence(
        ...     build, {"weight_std": 1.0, "bias_std": 1.0, "noise_variance": 0.1}, x, np.sin(x[:, 0])
        ... )
        >>> fit.converged
        True

    Source:
        Rasmussen and Williams (2006), *Gaussian Processes for Machine Learning*, section 5.4.1.
    """
    problem, origin = _problem(build, start, x, y, num_restarts, max_steps, factor)
    starts = np.tile(origin, (num_restarts, 1))
    starts[1:] += np.random.default_rng(_seed(key)).normal(size=starts[1:].shape)
    bounds = scipy.optimize.Bounds(origin - math.log(factor), origin + math.log(factor))
    with jax.enable_x64(True), ProgressBar(num_restarts * max_steps, progress) as bar:
        compiled = jax.jit(jax.value_and_grad(problem.loss))
        x64, y64 = jnp.asarray(problem.x), jnp.asarray(problem.y)

        def loss(vector: np.ndarray) -> tuple[float, np.ndarray]:
            value, gradient = compiled(jnp.asarray(vector), x64, y64)
            value, gradient = float(value), np.asarray(gradient, np.float64)
            if math.isfinite(value) and np.isfinite(gradient).all():
                return value, gradient
            return 1e10, np.zeros_like(gradient)  # a wall that the line search turns back from

        optima = [_descend(loss, one, bounds, max_steps, bar, i * max_steps) for i, one in enumerate(starts)]
        found = [optimum for optimum in optima if optimum is not None]
        if not found:
            raise TrainingError(_nowhere(problem, origin))
        best = min(found, key=lambda optimum: float(optimum.fun))
        parameters = {name: np.asarray(value) for name, value in problem.parameters(jnp.asarray(best.x)).items()}
    at_ends = _at_ends(problem, best.x, bounds)
    _warn(bool(best.success), at_ends, max_steps)
    n = len(problem.y)
    return EvidenceFit(
        mixture=build({**parameters}),
        parameters=parameters,
        log_marginal_likelihood=-n * float(best.fun),
        converged=bool(best.success),
        at_ends=at_ends,
        restarts=np.array([math.nan if optimum is None else -n * float(optimum.fun) for optimum in optima]),
        num_evaluations=sum(int(optimum.nfev) for optimum in found),
    )


def _descend(
    loss: Callable[[np.ndarray], tuple[float, np.ndarray]],
    start: np.ndarray,
    bounds: scipy.optimize.Bounds,
    max_steps: int,
    bar: ProgressBar,
    done: int,
) -> scipy.optimize.OptimizeResult | None:
    if loss(start)[0] >= 1e10:
        return None
    count = iter(range(done + 1, done + max_steps + 2))
    return scipy.optimize.minimize(
        loss,
        start,
        jac=True,
        method="L-BFGS-B",
        bounds=bounds,
        options={"maxiter": max_steps, "ftol": 1e-8, "gtol": 1e-6},
        callback=lambda _: bar.update("evidence", next(count)),
    )


def _problem(
    build: Callable[[Parameters], ScaleMixture],
    start: Mapping[str, ArrayLike],
    x: ArrayLike,
    y: ArrayLike,
    num_restarts: int,
    max_steps: int,
    factor: float,
) -> tuple[_Problem, np.ndarray]:
    for name, count in (("num_restarts", num_restarts), ("max_steps", max_steps)):
        if count < 1:
            raise MethodError(f"{name} must be at least 1; it is {count}")
    if not (math.isfinite(factor) and factor > 1.0):
        raise MethodError(f"factor must be a finite number above 1; it is {factor}")
    if not start:
        raise DataError("start names no parameter: give the positive hyperparameters to optimise, by name")
    values = {name: np.asarray(value, np.float64) for name, value in start.items()}
    for name, value in values.items():
        if value.size == 0 or not np.isfinite(value).all() or (value <= 0.0).any():
            raise DataError(f"start[{name!r}] must be positive and finite; it is {value}")
    shapes = tuple(value.shape for value in values.values())
    problem = _Problem(build, tuple(values), shapes, _finite("x", x), _finite("y", y))
    if problem.y.ndim != 1 or len(problem.x) != len(problem.y):
        raise DataError(
            f"y must be a vector with one entry for each of the {len(problem.x)} rows of x; "
            f"its shape is {problem.y.shape}"
        )
    return problem, np.log(np.concatenate([value.ravel() for value in values.values()]))


def _finite(name: str, values: ArrayLike) -> np.ndarray:
    array = np.asarray(values, np.float64)
    if array.ndim == 0 or array.size == 0:
        raise DataError(f"{name} must be a non-empty array; its shape is {array.shape}")
    if not np.isfinite(array).all():
        raise DataError(
            f"{name} has {int((~np.isfinite(array)).sum())} entries that are not finite; remove or impute them"
        )
    return array


def _seed(key: Key) -> int | list[int]:
    return key if isinstance(key, int) else np.asarray(jax.random.key_data(key)).ravel().tolist()


def _at_ends(problem: _Problem, vector: np.ndarray, bounds: scipy.optimize.Bounds) -> tuple[str, ...]:
    outside = (vector <= bounds.lb + 1e-6) | (vector >= bounds.ub - 1e-6)
    sizes = [math.prod(shape) for shape in problem.shapes]
    return tuple(np.unique(np.repeat(np.array(problem.names), sizes)[outside]).tolist())


def _warn(converged: bool, at_ends: tuple[str, ...], max_steps: int) -> None:
    if at_ends:
        warnings.warn(
            f"the evidence still rises where {', '.join(at_ends)} reached the end of the range; "
            "the value there is a choice of `factor`, not of the data",
            stacklevel=3,
        )
    if not converged:
        warnings.warn(
            f"the evidence was still rising after {max_steps} steps, or the line search failed; raise max_steps, "
            "or start elsewhere with num_restarts",
            stacklevel=3,
        )


def _nowhere(problem: _Problem, origin: np.ndarray) -> str:
    values = {name: np.asarray(value).tolist() for name, value in problem.parameters(jnp.asarray(origin)).items()}
    return (
        f"the evidence, or its gradient, is not finite at any start, beginning with {values}: the covariance of the "
        "observations is not positive definite there. Start with a larger noise variance, or remove repeated rows"
    )
