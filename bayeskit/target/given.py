"""Values of latent sites in the model's own coordinates, as a user gives them."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import jax
import jax.numpy as jnp
from numpyro import handlers
from numpyro.distributions import biject_to
from numpyro.distributions.distribution import validation_enabled

from bayeskit._spelling import did_you_mean
from bayeskit._typing import Array, Values
from bayeskit.errors import ModelError
from bayeskit.program import Program
from bayeskit.target.sites import Structure, place


def check_given(structure: Structure, given: Mapping[str, object], num_chains: int | None = None) -> Values:
    """Values of latent sites in the model's coordinates as arrays; with ``num_chains``, all with a leading chain axis.

    Raises:
        ModelError: an unknown site, NaN, or a wrong shape.
    """
    latent = {site.name: site for site in structure.of_kind("latent")}
    out: Values = {}
    for name, value in given.items():
        if name not in latent:
            hint = did_you_mean(name, latent, "the latent sites are")
            raise ModelError(f"{name!r} is not a continuous latent site{hint}")
        try:
            array, shape = jnp.asarray(value, float), latent[name].shape
        except (TypeError, ValueError) as error:
            raise ModelError(f"the value given for site {name!r} is not an array of numbers: {error}") from None
        if not bool(jnp.isfinite(array).all()):
            what = "NaN" if bool(jnp.isnan(array).any()) else "infinite numbers"
            raise ModelError(f"the value given for site {name!r} holds {what}")
        chain = () if num_chains is None else (num_chains,)
        if array.shape not in (shape, chain + shape):
            raise ModelError(f"site {name!r} has shape {shape}, but the value given has shape {array.shape}")
        out[name] = jnp.broadcast_to(array, chain + shape)
    return out


def pull_back(
    program: Program | Callable[..., object], values: Values, given: Values
) -> tuple[Values, dict[str, Array]]:
    """Unconstrained values of all latent sites: those of ``given`` inverted, in the model's order, the others as in
    ``values``.

    Also whether each given value lies in its support, which may depend on the sites before it.
    """
    rest = {name: value for name, value in values.items() if name not in given}
    model = handlers.substitute(handlers.substitute(program, data=given), substitute_fn=lambda site: place(rest, site))
    with validation_enabled(False), handlers.seed(rng_seed=jax.random.PRNGKey(0)):
        sites = handlers.trace(model).get_trace()
    out, inside = dict(rest), {}
    for name, value in given.items():
        support = sites[name]["fn"].support
        out[name] = biject_to(support).inv(value)
        inside[name] = jnp.all(support(value))
    return out, inside
