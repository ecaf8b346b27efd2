"""What a user may give as the law of the scale, and which `Scale` that is."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
from numpyro.distributions import constraints

from bayeskit.errors import ModelError
from bayeskit.models.nngp.mixtures.inverse_gamma import InverseGammaScale
from bayeskit.models.nngp.mixtures.scale import ConjugateScale, FixedScale, IntegratedScale, Scale
from bayeskit.models.nngp.tracing import is_traced

__all__ = ["CONJUGATE", "as_scale"]

CONJUGATE: dict[type[dist.Distribution], type[ConjugateScale]] = {dist.InverseGamma: InverseGammaScale}
"""The conjugate families: a row each."""


def as_scale(scale_prior: object) -> Scale:
    """The scale with this law.

    Raises:
        ModelError: neither a scalar distribution on positive numbers nor a positive number.
    """
    if isinstance(scale_prior, dist.Distribution):
        _check_law(scale_prior)
        families = (CONJUGATE[kind] for kind in type(scale_prior).__mro__ if kind in CONJUGATE)
        family = next(families, None)
        return IntegratedScale(scale_prior) if family is None else family(scale_prior)
    if not isinstance(scale_prior, float | int | np.ndarray | np.generic | jax.Array) or isinstance(scale_prior, bool):
        raise ModelError(
            f"scale_prior must be a NumPyro distribution on positive numbers or a positive number, "
            f"got {type(scale_prior).__name__}"
        )
    number = jnp.asarray(scale_prior, float)
    if number.ndim:
        raise ModelError(f"scale_prior must be one number, got shape {number.shape}")
    if not is_traced(number) and not 0 < float(number) < np.inf:
        raise ModelError(f"scale_prior must be positive and finite, got {float(number)}")
    return FixedScale(number)


def _check_law(law: dist.Distribution) -> None:
    if law.batch_shape or law.event_shape:
        raise ModelError(
            f"scale_prior must be the law of one number, got batch shape {law.batch_shape} and event shape "
            f"{law.event_shape}; all outputs share one scale"
        )
    if law.is_discrete or not _is_positive(law.support):
        raise ModelError(
            f"scale_prior must have a density on positive numbers, got {type(law).__name__} with support "
            f"{law.support}; use InverseGamma, HalfCauchy, LogNormal, BurrXII, ..., or a positive number"
        )


def _is_positive(support: constraints.Constraint) -> bool:
    if support in (constraints.positive, constraints.nonnegative):
        return True
    least = getattr(support, "lower_bound", None)
    return least is not None and (is_traced(least) or bool(np.all(np.asarray(least) >= 0)))
