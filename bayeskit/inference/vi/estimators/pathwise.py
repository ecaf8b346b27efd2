"""Gradients by (implicit) reparameterisation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import jax
import jax.numpy as jnp
from numpyro.distributions import Distribution

from bayeskit._typing import Array
from bayeskit.errors import ModelError
from bayeskit.inference.vi.estimator import GradientEstimator
from bayeskit.inference.vi.estimators.implicit import implicit
from bayeskit.inference.vi.estimators.validity import as_mixture, is_reparameterised
from bayeskit.program.sites import describe

__all__ = ["Pathwise"]


@dataclass(frozen=True)
class Pathwise(GradientEstimator):
    r"""Pathwise gradients, by (implicit) reparameterisation.

    Low variance; needs a distribution whose values are a differentiable function of its parameters (normal, gamma,
    beta, Dirichlet, Student's t, ...). The default where it is valid.

    Reference: Kingma and Welling (2014); Figurnov, Mohamed and Mnih (2018) for the implicit form.
    """

    kind: ClassVar[str] = "pathwise"
    passes_values: ClassVar[bool] = True

    def check(self, site: str, distribution: Distribution) -> None:
        if not is_reparameterised(distribution):
            raise ModelError(
                f"site {site!r}: pathwise gradients do not pass {describe(distribution)}, whose values do not move "
                "smoothly with its parameters; use bayeskit.estimators.Score()"
                + (", bayeskit.estimators.Enumeration()" if distribution.has_enumerate_support else "")
            )

    def sample(self, key: Array, distribution: Distribution) -> Array:
        mixture = as_mixture(distribution)
        if mixture is None:
            return jnp.asarray(distribution.rsample(key))
        return implicit(jax.lax.stop_gradient(mixture.sample(key)), mixture)

    def record(self, key: Array, distribution: Distribution, value: Array) -> None:
        del key, distribution, value
