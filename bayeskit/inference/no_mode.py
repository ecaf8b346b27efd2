"""The normal distribution at a mode, and why a place is none."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from bayeskit._typing import Array
from bayeskit.numerics.mode import Mode, reason
from bayeskit.target import Target

__all__ = ["complaint", "inverse_root"]


def inverse_root(hessian: Array) -> Array:
    r"""Lower triangular :math:`C` with :math:`C C^\top = H^{-1}`, by a factorisation of :math:`H` read backwards."""
    backwards = jnp.linalg.cholesky(hessian[::-1, ::-1])[::-1, ::-1]  # upper U with U Uᵀ = H
    identity = jnp.eye(hessian.shape[0], dtype=hessian.dtype)
    return jax.scipy.linalg.solve_triangular(backwards, identity, lower=False).T


def complaint(target: Target, mode: Mode, advice: str) -> str:
    """What is wrong with a place that is no mode, with the site that is most to blame."""
    slope, curvature = (np.asarray(array, float) for array in (mode.slope, mode.precision))
    stopped = f", because {why}" if (why := reason(mode.status)) else ""
    if not (np.isfinite(slope).all() and np.isfinite(curvature).all()):
        bad = int(np.argmax(~np.isfinite(slope) | ~np.isfinite(curvature).all(axis=1)))
        what = f"the gradient or the Hessian is not finite where the search stopped{stopped} ({_site_of(target, bad)})"
        return f"{what}; {advice}"
    unit = np.sqrt(np.abs(np.diag(curvature)))
    scale = np.where(unit > 0, unit, 1.0)
    values, vectors = np.linalg.eigh(curvature / scale[:, None] / scale)
    if values[0] <= len(scale) * np.finfo(mode.precision.dtype).eps:
        site = _site_of(target, int(np.argmax(np.abs(vectors[:, 0]))))
        what = (
            f"the Hessian is not positive definite where the search stopped{stopped} (its smallest eigenvalue, in "
            f"units of its diagonal, is {values[0]:.2g}, mostly along {site}): the density is flat or has no peak there"
        )
        return f"{what}; {advice}"
    newton = np.linalg.solve(curvature, slope)
    site = _site_of(target, int(np.argmax(np.abs(newton) * scale)))
    what = (
        f"the search stopped{stopped}, {np.sqrt(slope @ newton):.2g} posterior standard deviations from the mode "
        f"(mostly along {site})"
    )
    return f"{what}; more max_iterations or float64 may help, or {advice}"


def _site_of(target: Target, index: int) -> str:
    """The site that a coordinate of the unconstrained vector belongs to."""
    stop = 0
    for site in target.structure.of_kind("latent"):
        stop += int(np.prod(site.unconstrained_shape))
        if index < stop:
            return f"site {site.name!r}"
    raise IndexError(index)
