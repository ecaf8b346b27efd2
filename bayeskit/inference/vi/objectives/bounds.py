r"""Lower bounds on :math:`\log p(y)`.

Where :math:`w = p(y, z) / q(z)` with :math:`z \sim q`, and :math:`K` is the number of particles.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import jax
import jax.numpy as jnp

from bayeskit._errors import ModelError
from bayeskit._typing import Array
from bayeskit.inference.method import is_number, is_whole, require
from bayeskit.inference.vi.estimators import Pathwise
from bayeskit.inference.vi.marginal import Proposal, importance, marginal
from bayeskit.inference.vi.objectives.objective import Number, Objective, check_count, first_order, known, log_weight
from bayeskit.program import Runnable, average, detach, draw, log_average_exp, log_density, replicate
from bayeskit.program.execution import Level, at, current_level

__all__ = [
    "ELBO",
    "HierarchicalELBO",
    "ImportanceWeightedELBO",
    "RenyiBound",
    "TemperedELBO",
    "elbo",
    "hierarchical_elbo",
    "importance_weighted_elbo",
    "renyi_bound",
    "tempered_elbo",
]


@dataclass(frozen=True)
class ELBO(Objective):
    """See :func:`elbo`."""

    num_particles: int = 1
    sticking_the_landing: bool = False

    def __post_init__(self) -> None:
        check_count(self.num_particles)

    @property
    def is_affine(self) -> bool:
        return True

    def __call__(self, model: Runnable, guide: Runnable) -> Number:
        one = lambda: log_weight(model, guide, sticking_the_landing=self.sticking_the_landing)  # noqa: E731
        return one() if self.num_particles == 1 else average(self.num_particles, one)


@dataclass(frozen=True)
class ImportanceWeightedELBO(Objective):
    """See :func:`importance_weighted_elbo`."""

    num_particles: int
    doubly_reparameterized: bool = False

    def __post_init__(self) -> None:
        check_count(self.num_particles)

    def __call__(self, model: Runnable, guide: Runnable) -> Number:
        if self.doubly_reparameterized:
            return _doubly_reparameterized(self.num_particles, model, guide)
        return log_average_exp(self.num_particles, lambda: log_weight(model, guide))


@dataclass(frozen=True)
class RenyiBound(Objective):
    """See :func:`renyi_bound`."""

    alpha: float
    num_particles: int

    def __post_init__(self) -> None:
        check_count(self.num_particles)
        require(is_number(self.alpha) and 0 <= self.alpha < 1, "alpha", self.alpha, "a number in [0, 1)")

    def __call__(self, model: Runnable, guide: Runnable) -> Number:
        power = 1.0 - self.alpha
        return log_average_exp(self.num_particles, lambda: log_weight(model, guide) * power) / power


@dataclass(frozen=True)
class TemperedELBO(Objective):
    """See :func:`tempered_elbo`."""

    temperature: float
    num_particles: int = 1
    annealed: float = 0.0

    def __post_init__(self) -> None:
        check_count(self.num_particles)
        require(is_number(self.temperature) and self.temperature > 0, "temperature", self.temperature, "positive")
        require(is_number(self.annealed) and 0 <= self.annealed <= 1, "annealed", self.annealed, "in [0, 1]")

    @property
    def is_affine(self) -> bool:
        return True

    def at(self, progress: Array) -> Objective:
        return Annealing(self, jnp.asarray(progress)) if self.annealed else self

    def __call__(self, model: Runnable, guide: Runnable) -> Number:
        return self.tempered(float(self.temperature), model, guide)

    def tempered(self, temperature: float | Array, model: Runnable, guide: Runnable) -> Number:
        """At a temperature; where that is an array, the density of the guide must be known."""

        def one() -> Number:
            choices, log_q = draw(guide)
            if not isinstance(temperature, float):
                return log_density(model, choices) - temperature * known(log_q, "an annealed bound", "a constant one")
            return log_density(model, choices) - log_q * temperature

        return one() if self.num_particles == 1 else average(self.num_particles, one)


@dataclass(frozen=True)
class Annealing(Objective):
    """A tempered bound at some point of a fit."""

    tempered: TemperedELBO
    progress: Array

    def __call__(self, model: Runnable, guide: Runnable) -> Number:
        left = jnp.maximum(0.0, 1.0 - self.progress / self.tempered.annealed)
        return self.tempered.tempered(1.0 + (self.tempered.temperature - 1.0) * left, model, guide)


@dataclass(frozen=True)
class HierarchicalELBO(Objective):
    """See :func:`hierarchical_elbo`."""

    keep: tuple[str, ...]
    reverse: Proposal
    num_hidden: int = 1
    num_particles: int = 1

    def __post_init__(self) -> None:
        check_count(self.num_particles)
        require(is_whole(self.num_hidden) and self.num_hidden >= 1, "num_hidden", self.num_hidden, "a positive integer")
        ok = bool(self.keep) and all(isinstance(name, str) for name in self.keep)
        require(ok, "keep", self.keep, "a list of site names")
        require(
            callable(self.reverse), "reverse", self.reverse, "a function of the kept choices that returns a program"
        )

    @property
    def is_affine(self) -> bool:
        return self.num_particles == 1

    def approximation(self, guide: Runnable) -> Runnable:
        return marginal(guide, self.keep, importance(self.num_hidden, self.reverse))

    def __call__(self, model: Runnable, guide: Runnable) -> Number:
        bound = ELBO() if self.num_particles == 1 else ImportanceWeightedELBO(self.num_particles)
        return bound(model, self.approximation(guide))


def elbo(num_particles: int = 1, *, sticking_the_landing: bool = False) -> ELBO:
    r"""The evidence lower bound :math:`\mathrm E_q[\log p(y, z) - \log q(z)]`.

    Args:
        num_particles: how many draws are averaged; with two or more, score estimators take the others as baseline.
        sticking_the_landing: see :func:`bayeskit.log_weight`.

    Raises:
        MethodError: an impossible setting.

    Example:
        >>> import numpyro, numpyro.distributions as dist
        >>> import bayeskit as bk
        >>> def model():
        ...     z = numpyro.sample("z", dist.Normal(0.0, 1.0))
        ...     numpyro.sample("x", dist.Normal(z, 1.0), obs=1.2)
        >>> posterior = lambda: numpyro.sample("z", dist.Normal(0.6, 0.5**0.5))
        >>> round(float(bk.expectation(bk.elbo())(0, model, posterior)), 4)
        -1.6255

    Reference: Jordan, Ghahramani, Jaakkola and Saul (1999).
    """
    return ELBO(num_particles, sticking_the_landing)


def importance_weighted_elbo(num_particles: int, *, doubly_reparameterized: bool = False) -> ImportanceWeightedELBO:
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
        ...     return bk.importance_weighted_elbo(5, doubly_reparameterized=True)(model, guide)
        >>> abs(float(jax.grad(bk.expectation(bound), argnums=1)(0, 0.6))) < 1e-5  # of the posterior
        True

    Reference: Burda, Grosse and Salakhutdinov (2016), "Importance weighted autoencoders"; Tucker, Lawson, Gu and
    Maddison (2019), "Doubly reparameterized gradient estimators for Monte Carlo objectives".
    """
    return ImportanceWeightedELBO(num_particles, doubly_reparameterized)


def renyi_bound(alpha: float, num_particles: int) -> RenyiBound:
    r"""The Rényi bound :math:`\frac{1}{1 - \alpha} \mathrm E \log \frac1K \sum_k w_k^{1 - \alpha}`.

    Args:
        alpha: in [0, 1); 0 gives the importance-weighted bound, and towards 1 it becomes the ELBO.
        num_particles: :math:`K`.

    Raises:
        MethodError: an impossible setting.

    Reference: Li and Turner (2016), "Rényi divergence variational inference", equation 14.
    """
    return RenyiBound(alpha, num_particles)


def tempered_elbo(temperature: float, num_particles: int = 1, *, annealed: float = 0.0) -> TemperedELBO:
    r"""The ELBO with its entropy scaled, :math:`\mathrm E_q[\log p(y, z) - T \log q(z)]`.

    A bound for :math:`T = 1` only.

    Args:
        temperature: :math:`T`; above 1 the guide is wider, which helps at the start.
        num_particles: how many draws are averaged.
        annealed: the share of the steps of :class:`bayeskit.VI` in which :math:`T` falls linearly to 1, after which the
            objective is the ELBO (deterministic annealing); 0 keeps :math:`T` as it is.

    Raises:
        MethodError: an impossible setting.

    Reference: Mandt, McInerney, Abrol, Ranganath and Blei (2016), "Variational tempering".
    """
    return TemperedELBO(temperature, num_particles, annealed)


def hierarchical_elbo(
    keep: Sequence[str], reverse: Proposal, num_hidden: int = 1, num_particles: int = 1
) -> HierarchicalELBO:
    r"""The bound of a guide with hidden choices :math:`u`, whose density :math:`q(z) = \int q(u, z)\,du` is estimated.

    .. math:: \mathrm E \log \frac1K \sum_{k=1}^K \frac{p(y, z_k)}{\frac1m \sum_{i=1}^m q(u_{ki}, z_k) / r(u_{ki} \mid
              z_k)}, \qquad (u_{k1}, z_k) \sim q, \; u_{ki} \sim r(\cdot \mid z_k) \text{ for } i > 1.

    It is a lower bound of :math:`\log p(y)` for every :math:`m` and :math:`K`, and rises with both. With :math:`m = K =
    1` it is that of the hierarchical variational model (HVI), with :math:`K = 1` the importance-weighted one (IWHVI),
    otherwise the doubly importance-weighted one (DIWHVI). The guide is the program with its hidden choices, of which
    :func:`bayeskit.marginal` is taken here.

    Args:
        keep: names of the sites :math:`z`.
        reverse: a function of the kept choices (a mapping) that returns a program which draws the hidden ones,
            :math:`r(u \mid z)`.
        num_hidden: :math:`m`.
        num_particles: :math:`K`.

    Raises:
        MethodError: an impossible setting.

    Example:
        >>> import numpyro, numpyro.distributions as dist
        >>> import bayeskit as bk
        >>> normal = lambda name, loc, **given: numpyro.sample(name, dist.Normal(loc, 1.0), **given)
        >>> model = lambda: normal("x", normal("z", 0.0), obs=1.2)
        >>> guide = lambda: normal("z", normal("u", 0.0))
        >>> reverse = lambda kept: lambda: normal("u", kept["z"] / 2)
        >>> bound = bk.hierarchical_elbo(["z"], reverse, num_hidden=5, num_particles=5)
        >>> bk.expectation(bound)(0, model, guide).shape
        ()

    Reference: Ranganath, Tran and Blei (2016), "Hierarchical variational models"; Sobolev and Vetrov (2019),
    "Importance weighted hierarchical variational inference".
    """
    require(not isinstance(keep, str), "keep", keep, "a list of site names")
    return HierarchicalELBO(tuple(keep), reverse, num_hidden, num_particles)


def _doubly_reparameterized(num_particles: int, model: Runnable, guide: Runnable) -> Array:
    """See :func:`importance_weighted_elbo`."""
    name = "the doubly reparameterised gradient"

    def one() -> tuple[Array, Array]:
        level = current_level(name)
        choices, log_q = draw(guide)
        for choice in level.choices.values():
            if not isinstance(choice.estimator, Pathwise):
                raise ModelError(
                    f"site {choice.site!r}: {name} would be biased by a choice of the guide that is not pathwise; use "
                    "bayeskit.pathwise() there, or doubly_reparameterized=False"
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
