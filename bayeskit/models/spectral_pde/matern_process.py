r"""Matérn's process of smoothness 5/2 as a Markov process of three numbers.

With time in units of $\ell / \sqrt{5}$ and $D = d / dt$, the process $a$ of variance one solves
$(D + 1)^3 a = \sigma \dot{W}$ with $\sigma^2 = 16 / 3$. Its state here is $(a, (D + 1) a, (D + 1)^2 a)$, so that

$$a' = z_2 - z_1, \qquad a'' = z_3 - 2 z_2 + z_1,$$

and both the transition and the noise are $e^{-t}$ times powers of the time, all of one sign.
"""

from __future__ import annotations

import math

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from bayeskit._typing import Array

__all__ = ["stationary_root", "step_noise_root", "transition"]

VARIANCE = 16 / 3
LONGEST = 800.0
"""The exponential of minus that is zero: any longer step forgets everything."""
SERIES = 8.0
POWERS = np.array([2, 1, 0])
FACTORIALS = np.array([2.0, 1.0, 1.0])


def stationary_root() -> Float[np.ndarray, "3 3"]:
    """The lower Cholesky factor of the covariance of the state."""
    moments = np.array([math.factorial(k) / 2 ** (k + 1) for k in range(5)])
    return np.linalg.cholesky(VARIANCE * moments[POWERS[:, None] + POWERS] / np.outer(FACTORIALS, FACTORIALS))


def transition(tau: Float[Array, "*batch"]) -> Float[Array, "*batch 3 3"]:
    r"""The matrix $e^{F \tau}$ that the mean of the state is multiplied by in a time $\tau \ge 0$."""
    tau = jnp.minimum(tau, LONGEST)
    one, zero = jnp.ones_like(tau), jnp.zeros_like(tau)
    rows = ((one, tau, tau**2 / 2), (zero, one, tau), (zero, zero, one))
    return jnp.exp(-tau)[..., None, None] * jnp.stack([jnp.stack(row, axis=-1) for row in rows], axis=-2)


def step_noise_root(tau: Float[Array, "*batch"]) -> Float[Array, "*batch 3 3"]:
    r"""The lower Cholesky factor of what a time $\tau$ adds to the covariance of the state.

    That covariance is $\sigma^2 \int_0^\tau e^{-2s} s^{p_i + p_j} / p_i! p_j! \, ds$ with $p = (2, 1, 0)$: powers of
    $\tau$ times a matrix of moments that is nowhere near singular, so that each of its elements is right to a few
    units in the last place, however short the time.
    """
    tau = jnp.minimum(tau, LONGEST)
    root = jnp.linalg.cholesky(_moments(2 * tau)[..., POWERS[:, None] + POWERS])
    # the root has no derivative at zero, but what depends on other things than the time has one there, which is zero
    half = jnp.where(tau > 0, jnp.sqrt(jnp.where(tau > 0, tau, 1.0)), 0.0)
    scale = math.sqrt(VARIANCE) * half[..., None] * tau[..., None] ** POWERS / FACTORIALS
    return scale[..., None] * root


def _moments(c: Float[Array, "*batch"]) -> Float[Array, "*batch 5"]:
    r"""$\int_0^1 e^{-c s} s^k ds$ for $k = 0, \dots, 4$, by whichever recursion adds numbers of one sign."""
    short, long = jnp.minimum(c, SERIES), jnp.maximum(c, SERIES)
    coefficients = 1 / np.cumprod(np.arange(5.0, 50.0))
    decay = jnp.exp(-short)
    down = [decay * jnp.polyval(jnp.asarray(coefficients[::-1], c.dtype), short)]
    for k in range(4, 0, -1):
        down.append((short * down[-1] + decay) / k)
    decay = jnp.exp(-long)
    up = [(1 - decay) / long]
    for k in range(1, 5):
        up.append((k * up[-1] - decay) / long)
    return jnp.where((c < SERIES)[..., None], jnp.stack(down[::-1], axis=-1), jnp.stack(up, axis=-1))
