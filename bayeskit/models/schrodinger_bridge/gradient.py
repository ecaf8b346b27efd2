"""Stochastic gradient steps on a bridge: low-rank maps, matching, and fresh points from samplers."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Float

from bayeskit._progress import ProgressBar
from bayeskit._typing import Array
from bayeskit.models.schrodinger_bridge.bridge import Bridge
from bayeskit.models.schrodinger_bridge.fit_data import FitData, Settings
from bayeskit.models.schrodinger_bridge.fixed_point import Found
from bayeskit.models.schrodinger_bridge.objective import light_loss, matching_loss
from bayeskit.numerics.gaussian_mixture_covariance import Covariance, Diagonal, Full, LowRank
from bayeskit.train import minimise
from bayeskit.xla.miscompilation import safe_jit

__all__ = ["FreeBridge", "descend", "low_rank"]


class FreeBridge(eqx.Module):
    r"""A bridge by unconstrained numbers: logarithms of what must be positive (the diagonal of a Cholesky factor,
    variances).
    """

    log_alpha: Float[Array, " k"]
    r: Float[Array, "k d"]
    S: Covariance

    @classmethod
    def of(cls, bridge: Bridge) -> FreeBridge:
        """The numbers of a bridge."""
        return cls(bridge.log_alpha, bridge.r, _on_positive(bridge.S, jnp.log))

    def bridge(self, epsilon: Array, tau: Array | None) -> Bridge:
        """The bridge of the numbers."""
        return Bridge(epsilon, self.log_alpha, self.r, _on_positive(self.S, jnp.exp), tau)


@partial(safe_jit, compile=eqx.filter_jit)
def low_rank(bridge: Bridge, rank: int) -> Bridge:
    r"""The same with each map $S_k$ brought to a diagonal plus the leading part of the rest of its spectrum.

    The largest eigenvalues of $S_k - \bar\lambda I$ make the factor, with $\bar\lambda$ the mean of the others, and the
    diagonal is what remains of that of $S_k$.
    """
    dense = bridge.S.dense()
    values, vectors = jnp.linalg.eigh(dense)
    rest = jnp.mean(values[:, :-rank], axis=1, keepdims=True)
    factor = vectors[..., -rank:] * jnp.sqrt(values[:, None, -rank:] - rest[..., None])
    diagonal = jnp.diagonal(dense, axis1=1, axis2=2) - jnp.sum(factor**2, axis=-1)
    smallest = values[:, :1]  # positive, as S is; the true diagonal of a low-rank map is never below it
    return eqx.tree_at(lambda b: b.S, bridge, LowRank(jnp.maximum(diagonal, smallest), factor))


def descend(
    settings: Settings, before: Found, data: FitData, key: Array, num_steps: int, bar: ProgressBar, coupled: bool
) -> Found:
    """Adam on minibatches drawn inside the compiled loop, with the step size falling along a cosine.

    Raises:
        TrainingError: the loss is not finite at most steps of a hundred.
    """
    epsilon, tau = before.bridge.epsilon, before.bridge.tau

    def loss(free: FreeBridge, key: Array) -> Array:
        now = free.bridge(epsilon, tau)
        of_start, of_end, of_loss = jax.random.split(key, 3)
        x0 = data.start.draw(of_start, settings.batch_size)
        x1 = data.end.draw(of_start if coupled else of_end, settings.batch_size)
        return matching_loss(now, x0, x1, of_loss) if coupled else light_loss(now, x0, x1)

    done = max(len(before.training.losses) - 1, 0)
    trained = minimise(
        loss,
        FreeBridge.of(before.bridge),
        key=key,
        optimizer=optax.adam(optax.cosine_decay_schedule(settings.learning_rate, num_steps)),
        num_steps=num_steps,
        held_out=(lambda free: data.judge(free.bridge(epsilon, tau))) if data.held_out else None,
        patience=settings.patience,
        report=lambda block: bar.update("gradient", done + block.done),
    )
    return Found(trained.parameters.bridge(epsilon, tau), before.training.then(trained.training))


def _on_positive(maps: Covariance, rule: Callable[[Array], Array]) -> Covariance:
    if isinstance(maps, Full):
        diagonal = jnp.diagonal(maps.cholesky, axis1=1, axis2=2)
        return Full(jnp.tril(maps.cholesky, -1) + jax.vmap(jnp.diag)(rule(diagonal)))
    variance = lambda item: item.variance  # noqa: E731
    if isinstance(maps, Diagonal | LowRank):
        return eqx.tree_at(variance, maps, rule(maps.variance))
    raise TypeError(f"unknown form of covariance: {type(maps).__name__}")
