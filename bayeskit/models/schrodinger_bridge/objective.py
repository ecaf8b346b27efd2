r"""The losses of a light Schrödinger bridge.

Balanced: $E \log c(x_0) - E \log v(x_1)$, which is $\mathrm{KL}(\pi^* \| \pi)$ up to a constant (Korotin, Gushchin and
Burnaev 2024, proposition 3.1).

Unbalanced: the marginals $p_0, p_1$ of the plan $\gamma$ are asked for by $\tau\, \mathrm{KL}(\gamma_0 \| p_0) + \tau\,
\mathrm{KL}(\gamma_1 \| p_1)$ beside the cost $E \frac12 |x - y|^2$ and $\varepsilon\, \mathrm{KL}(\gamma \| p_0 \otimes
\mathrm{Lebesgue})$. With $g(y) = \varepsilon \log v(y) + \frac12 |y|^2$ and $C(x) = c(x) e^{-|x|^2 / 2 \varepsilon}$
the potential at the start can be eliminated from the dual, which leaves the loss

$$\frac{\varepsilon + \tau}\varepsilon E[C(x_0)^{\varepsilon / (\varepsilon + \tau)} - 1]
  + \frac\tau\varepsilon E[e^{-g(x_1) / \tau} - 1],$$

whose limit for $\tau \to \infty$ is the balanced one. (ULightOT, Gazdieva, Asadulaev, Burnaev and Korotin 2024,
measures the entropy against Lebesgue measure at both ends and so needs a second mixture, for the density of the start.)

Matching: $E\, \frac{1}{2 \varepsilon} \int_0^1 |g(x_t, t) - (x_1 - x_t) / (1 - t)|^2 dt$ for any coupling of the
samples (Gushchin, Kholkin, Burnaev and Korotin 2024, "Light and Optimal Schrödinger Bridge Matching", theorem 3.1): it
differs from the balanced loss by a constant, whatever the coupling.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Float

from bayeskit._typing import Array
from bayeskit.models.schrodinger_bridge.bridge import Bridge

__all__ = ["light_loss", "masses", "matching_loss", "objective", "rates"]


def rates(bridge: Bridge) -> tuple[Array | float, Array | float]:
    r"""$\varepsilon / (\varepsilon + \tau)$ and $\varepsilon / \tau$; zeros for a balanced bridge."""
    if bridge.tau is None:
        return 0.0, 0.0
    return bridge.epsilon / (bridge.epsilon + bridge.tau), bridge.epsilon / bridge.tau


def masses(bridge: Bridge, log_c: Array, log_v: Array) -> tuple[Array, Array]:
    r"""What each point counts at the start and at the end, from $\log C(x_0)$ and $g(x_1) / \varepsilon$."""
    at_start, at_end = rates(bridge)
    return jnp.exp(at_start * log_c), jnp.exp(-at_end * log_v)


def objective(bridge: Bridge, log_c: Array, log_v: Array, of_start: Array, of_end: Array) -> Float[Array, ""]:
    r"""The loss from $\log C(x_0)$ and $g(x_1) / \varepsilon$ (balanced: $\log c$ and $\log v$) and point weights."""
    if bridge.tau is None:
        return jnp.sum(of_start * log_c) - jnp.sum(of_end * log_v)
    at_start, at_end = rates(bridge)
    start = jnp.sum(of_start * jnp.expm1(at_start * log_c)) / at_start
    return start + jnp.sum(of_end * jnp.expm1(-at_end * log_v)) / at_end


def light_loss(bridge: Bridge, x0: Float[Array, "n d"], x1: Float[Array, "m d"]) -> Float[Array, ""]:
    """The loss of a bridge on two samples, balanced or not as the bridge is."""
    log_c = jax.nn.logsumexp(bridge.log_terms(x0), axis=-1)
    log_v = bridge.potential.log_density(x1)
    if bridge.tau is not None:
        log_c = log_c - jnp.sum(x0**2, axis=-1) / (2 * bridge.epsilon)
        log_v = log_v + jnp.sum(x1**2, axis=-1) / (2 * bridge.epsilon)
    weights = (jnp.full(len(x), 1 / len(x), x.dtype) for x in (x0, x1))
    return objective(bridge, log_c, log_v, *weights)


def matching_loss(bridge: Bridge, x0: Float[Array, "n d"], x1: Float[Array, "n d"], key: Array) -> Float[Array, ""]:
    r"""An unbiased estimate of the matching loss for coupled points, without its part that is free of the bridge.

    Times are $t = 1 - s^2$ with $s$ uniform, weighted by $2s$: with uniform times the target, whose variance is
    $\varepsilon t / (1 - t)$, would give a gradient of infinite variance.
    """
    of_time, of_noise = jax.random.split(key)
    s = 1 - jax.random.uniform(of_time, (x0.shape[0], 1), x0.dtype)
    t = 1 - s**2
    noise = jnp.sqrt(bridge.epsilon * t) * jax.random.normal(of_noise, x0.shape, x0.dtype)
    x = t * x1 + (1 - t) * x0 + s * noise
    drift = jax.vmap(lambda x, t: bridge.drift(x[None], t[0])[0])(x, t)
    target = s * (x1 - x0) - noise  # s (x_1 - x_t) / (1 - t)
    return jnp.mean(jnp.sum(drift * (s * drift - 2 * target), axis=-1)) / bridge.epsilon
