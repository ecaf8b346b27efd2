"""The importance-weighted bound."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

import jax
import jax.numpy as jnp

from bayeskit._typing import Array
from bayeskit.errors import ModelError
from bayeskit.inference.vi.objectives.objective import Number, Objective, check_count, first_order, known, log_weight
from bayeskit.program import Runnable, detach, draw, log_average_exp, log_density, replicate
from bayeskit.program.execution import Level, at, current_level

__all__ = ["ImportanceWeightedELBO"]


@dataclass(frozen=True)
class ImportanceWeightedELBO(Objective):
    r"""The importance-weighted bound :math:`\mathrm E \log \frac1K \sum_k w_k`.

    Args:
        num_particles: :math:`K`; the bound rises with it to :math:`\log p(y)`.
        doubly_reparameterized: the same gradient in expectation, with less noise in the guide's part, and none where
            the guide is the posterior. With the normalised weights :math:`\tilde w_k = w_k / \sum_j w_j` it is

            .. math:: \sum_k \tilde w_k^2 \, \frac{\partial \log w_k}{\partial z_k} \frac{d z_k}{d \phi}
                      \quad \text{for the guide}, \qquad
                      \sum_k \tilde w_k \, \nabla_\theta \log p_\theta(y, z_k) \quad \text{for the model},

            The choices of the guide must all be pathwise, and its parameters known: a :class:`bayeskit.Program` (see
            :func:`bayeskit.detach`). Evaluates the model twice.

    Raises:
        MethodError: an impossible setting.
        ModelError: when called, doubly reparameterised: a choice of the guide is not pathwise, or a density is
            estimated; or a second derivative is taken.

    Example:
        >>> import jax, numpyro, numpyro.distributions as dist
        >>> import bayeskit as bk
        >>> def model():
        ...     z = numpyro.sample("z", dist.Normal(0.0, 1.0))
        ...     numpyro.sample("x", dist.Normal(z, 1.0), obs=1.2)
        >>> def bound(loc):
        ...     guide = bk.bind(lambda loc: numpyro.sample("z", dist.Normal(loc, 0.5**0.5)), {"loc": loc})
        ...     return bk.objectives.ImportanceWeightedELBO(5, doubly_reparameterized=True)(model, guide)
        >>> abs(float(jax.grad(bk.expectation(bound), argnums=1)(0, 0.6))) < 1e-5  # of the posterior
        True

    Reference: Burda, Grosse and Salakhutdinov (2016), "Importance weighted autoencoders"; Tucker, Lawson, Gu and
    Maddison (2019), "Doubly reparameterized gradient estimators for Monte Carlo objectives".
    """

    kind: ClassVar[str] = "importance_weighted_elbo"
    fits_model: ClassVar[bool] = True

    num_particles: int = 8
    doubly_reparameterized: bool = field(default=False, kw_only=True)

    def __post_init__(self) -> None:
        check_count(self.num_particles)

    def __call__(self, model: Runnable, guide: Runnable) -> Number:
        if self.doubly_reparameterized:
            return _doubly_reparameterized(self.num_particles, model, guide)
        return log_average_exp(self.num_particles, lambda: log_weight(model, guide))


def _doubly_reparameterized(num_particles: int, model: Runnable, guide: Runnable) -> Array:
    """The bound, with the gradient of `ImportanceWeightedELBO` in its doubly reparameterised form."""
    name = "the doubly reparameterised gradient"

    def one() -> tuple[Array, Array]:
        level = current_level(name)
        choices, log_q = draw(guide)
        for choice in level.choices.values():
            if not choice.estimator.passes_values:
                raise ModelError(
                    f"site {choice.site!r}: {name} would be biased by a choice of the guide that is not pathwise; use "
                    "bayeskit.estimators.Pathwise() there, or doubly_reparameterized=False"
                )
        known(log_q, name, "doubly_reparameterized=False")
        fixed = detach(guide)
        path = level.next_path("weight")

        def log_w(values: dict[str, Array]) -> Array:
            # a level of its own each time, at one address: subsampling plates of the model take the same rows twice
            with at(Level(level.key, path, {}, level.choose, is_draw=False)):
                log_p = known(log_density(model, values), name, "doubly_reparameterized=False")
                return log_p - known(log_density(fixed, values), name, "doubly_reparameterized=False")

        return log_w(choices), log_w(jax.lax.stop_gradient(choices))

    moved, still = replicate(
        num_particles, one
    )  # equal; gradients of `moved` pass the choices, those of `still` do not
    share = jax.lax.stop_gradient(jax.nn.softmax(moved))
    slope = jnp.sum(share * still + share**2 * (moved - still))
    bound = jax.nn.logsumexp(jax.lax.stop_gradient(moved)) - jnp.log(num_particles)
    return bound + first_order(slope - jax.lax.stop_gradient(slope), name)
