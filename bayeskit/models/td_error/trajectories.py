"""`Trajectories`: what was recorded while a policy was followed."""

from __future__ import annotations

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float

from bayeskit._keepable import keepable
from bayeskit._typing import Array, ArrayLike
from bayeskit.errors import DataError, MethodError
from bayeskit.models.td_error.checks import finite, within

__all__ = ["Trajectories", "check_discount"]


@keepable("td_error.Trajectories")
class Trajectories(eqx.Module):
    r"""Transitions in the order in which they were seen.

    Args:
        features: $\phi_t$ of the state, shape `(steps, features)`.
        rewards: $r_t$, on leaving it, shape `(steps,)`.
        next_features: $\phi_{t+1}$, shape `(steps, features)`; zeros after the last step of an episode that ended.
        discount: $\gamma$, from 0 to 1.
        starts: whether a trajectory begins at a step, shape `(steps,)`; by default where the features are not the
            next features of the step before. Only traces (`lam > 0`) need to know.

    Raises:
        DataError: other shapes, no steps, or numbers that are not finite.
        MethodError: a discount outside of [0, 1].

    Example:
        >>> import numpy as np
        >>> from bayeskit.models import td_error
        >>> table = np.eye(2)
        >>> chain = td_error.Trajectories(table[[0, 1, 0]], [0.0, 1.0, 0.0], [table[1], 0 * table[0], table[1]])
        >>> chain.starts.tolist()
        [True, False, True]
    """

    features: Float[Array, "steps features"]
    rewards: Float[Array, " steps"]
    next_features: Float[Array, "steps features"]
    discount: Float[Array, ""]
    starts: Bool[Array, " steps"]

    def __init__(
        self,
        features: ArrayLike,
        rewards: ArrayLike,
        next_features: ArrayLike,
        discount: ArrayLike = 0.99,
        starts: ArrayLike | None = None,
    ):
        before, after, gains = (
            finite(given, name)
            for given, name in ((features, "features"), (next_features, "next_features"), (rewards, "rewards"))
        )
        if before.ndim != 2 or 0 in before.shape:
            raise DataError(f"features must have shape (steps, features), with some of each; got {before.shape}")
        if after.shape != before.shape:
            raise DataError(f"next_features must have the shape of features, {before.shape}; got {after.shape}")
        if gains.shape != before.shape[:1]:
            raise DataError(f"rewards must have shape ({before.shape[0]},), a number a step; got {gains.shape}")
        dtype = jnp.result_type(before, after, gains)
        self.features, self.next_features, self.rewards = (x.astype(dtype) for x in (before, after, gains))
        self.discount = check_discount(discount).astype(dtype)
        if starts is None:
            begins = jnp.any(self.features[1:] != self.next_features[:-1], axis=1)
            self.starts = jnp.concatenate([jnp.ones(1, bool), begins])
        else:
            marks = starts if isinstance(starts, jax.Array) else np.asarray(starts)
            if marks.shape != gains.shape or marks.dtype != bool:
                raise DataError(
                    f"starts must be True or False for each of the {len(gains)} steps; got {marks.dtype} "
                    f"of shape {marks.shape}"
                )
            self.starts = jnp.asarray(marks)

    @property
    def data(self) -> dict[str, Array]:
        """What :func:`value_model` takes: features, next features and rewards, by name."""
        return {"features": self.features, "next_features": self.next_features, "rewards": self.rewards}

    def errors(self, weights: Float[Array, " features"]) -> Float[Array, " steps"]:
        r"""TD errors of a linear value function, $r_t + \gamma\, \phi_{t+1} \cdot w - \phi_t \cdot w$."""
        return self.rewards + self.discount * (self.next_features @ weights) - self.features @ weights

    def traces(self, decay: ArrayLike) -> Float[Array, "steps features"]:
        r"""Eligibility traces, $z_t = \text{decay} \cdot z_{t-1} + \phi_t$, zero before each start."""

        def step(trace: Array, now: tuple[Array, Array]) -> tuple[Array, Array]:
            feature, start = now
            trace = jnp.where(start, 0.0, decay * trace) + feature
            return trace, trace

        return jax.lax.scan(step, jnp.zeros_like(self.features[0]), (self.features, self.starts))[1]


def check_discount(discount: ArrayLike) -> Array:
    """One number from 0 to 1.

    Raises:
        MethodError: it is not.
    """
    try:
        array = within(discount, "discount", 0.0, 1.0, jnp.result_type(float))
    except DataError:
        raise MethodError(f"discount must be a number from 0 to 1, got {discount!r}") from None
    if array.shape != ():
        raise MethodError(f"discount must be a number from 0 to 1, got {discount!r}")
    return array
