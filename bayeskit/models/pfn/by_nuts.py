r"""The posterior predictive of a prior by sampling its latent sites, to hold a network against.

The first rows of a data set are shown to the model: an output whose rows are independent given the latent sites is
observed with the other rows masked, and of a multivariate normal output the rows that are shown are marginalised out.
Then $p(y_i \mid x_i, D) = \mathbb{E}[p(y_i \mid \text{latent}, x_i, D)]$ over the draws: probabilities are averaged.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
from numpyro import handlers
from numpyro.primitives import Messenger

from bayeskit._typing import Array, Key, Model
from bayeskit.errors import ModelError
from bayeskit.inference.method import Method
from bayeskit.inference.run import infer
from bayeskit.xla.miscompilation import safe_jit

__all__ = ["conditioned", "log_predictive"]


class _Shown(Messenger):
    """Gives a model its inputs and the outputs that are known."""

    def __init__(self, x: Array, y: Array, known: Array):
        super().__init__(None)
        self._x, self._y, self._known = x, y, known
        self.law: Any = None

    def process_message(self, msg: dict[str, Any]) -> None:
        if msg["type"] not in ("sample", "deterministic") or msg["name"] not in ("x", "y"):
            return
        if msg["name"] == "x":
            shape = jnp.shape(msg["value"]) if msg["type"] == "deterministic" else msg["fn"].shape()
            msg["value"], msg["is_observed"] = self._x.reshape(shape), True
            return
        self.law = msg["fn"]
        if self.law.event_dim == 0:
            # an unknown output counts for nothing; it is any value that is possible
            msg["fn"], msg["value"] = self.law.mask(self._known), self._y
        else:
            mean, covariance = _normal(self.law)
            keep = self._known[:, None] & self._known[None, :]
            rest = jnp.diag(jnp.where(self._known, 0.0, 1.0))
            msg["fn"] = dist.MultivariateNormal(mean, jnp.where(keep, covariance, 0.0) + rest)
            msg["value"] = jnp.where(self._known, self._y, mean)
        msg["is_observed"] = True


def _normal(law: Any) -> tuple[Array, Array]:
    while isinstance(law, dist.Independent | dist.ExpandedDistribution):
        law = law.base_dist
    if not isinstance(law, dist.MultivariateNormal):
        raise ModelError(
            f"site 'y' is drawn from {type(law).__name__} for all rows together; only a MultivariateNormal can be "
            "conditioned on some of them"
        )
    return law.mean, law.covariance_matrix


def conditioned(prior: Model) -> Model:
    """The prior as a model with arguments `x`, `y` and `known`, whose latent sites are to be inferred.

    Args:
        prior: a model with sites `x` and `y`.

    Example:
        >>> import jax.numpy as jnp
        >>> import bayeskit as bk
        >>> from bayeskit.models import pfn
        >>> model = pfn.conditioned(pfn.priors.Ridge(num_rows=3, num_features=1))
        >>> data = {"x": jnp.array([[0.0], [1.0], [2.0]]), "y": jnp.zeros(3), "known": jnp.array([True, True, False])}
        >>> method = bk.NUTS(num_chains=1, num_warmup=50, num_draws=50)
        >>> bk.infer(model, data, method, key=0, progress=False)["posterior/w"].shape
        (1, 50, 1)
    """

    def model(x: Array, y: Array, known: Array) -> None:
        with _Shown(x, y, known):
            prior()

    model.__name__ = f"{getattr(prior, '__name__', type(prior).__name__)}_conditioned"
    return model


def log_predictive(
    prior: Model, x: np.ndarray, y: np.ndarray, num_known: int, method: Method, key: Key, model: Model | None = None
) -> np.ndarray:
    """The log density of each output that is not shown, under the posterior predictive of the others.

    Args:
        prior: a model with sites `x` and `y`.
        x: inputs of a data set, shape `(rows, features)`.
        y: outputs.
        num_known: how many rows are shown, the first ones.
        method: how to sample, such as ``bk.NUTS()``.
        key: an integer seed or a JAX key.
        model: :func:`conditioned` of the prior, to be compiled once for several data sets.

    Returns:
        Shape `(rows - num_known,)`.
    """
    known = np.arange(len(y)) < num_known
    data = {"x": jnp.asarray(x), "y": jnp.asarray(y), "known": jnp.asarray(known)}
    post = infer(conditioned(prior) if model is None else model, data, method, key=key, progress=False)
    draws = {str(name): _flat(array) for name, array in post["posterior"].data_vars.items()}
    return np.asarray(_averaged(prior)(draws, data["x"], data["y"], data["known"]))[num_known:]


def _flat(array: Any) -> Array:
    values = array.to_numpy()
    return jnp.asarray(values.reshape(-1, *values.shape[2:]))


_PROGRAMS: dict[int, tuple[Model, Any]] = {}


def _averaged(prior: Model) -> Any:
    """The mean probability over draws, compiled once for a prior."""
    if id(prior) not in _PROGRAMS:
        _PROGRAMS.clear()
        _PROGRAMS[id(prior)] = prior, safe_jit(lambda *arguments: _mean_log_prob(prior, *arguments))
    return _PROGRAMS[id(prior)][1]


def _mean_log_prob(prior: Model, draws: dict[str, Array], x: Array, y: Array, known: Array) -> Array:
    def of_draw(values: dict[str, Array]) -> Array:
        shown = _Shown(x, y, known)
        with handlers.seed(rng_seed=0), handlers.substitute(data=values), shown:
            prior()
        if shown.law.event_dim == 0:
            return jnp.asarray(shown.law.log_prob(y))
        return _conditional(*_normal(shown.law), y, known)

    logs = jax.lax.map(of_draw, draws, batch_size=64)
    return jax.nn.logsumexp(logs, axis=0) - jnp.log(logs.shape[0])


def _conditional(mean: Array, covariance: Array, y: Array, known: Array) -> Array:
    keep = known[:, None] & known[None, :]
    root = jnp.linalg.cholesky(jnp.where(keep, covariance, 0.0) + jnp.diag(jnp.where(known, 0.0, 1.0)))
    across = jnp.where(known[:, None], covariance, 0.0)
    white = jax.scipy.linalg.solve_triangular(root, across, lower=True)
    left = jax.scipy.linalg.solve_triangular(root, jnp.where(known, y - mean, 0.0), lower=True)
    variance = jnp.maximum(jnp.diag(covariance) - jnp.sum(white**2, axis=0), 1e-12)
    return dist.Normal(mean + white.T @ left, jnp.sqrt(variance)).log_prob(y)
