r"""`Activation`: any smooth function, by its Hermite coefficients."""

# ruff: noqa: D102  (methods are described by the abstract class)

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from bayeskit._keepable import keepable
from bayeskit._settings import is_whole
from bayeskit._typing import Array
from bayeskit.errors import ModelError
from bayeskit.models.nngp.networks.activations import Elementwise
from bayeskit.models.nngp.networks.second_moments import at_least

__all__ = ["Activation"]

TOLERANCE = 1e-5
"""Of the check, relative to the variance."""

MOST_NODES = 256
"""The polynomials of twice that degree still fit into double precision."""


@cache
def _rule(num_nodes: int) -> tuple[np.ndarray, np.ndarray]:
    r"""Nodes $z_q$ of the Gauss-Hermite rule and the matrix $w_q h_m(z_q)$, with $w_q = 1 / \sum_m h_m(z_q)^2$."""
    off_diagonal = np.diag(np.sqrt(np.arange(1, num_nodes)), 1)
    nodes = np.linalg.eigvalsh(off_diagonal + off_diagonal.T)
    rows = [np.ones(num_nodes), nodes]
    for m in range(1, num_nodes - 1):
        rows.append((nodes * rows[m] - np.sqrt(m) * rows[m - 1]) / np.sqrt(m + 1))
    polynomials = np.stack(rows)
    largest = np.abs(polynomials).max(axis=0)  # their squares may be too large for a float
    scaled = polynomials / largest
    return nodes, scaled / np.sum(scaled**2, axis=0) / largest


@keepable("nngp.Activation")
class Activation(Elementwise):
    r"""A function of your own, by Gauss-Hermite quadrature.

    With $\alpha_m(a) = E[\phi(\sqrt a z) h_m(z)]$, $h_m$ the orthonormal Hermite polynomials, $\rho$ the correlation,
    $E[\phi(u) \phi(v)] = \sum_m \alpha_m(a) \alpha_m(b) \rho^m$ (Mehler). The coefficients come from $n$ nodes and the
    sum has $n$ terms, so that it agrees with the variance at $\rho = 1$; it is a polynomial in $\rho$, so that all its
    derivatives are right, where quadrature in two dimensions loses them near $\rho = \pm 1$.

    This converges fast for smooth functions only. When it is made, the result and its derivative are compared with
    those of twice the nodes, for variances from 0.01 to ``max_variance``. For larger ones the kernel raises, or is NaN
    where it is compiled into another program.

    Args:
        function: of one number, written with ``jax.numpy``; it is applied to arrays elementwise.
        num_nodes: $n$, from 2 to 256. Time grows in proportion.
        max_variance: the largest variance of the inputs of the activation.

    Raises:
        ModelError: the function has a kink, a jump, grows too fast, or needs more nodes; or an impossible setting.

    Source: Daniely, Frostig and Singer (2016), "Toward Deeper Understanding of Neural Networks", section 4 (the dual).

    Example:
        >>> import jax.numpy as jnp
        >>> import numpy as np
        >>> from bayeskit.models import nngp
        >>> tanh = nngp.Activation(jnp.tanh)
        >>> network = nngp.serial(nngp.Dense(1.5, 0.1), tanh, nngp.Dense())
        >>> network.nngp(np.eye(3)).shape
        (3, 3)
    """

    function: Callable[[Array], Array] = eqx.field(static=True)
    num_nodes: int = eqx.field(static=True)
    max_variance: float = eqx.field(static=True)

    def __init__(self, function: Callable[[Array], Array], num_nodes: int = 128, max_variance: float = 3.0):
        if not is_whole(num_nodes) or not 2 <= num_nodes <= MOST_NODES:
            raise ModelError(f"num_nodes of Activation must be an integer from 2 to {MOST_NODES}, got {num_nodes!r}")
        if not (np.isfinite(max_variance) and max_variance > 0.01):
            raise ModelError(f"max_variance of Activation must be finite and above 0.01, got {max_variance}")
        self.function, self.num_nodes, self.max_variance = function, num_nodes, float(max_variance)
        self._check()

    @property
    def values_per_pair(self) -> int:
        """All powers of a correlation."""
        return self.num_nodes

    def refusal(self) -> str:
        return (
            f"the variance before {self!r} is above its max_variance of {self.max_variance}, or the function is not "
            "finite: give Activation a larger max_variance, or scale the inputs or weight_std down"
        )

    def _coefficients(self, a: Array, num_nodes: int | None = None) -> Array:
        """With a last axis of terms."""
        nodes, matrix = _rule(num_nodes or self.num_nodes)
        positive = a > 0
        root = jnp.where(positive, jnp.sqrt(jnp.where(positive, a, 1)), 0)
        root = jnp.where(a > self.max_variance, jnp.nan, root)
        values = self.function(root[..., None] * jnp.asarray(nodes, a.dtype))
        return jnp.einsum("...q,mq->...m", values, jnp.asarray(matrix, a.dtype))

    def variance(self, a: Array) -> Array:
        """The sum of squares of the coefficients."""
        return jnp.sum(self._coefficients(a) ** 2, axis=-1)

    def distance(self, a: Array, b: Array, delta: Array) -> Array:
        r"""$\sum_m (\alpha_m(a) - \alpha_m(b))^2 + 2 \alpha_m(a) \alpha_m(b) (1 - \rho^m)$: nothing cancels."""
        gap = _one_less_correlation(a, b, delta)
        first, second = (jnp.moveaxis(self._coefficients(v), -1, 0) for v in (a, b))

        def add(state: tuple[Array, Array], term: tuple[Array, Array]) -> tuple[tuple[Array, Array], None]:
            total, rest = state
            total = total + (term[0] - term[1]) ** 2 + 2 * term[0] * term[1] * rest
            return (total, rest * (1 - gap) + gap), None

        zero = jnp.zeros_like(gap)
        return jax.lax.scan(add, (zero, zero), (first, second))[0][0]

    def _check(self) -> None:
        """Compare with twice the nodes.

        Raises:
            ModelError: they differ.
        """
        with jax.enable_x64(True), jax.ensure_compile_time_eval():
            variance = jnp.asarray(np.geomspace(0.01, self.max_variance, 12) * (1 - 1e-12))
            try:
                found, finer = (
                    np.asarray(self._coefficients(variance, n)) for n in (self.num_nodes, 2 * self.num_nodes)
                )
            except (TypeError, ValueError) as error:
                raise ModelError(f"the function of Activation could not be applied to an array: {error}") from error
        power = np.arange(finer.shape[1])
        found = np.pad(found, [(0, 0), (0, self.num_nodes)])
        worst = np.float64(0)
        with np.errstate(all="ignore"):  # what overflows has not converged
            for rho in (-0.9, 0.5, 0.9, 1.0):
                for factors in (rho**power, power * rho ** np.maximum(power - 1, 0)):
                    one, two = (coefficients**2 @ factors for coefficients in (found, finer))
                    scale = finer**2 @ np.maximum(np.abs(factors), 1)
                    worst = np.maximum(worst, np.max(np.abs(one - two) / np.where(scale > 0, scale, 1)))
        if not worst < TOLERANCE:
            raise ModelError(
                f"the quadrature of {self!r} has not converged: its kernel or the derivative of that changes by "
                f"{worst:.1e} from {self.num_nodes} to {2 * self.num_nodes} nodes, for variances up to "
                f"{self.max_variance}. For a function with a kink use leaky_relu or abs; for a smooth one give more "
                f"num_nodes (up to {MOST_NODES}) or a smaller max_variance"
            )

    def __repr__(self) -> str:
        return f"Activation({getattr(self.function, '__name__', self.function)})"


def _one_less_correlation(a: Array, b: Array, delta: Array) -> Array:
    r"""$1 - \rho = \frac{\delta - (\sqrt a - \sqrt b)^2}{2 \sqrt{ab}}$; one where a variance is zero."""
    empty = a * b <= 0
    root_a, root_b = (jnp.sqrt(jnp.where(v > 0, v, 1)) for v in (a, b))
    gap = jnp.where(empty, 1, (delta - (root_a - root_b) ** 2) / (2 * root_a * root_b))
    return 2 - at_least(2 - at_least(gap, 0.0), 0.0)
