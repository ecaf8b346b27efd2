"""A target in its two parts, prior and likelihood, and draws of the prior."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from numpyro import handlers

from bayeskit._typing import Array, Values
from bayeskit.errors import ModelError
from bayeskit.program import is_prior_factor
from bayeskit.program.sites import read
from bayeskit.target import Target
from bayeskit.target.density import run_trace, total
from bayeskit.target.sites import Watch
from bayeskit.target.start import draw_prior
from bayeskit.xla.miscompilation import safe_jit
from bayeskit.xla.once import traced_once


def parts(target: Target, position: Array) -> tuple[Array, Array]:
    r"""Log prior and log likelihood at a flat position, :math:`\log\pi(z) = \log p(z) + \log p(y \mid z)`; the Jacobian
    belongs to the prior, which integrates to one over :math:`z`.
    """
    return _parts(target, target.unravel(position))


@traced_once
def _parts(target: Target, values: Values) -> tuple[Array, Array]:
    terms = target.terms(values)
    return total(terms.prior) + total(terms.jacobian), total(terms.likelihood)


def tempered(log_prior: Array, log_likelihood: Array, temperature: Array | float) -> Array:
    r""":math:`\log p(z) + \beta \log p(y \mid z)`, which at :math:`\beta = 0` is the prior, whatever the likelihood."""
    scaled = jnp.asarray(temperature * log_likelihood)
    return log_prior + jnp.where(jnp.asarray(temperature) == 0, jnp.zeros_like(scaled), scaled)


@safe_jit
def prior_draws(target: Target, keys: Array) -> tuple[Array, Array, Array]:
    """Draws of the prior by keys of any shape: flat positions, log prior, log likelihood."""

    def one(key: Array) -> tuple[Array, Array, Array]:
        position = target.ravel(draw_prior(target, key))
        return position, *parts(target, position)

    flat = jax.vmap(one)(keys.reshape(-1, keys.shape[-1]))
    return jax.tree.map(lambda leaf: leaf.reshape(*keys.shape[:-1], *leaf.shape[1:]), flat)


def check_split(target: Target, who: str) -> None:
    """Refuse a target that has no exact split into prior and likelihood.

    Raises:
        ModelError: discrete sites that make the parts inseparable; the message names the site.
    """
    try:
        jax.eval_shape(target.terms, target.structure.zeros())
    except ModelError as error:
        raise ModelError(f"{who} needs the likelihood apart from the prior: {error}") from None


def check_prior(target: Target, who: str) -> None:
    """Refuse a prior that is not normalised, or that cannot be drawn from: the evidence would have no meaning.

    Raises:
        ModelError: an improper prior, a prior that is scaled, masked or multiplied by a `prior_factor`; names the site.
    """
    trouble = prior_trouble(target)
    if trouble:
        raise ModelError(f"{who} starts from draws of the prior, which must be normalised: {trouble}")


def prior_trouble(target: Target) -> str:
    """Why the prior is not normalised or cannot be drawn from; empty where it can."""
    watch: list[Watch] = []

    def draw() -> None:
        watch.append(Watch(target.program))
        handlers.trace(handlers.seed(watch[0], rng_seed=jax.random.PRNGKey(0))).get_trace()

    try:
        jax.eval_shape(draw)
    except NotImplementedError:
        return f"the distribution of site {watch[0].last!r} cannot be drawn from; give it a proper prior"
    found: list[str] = []

    def look() -> None:
        for name, site in run_trace(target.program, target.structure.zeros(), seeded=True).items():
            if site["type"] != "sample":
                continue
            if is_prior_factor(site):
                found.append(
                    f"the prior_factor {name!r} changes what the prior integrates to; write it as numpyro.factor, a "
                    "part of the likelihood and of the evidence"
                )
            elif name in target.latent_names and site["scale"] is not None:
                found.append(f"site {name!r} has its log density scaled; take the scale away")
            elif name in target.latent_names and read(site["fn"]).mask is not True:
                found.append(f"elements of site {name!r} are masked, so that they have no prior; take the mask away")

    jax.eval_shape(look)
    return found[0] if found else ""
