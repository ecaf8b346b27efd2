"""The bound of a guide with hidden choices."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from bayeskit._settings import is_whole, require
from bayeskit.inference.vi.objectives.elbo import ELBO
from bayeskit.inference.vi.objectives.importance_weighted import ImportanceWeightedELBO
from bayeskit.inference.vi.objectives.objective import Number, Objective, check_count
from bayeskit.inference.vi.programs.importance_sampling import ImportanceSampling, Proposal
from bayeskit.inference.vi.programs.marginal import marginal
from bayeskit.program import Runnable

__all__ = ["HierarchicalELBO"]


@dataclass(frozen=True)
class HierarchicalELBO(Objective):
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
        >>> import jax, numpyro, numpyro.distributions as dist
        >>> import bayeskit as bk
        >>> normal = lambda name, loc, **given: numpyro.sample(name, dist.Normal(loc, 1.0), **given)
        >>> model = lambda: normal("x", normal("z", 0.0), obs=1.2)
        >>> guide = lambda: normal("z", normal("u", 0.0))
        >>> reverse = lambda kept: lambda: normal("u", kept["z"] / 2)
        >>> bound = bk.objectives.HierarchicalELBO(["z"], reverse, num_hidden=5, num_particles=5)
        >>> jax.jit(lambda key: bk.expectation(bound)(key, model, guide))(0).shape
        ()

    Reference: Ranganath, Tran and Blei (2016), "Hierarchical variational models"; Sobolev and Vetrov (2019),
    "Importance weighted hierarchical variational inference".
    """

    kind: ClassVar[str] = "hierarchical_elbo"
    fits_model: ClassVar[bool] = True

    keep: Sequence[str]
    reverse: Proposal
    num_hidden: int = 1
    num_particles: int = 1

    def __post_init__(self) -> None:
        check_count(self.num_particles)
        require(is_whole(self.num_hidden) and self.num_hidden >= 1, "num_hidden", self.num_hidden, "a positive integer")
        ok = bool(self.keep) and not isinstance(self.keep, str) and all(isinstance(name, str) for name in self.keep)
        require(ok, "keep", self.keep, "a list of site names")
        object.__setattr__(self, "keep", tuple(self.keep))  # a list is fine, and settings are hashable
        require(
            callable(self.reverse), "reverse", self.reverse, "a function of the kept choices that returns a program"
        )

    @property
    def is_affine(self) -> bool:
        return self.num_particles == 1

    def approximation(self, guide: Runnable) -> Runnable:
        return marginal(guide, self.keep, ImportanceSampling(self.num_hidden, self.reverse))

    def __call__(self, model: Runnable, guide: Runnable) -> Number:
        bound = ELBO() if self.num_particles == 1 else ImportanceWeightedELBO(self.num_particles)
        return bound(model, self.approximation(guide))
