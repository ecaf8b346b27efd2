r"""Whether the prior of a target is a normal distribution of its unconstrained values, and which.

It is where its log density is quadratic, and then each site adds a quadratic term. A function is quadratic where its
gradient $g$ is affine, $g(a + b) - g(a) - g(b) + g(0) = 0$, which is looked at for random $a$ and $b$ of all sizes: a
scale that depends on another site, a transformation (`HalfNormal`), or a kink in a mean shows there.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from bayeskit._typing import Array
from bayeskit.errors import ModelError
from bayeskit.inference.no_mode import inverse_root
from bayeskit.numerics.mode import expansion
from bayeskit.program.sites import Term
from bayeskit.target import Target
from bayeskit.xla.miscompilation import safe_jit

__all__ = ["Gaussian", "check_gaussian_prior", "gaussian_prior"]

SIZES = (0.1, 1.0, 10.0, 100.0)
PAIRS = 4
"""Of each size: a kink escapes all of them once in a million times."""


class Gaussian(NamedTuple):
    """The mean, shape `(size,)`, and a lower triangular root of the covariance."""

    mean: Array
    root: Array


def check_gaussian_prior(target: Target, method: str) -> None:
    """Refuse a prior that is not jointly normal, naming the site.

    Raises:
        ModelError: a discrete site; a site whose prior is not quadratic; a prior that is flat in some direction.
    """
    if target.structure.of_kind("discrete"):
        name = target.structure.of_kind("discrete")[0].name
        raise ModelError(f"{method} needs a jointly normal prior, and site {name!r} is discrete; use bayeskit.NUTS()")
    bent, diagonal, found_root = (jax.tree.map(np.asarray, found) for found in _bends(target))
    for name, (difference, size) in bent.items():
        if not difference <= np.finfo(size.dtype).eps ** 0.5 * size:
            site = target.structure[name]
            raise ModelError(
                f"{method} needs a jointly normal prior, and the log density of site {name!r} ~ {site.distribution} "
                "is not quadratic in the unconstrained values: it is not normal, or its scale (or a mean that is not "
                "linear) depends on another site; use bayeskit.NUTS(), or give that site a fixed value"
            )
    if not (diagonal > 0).all():
        raise ModelError(
            f"{method} needs a normal prior of every value, and that of coordinate {int(np.argmin(diagonal))} of the "
            "unconstrained vector is flat; use bayeskit.NUTS()"
        )
    if not found_root:
        raise ModelError(
            f"{method} needs a normal prior, and this one is flat along some combination of its values (an improper "
            "prior on a mean, say), or singular to the precision of its numbers; use bayeskit.NUTS()"
        )


def gaussian_prior(target: Target) -> Gaussian:
    """The prior of a target whose prior is normal; NaN where it is flat in some direction."""
    zero = jnp.zeros(target.size)
    _, slope, precision = expansion(lambda flat, _: -target.log_prior(target.unravel(flat)), zero)
    root = inverse_root(precision)
    return Gaussian(-root @ (root.T @ slope), root)


@safe_jit
def _bends(target: Target) -> tuple[dict[str, tuple[Array, Array]], Array, Array]:
    """Of each term of the prior the largest third difference, and the size of what it is a difference of;
    the diagonal of the precision; and whether it has a root.
    """

    def terms(flat: Array) -> dict[str, Array]:
        found = target.terms(target.unravel(flat))
        own = {name: term.total() for name, term in found.prior.items()}
        return {name: value + found.jacobian.get(name, Term(jnp.zeros(()))).total() for name, value in own.items()}

    def differences(pair: Array) -> dict[str, tuple[Array, Array]]:
        points = jnp.stack([pair[0] + pair[1], pair[0], pair[1], jnp.zeros(target.size)])
        slopes = jax.lax.map(jax.jacobian(terms), points)
        return {name: (jnp.max(jnp.abs(g[0] - g[1] - g[2] + g[3])), jnp.max(jnp.abs(g))) for name, g in slopes.items()}

    random = np.random.default_rng(0)
    pairs = np.concatenate([size * random.normal(size=(PAIRS, 2, target.size)) for size in SIZES])
    each = jax.lax.map(differences, jnp.asarray(pairs, float))
    # the pair at which it is most bent for its size: small pairs see what large ones hide behind
    worst = {name: jnp.argmax(bend - jnp.finfo(bend.dtype).eps ** 0.5 * size) for name, (bend, size) in each.items()}
    bent = {name: (each[name][0][at], each[name][1][at]) for name, at in worst.items()}
    _, _, precision = expansion(lambda flat, _: -target.log_prior(target.unravel(flat)), jnp.zeros(target.size))
    return bent, jnp.diag(precision), jnp.isfinite(inverse_root(precision)).all()
