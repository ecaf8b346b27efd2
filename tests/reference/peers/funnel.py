"""Neal's funnel (Neal 2003, "Slice sampling"): a scale that ranges over orders of magnitude, and nothing observed."""

from __future__ import annotations

import jax.numpy as jnp
import numpyro
import numpyro.distributions as dist
from numpyro import handlers
from numpyro.distributions.transforms import AffineTransform
from numpyro.infer.reparam import TransformReparam


def funnel(size: int) -> None:
    """Centred: no step size is right for its neck and its mouth."""
    log_variance = numpyro.sample("log_variance", dist.Normal(0.0, 3.0))
    with numpyro.plate("coordinate", size):
        numpyro.sample("x", dist.Normal(0.0, jnp.exp(0.5 * log_variance)))


def straightened(size: int) -> None:
    """The same as standard normal numbers that are stretched, by the handler ``reparam``."""
    log_variance = numpyro.sample("log_variance", dist.Normal(0.0, 3.0))
    with numpyro.plate("coordinate", size), handlers.reparam(config={"x": TransformReparam()}):
        stretched = AffineTransform(0.0, jnp.exp(0.5 * log_variance))
        numpyro.sample("x", dist.TransformedDistribution(dist.Normal(0.0, 1.0), stretched))
