"""Factors that belong to the prior."""

from __future__ import annotations

from typing import Any

import numpyro
from numpyro.distributions.distribution import Unit

from bayeskit._typing import ArrayLike

_MARK = "prior_factor"


def prior_factor(name: str, log_factor: ArrayLike) -> None:
    r"""Multiply the *prior* by :math:`\exp(\text{log\_factor})`.

    ``numpyro.factor`` counts as likelihood: tempering scales it and it is an observation as far as bayeskit can know.
    This one counts as prior.

    Args:
        name: name of the site.
        log_factor: the log of the factor, of the batch shape of the plates around it.

    Example:
        >>> import numpyro, numpyro.distributions as dist, jax.numpy as jnp
        >>> import bayeskit as bk
        >>> def model(y):
        ...     mu = numpyro.sample("mu", dist.Normal(0.0, 1.0))
        ...     bk.prior_factor("positive_is_likelier", jnp.where(mu > 0, 0.5, 0.0))
        ...     numpyro.sample("y", dist.Normal(mu, 1.0), obs=y)
        >>> target = bk.Target(bk.bind(model, {"y": [0.3, 1.2]}))
        >>> float(target.log_prior({"mu": jnp.array(1.0)})).__round__(4)
        -0.9189
    """
    unit = Unit(log_factor)
    numpyro.sample(name, unit, obs=unit.sample(None), infer={"is_auxiliary": True, _MARK: True})


def as_prior_factor(site: dict[str, Any]) -> None:
    """Have a site that is given its value by a handler count as prior, and not as an observation."""
    site["infer"] = {**site["infer"], "is_auxiliary": True, _MARK: True}


def is_prior_factor(site: dict[str, object]) -> bool:
    """Whether a trace's site was written by :func:`prior_factor`."""
    infer = site.get("infer")
    return isinstance(infer, dict) and bool(infer.get(_MARK))
