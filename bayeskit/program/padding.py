"""NaN in data: refused, unless it stands where the model's masks take it out."""

from __future__ import annotations

from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np
from numpyro import handlers

from bayeskit._typing import Array
from bayeskit.errors import DataError
from bayeskit.program.arguments import place_of
from bayeskit.program.sites import site_term
from bayeskit.xla.devices import gathered, is_spread

if TYPE_CHECKING:
    from bayeskit.program.bind import Program

FILLS = (-1.5, 0.75, 37.0)
DRAWS = 64


def check_nan(program: Program) -> None:
    """Refuse NaN on which the density of a program depends.

    Raises:
        DataError: naming the argument and the first place.
    """
    for path, leaf in jax.tree_util.tree_leaves_with_path(program.arrays):
        if isinstance(leaf, jax.core.Tracer) or not jnp.issubdtype(leaf.dtype, jnp.inexact):
            continue
        if is_spread(leaf) and not bool(jnp.isnan(leaf).any()):
            continue  # rows on several devices, more than one may be able to hold
        missing = np.isnan(gathered(leaf))
        if not missing.any():
            continue
        if _is_padding(program):
            return
        raise DataError(
            f"data {place_of(path)} holds {missing.sum()} NaN, the first at {np.argwhere(missing)[0].tolist()}, which "
            "the model does not mask; drop those rows, mask them (handlers.mask, or .mask on the distribution; the "
            "mask is data), or use `obs_mask` to have NumPyro impute them"
        )


def _is_padding(program: Program) -> bool:
    """Whether the density is the same, whatever stands in place of NaN, at draws of the prior."""

    def fill(leaf: Array, number: Array) -> Array:
        return jnp.where(jnp.isnan(leaf), number, leaf) if jnp.issubdtype(leaf.dtype, jnp.inexact) else leaf

    def terms(key: Array, number: Array) -> Array:
        filled = jax.tree.map(lambda leaf: fill(leaf, number), program)
        sites = handlers.trace(handlers.seed(filled, rng_seed=key)).get_trace().values()
        return jnp.stack([site_term(site, guarded=True).total() for site in sites if site["type"] == "sample"])

    keys = jax.random.split(jax.random.PRNGKey(0), DRAWS)
    try:
        found = jax.jit(jax.vmap(jax.vmap(terms, (0, None)), (None, 0)))(keys, jnp.asarray(FILLS))
    except Exception:  # a function that cannot be run by itself masks nothing that we could see
        return False
    return bool(jnp.isfinite(found).all() & (found == found[0]).all())
