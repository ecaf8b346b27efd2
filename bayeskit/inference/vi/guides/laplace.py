r"""A normal distribution around the posterior mode, with the inverse of the Hessian as covariance."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
from numpyro.distributions import Distribution

from bayeskit._settings import is_whole, require
from bayeskit._typing import Array
from bayeskit.errors import ModelError
from bayeskit.inference.no_mode import complaint, inverse_root
from bayeskit.inference.vi.guides.full_rank import FullRank, natural_step
from bayeskit.inference.vi.guides.guide import NormalGuide, Parameters
from bayeskit.numerics.mode import Mode, find_mode
from bayeskit.target import Target

__all__ = ["Laplace"]


@dataclass(frozen=True)
class Laplace(NormalGuide):
    r"""The Laplace approximation, :math:`z \sim N(m, H^{-1})`, as a guide.

    :math:`m` is the mode of the log density over the unconstrained vector (the Jacobians of the transformations
    included), :math:`H` the negative Hessian there. Each fit looks for the mode from its own starting point, by
    L-BFGS and then Newton's method. Several modes are found by several fits (``num_chains``).

    With ``VI(num_steps=0)`` the approximation is drawn from as it is. Otherwise the optimisation starts there and
    goes on in the coordinates in which the approximation is a standard normal distribution:
    :math:`z = m + H^{-1/2} u` with :math:`u` full rank. It is then a :class:`bayeskit.guides.FullRank` guide for which
    neither the units nor the correlations of the parameters matter.

    Args:
        max_iterations: of L-BFGS.

    Raises:
        ModelError: when the fit starts: the search did not reach a mode, or the Hessian is not positive definite there
            (a flat or an unbounded direction); the message names the site.

    Example:
        >>> import numpyro, numpyro.distributions as dist
        >>> import bayeskit as bk
        >>> def model(y):
        ...     mu = numpyro.sample("mu", dist.Normal(0.0, 10.0))
        ...     numpyro.sample("y", dist.Normal(mu, 1.0).expand([3]).to_event(1), obs=y)
        >>> method = bk.VI(guide=bk.guides.Laplace(), num_steps=0)
        >>> post = bk.infer(model, {"y": [1.2, 0.7, 1.9]}, method, key=0, progress=False)
        >>> bool(abs(post["posterior/mu"].mean() - 3.8 / 3.01) < 0.1)
        True

    Reference: Tierney and Kadane (1986), "Accurate approximations for posterior moments and marginal densities".
    """

    kind: ClassVar[str] = "laplace"
    has_natural_gradient: ClassVar[bool] = True
    prepares: ClassVar[bool] = True

    max_iterations: int = 1000

    def __post_init__(self) -> None:
        ok = is_whole(self.max_iterations) and self.max_iterations >= 1
        require(ok, "max_iterations", self.max_iterations, "a positive integer")

    def init(self, key: Array, target: Target, position: Array) -> Parameters:
        whitened = FullRank(init_scale=1.0).init(key, target, jnp.zeros_like(position))
        return {"centre": position, "root": jnp.eye(position.shape[0], dtype=position.dtype), **whitened}

    def prepare(self, parameters: Parameters, target: Target) -> tuple[Parameters, Mode]:
        """Parameters where the search for the mode has ended."""
        mode = find_mode(
            lambda position: target.log_density(target.unravel(position)),
            parameters["centre"],
            lbfgs_steps=self.max_iterations,
        )
        return {**parameters, "centre": mode.position, "root": inverse_root(mode.precision)}, mode

    def check_prepared(self, found: Mode, target: Target) -> None:
        """Refuse what is no mode; what the search has found has a leading axis of fits.

        Raises:
            ModelError: the search stopped before the mode, or the density has no peak there.
        """
        for fit in np.flatnonzero(~np.asarray(found.is_mode)):
            one = jax.tree.map(lambda leaf, fit=fit: leaf[fit], found)
            advice = "start elsewhere (init=), reparameterise, or use bayeskit.guides.FullRank()"
            raise ModelError(f"the Laplace guide: fit {fit}: {complaint(target, one, advice)}")

    def natural_step(self, parameters: Parameters, gradient: Parameters, rate: Array | float) -> Parameters:
        return natural_step(parameters, gradient, rate)

    def distribution(self, parameters: Parameters) -> Distribution:
        centre, root = jax.lax.stop_gradient((parameters["centre"], parameters["root"]))
        inner = FullRank().distribution(parameters)
        return dist.MultivariateNormal(centre + root @ inner.loc, scale_tril=root @ inner.scale_tril)
