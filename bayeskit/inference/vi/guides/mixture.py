r"""Mixtures of normal distributions."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpyro.distributions as dist

from bayeskit._settings import is_number, is_whole, part, require
from bayeskit._typing import Array, Values
from bayeskit.inference.vi.estimators.score import Score
from bayeskit.inference.vi.guides.guide import SITE, Guide, NormalGuide, Parameters, VectorGuide
from bayeskit.program.draw import choose
from bayeskit.program.execution import Estimator, current_level
from bayeskit.program.runnable import WeightedProgram
from bayeskit.target import Target

__all__ = ["Mixture"]


@dataclass(frozen=True)
class Mixture(VectorGuide):
    r"""A mixture of normal distributions, :math:`q(z) = \sum_k \pi_k\, N(z; m_k, \Sigma_k)`.

    The log density is exact. A draw is one of a component and then of its normal distribution: gradients pass the
    second by its path, and the first by an estimator for discrete choices, so those of the weights are right too.

    Args:
        guide: the family of the components: :class:`bayeskit.guides.MeanField`, :class:`bayeskit.guides.FullRank`,
            :class:`bayeskit.guides.LowRank`.
        num_components: how many.
        spread: standard deviation of the centres at the start, around the starting point (in unconstrained units).
        estimator: how gradients pass the choice of the component. By default
            :class:`bayeskit.estimators.Score`, whose variance is reduced by the other particles of the objective;
            :class:`bayeskit.estimators.Enumeration` is exact, for objectives with one particle (it runs every
            combination of components).

    Raises:
        MethodError: an impossible setting.

    Example:
        >>> import bayeskit as bk
        >>> method = bk.VI(guide=bk.guides.Mixture(bk.guides.FullRank(), 3), objective=bk.objectives.ELBO(16))

    Reference: Morningstar, Vikram, Ham, Gallagher and Dillon (2021), "Automatic differentiation variational inference
    with mixtures".
    """

    kind: ClassVar[str] = "mixture"
    can_be_part: ClassVar[bool] = True

    guide: NormalGuide = field(metadata=part(Guide))
    num_components: int
    spread: float = 1.0
    estimator: Estimator = field(metadata=part(Estimator), default_factory=Score)

    def __post_init__(self) -> None:
        ok = isinstance(self.guide, Guide) and self.guide.is_normal and self.guide.can_be_part
        require(ok, "mixture: guide", self.guide, "a normal one, such as bayeskit.guides.FullRank()")
        count = self.num_components
        require(is_whole(count) and count >= 2, "num_components", count, "an integer of at least 2")
        require(is_number(self.spread) and self.spread > 0, "spread", self.spread, "a positive number")
        ok = getattr(self.estimator, "takes_discrete", False)
        require(ok, "estimator", self.estimator, "one for discrete choices, such as bayeskit.estimators.Score()")

    def init(self, key: Array, target: Target, position: Array) -> Parameters:
        count = self.num_components
        noise = jax.random.normal(key, (count - 1, position.shape[0]), position.dtype)
        centres = position + self.spread * jnp.concatenate([jnp.zeros_like(position)[None], noise])
        components = jax.vmap(lambda centre: self.guide.init(key, target, centre))(centres)
        return {"logits": jnp.zeros((count,), position.dtype), "components": components}

    def program(self, parameters: Parameters, target: Target) -> WeightedProgram:
        del target
        return MixtureProgram(self, parameters)


class MixtureProgram(WeightedProgram):
    """A mixture at its parameters."""

    def __init__(self, settings: Mixture, parameters: Parameters):
        self._settings, self._parameters = settings, parameters
        self.__name__ = "guide"

    def draw(self) -> tuple[Values, Array]:
        level = current_level("the guide")
        weights = dist.Categorical(logits=self._parameters["logits"])
        chosen = choose(level, "component", weights, self._settings.estimator)
        parameters = jax.tree.map(lambda leaf: leaf[chosen], self._parameters["components"])
        value = choose(level, SITE, self._settings.guide.distribution(parameters), None)
        return {SITE: value}, self.log_density({SITE: value})

    def log_density(self, choices: Values) -> Array:
        def component(parameters: Parameters) -> Array:
            return jnp.asarray(self._settings.guide.distribution(parameters).log_prob(choices[SITE]))

        log_weights = jax.nn.log_softmax(self._parameters["logits"])
        return jax.nn.logsumexp(log_weights + jax.vmap(component)(self._parameters["components"]))

    def detached(self) -> MixtureProgram:
        return MixtureProgram(self._settings, jax.lax.stop_gradient(self._parameters))
