"""Normalising flows, by flowjax."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpyro.distributions as dist

from bayeskit._settings import check_choice, is_whole, require
from bayeskit._typing import Array, Values
from bayeskit.errors import MethodError, ModelError
from bayeskit.inference.vi.guides.guide import SITE, Parameters, VectorGuide, check_scale
from bayeskit.program.draw import choose
from bayeskit.program.execution import current_level
from bayeskit.program.runnable import WeightedProgram
from bayeskit.target import Target

__all__ = ["Flow"]

ARCHITECTURES = ("masked_autoregressive", "coupling")
NEAR_IDENTITY = 0.1
"""What the last layer of each network is multiplied by at the start."""


@dataclass(frozen=True)
class Flow(VectorGuide):
    r"""A normalising flow: :math:`z = m + s \odot T_n(\cdots T_1(\varepsilon))` with :math:`\varepsilon \sim N(0, I)`.

    Each layer :math:`T_i` is affine in every coordinate, with shift and scale from a network of the coordinates before
    it, followed by a permutation. At the start the layers are near the identity.

    Needs flowjax: ``pip install "bayeskit[flows]"``.

    Args:
        architecture: ``"masked_autoregressive"``: shift and scale from all coordinates before; or ``"coupling"``: those
            of one half from the other half, whose inverse is as cheap as the transformation itself.
        num_layers: number of layers.
        width: of the networks' hidden layers.
        depth: number of hidden layers.
        init_scale: standard deviation at the start.

    Raises:
        MethodError: an impossible setting, or flowjax is not installed.
        ModelError: when the fit starts: fewer than two unconstrained coordinates.

    Example:
        >>> import bayeskit as bk
        >>> method = bk.VI(guide=bk.guides.Flow("coupling", num_layers=6), learning_rate=0.003)

    Reference: Papamakarios, Pavlakou and Murray (2017), "Masked autoregressive flow for density estimation", used in
    the direction of Kingma et al. (2016), "Improved variational inference with inverse autoregressive flow"; Dinh,
    Sohl-Dickstein and Bengio (2017), "Density estimation using real NVP".
    """

    kind: ClassVar[str] = "flow"
    can_be_part: ClassVar[bool] = True

    architecture: str = "masked_autoregressive"
    num_layers: int = 4
    width: int = 32
    depth: int = 1
    init_scale: float = 0.1

    def __post_init__(self) -> None:
        check_choice("architecture", self.architecture, ARCHITECTURES)
        for name in ("num_layers", "width", "depth"):
            value = getattr(self, name)
            require(is_whole(value) and value >= 1, name, value, "a positive integer")
        check_scale(self.init_scale)
        _flowjax()

    def ready(self, target: Target, size: int) -> None:
        del target
        if size < 2:
            raise ModelError(
                "a flow needs two coordinates or more; use bayeskit.guides.FullRank() or bayeskit.guides.Mixture(...)"
            )
        _template(self, size, str(jnp.zeros(()).dtype))

    def init(self, key: Array, target: Target, position: Array) -> Parameters:
        del target
        networks = jax.tree.leaves(_template(self, position.shape[0], str(position.dtype))[0])
        keys = jax.random.split(key, len(networks))
        networks = [
            leaf + NEAR_IDENTITY * jax.random.normal(one, leaf.shape, leaf.dtype)
            for one, leaf in zip(keys, networks, strict=True)
        ]
        return {"loc": position, "log_scale": jnp.full_like(position, jnp.log(self.init_scale)), "networks": networks}

    def program(self, parameters: Parameters, target: Target) -> WeightedProgram:
        del target
        return FlowProgram(self, parameters)


class FlowProgram(WeightedProgram):
    """A flow at its parameters; draws the noise that it transforms."""

    def __init__(self, settings: Flow, parameters: Parameters):
        self._settings, self._parameters = settings, parameters
        self.__name__ = "guide"

    def draw(self) -> tuple[Values, Array]:
        loc, log_scale = self._parameters["loc"], self._parameters["log_scale"]
        normal = self._noise()
        noise = choose(current_level("the guide"), "noise", normal, None)
        inner, log_det = self._bijection().transform_and_log_det(noise)
        log_q = normal.log_prob(noise) - log_det - jnp.sum(log_scale)
        return {SITE: loc + jnp.exp(log_scale) * inner}, jnp.asarray(log_q)

    def log_density(self, choices: Values) -> Array:
        loc, log_scale = self._parameters["loc"], self._parameters["log_scale"]
        noise, log_det = self._bijection().inverse_and_log_det((choices[SITE] - loc) * jnp.exp(-log_scale))
        return jnp.asarray(self._noise().log_prob(noise) + log_det - jnp.sum(log_scale))

    def detached(self) -> FlowProgram:
        return FlowProgram(self._settings, jax.lax.stop_gradient(self._parameters))

    def _noise(self) -> Any:
        loc = self._parameters["loc"]
        return dist.Normal(jnp.zeros_like(loc), jnp.ones_like(loc)).to_event(1)

    def _bijection(self) -> Any:
        from paramax import unwrap

        loc = self._parameters["loc"]
        arrays, rest = _template(self._settings, loc.shape[0], str(loc.dtype))
        networks = jax.tree.unflatten(jax.tree.structure(arrays), self._parameters["networks"])
        return unwrap(eqx.combine(networks, rest)).bijection


@cache
def _template(settings: Flow, size: int, dtype: str) -> tuple[Any, Any]:
    """Arrays of the networks of a flow, and its rest: masks, permutations and functions.

    Made before anything is traced, since flowjax checks values while it builds.
    """
    del dtype  # the precision under way
    return eqx.partition(_build(settings, size), eqx.is_inexact_array)


def _build(settings: Flow, size: int) -> Any:
    distributions, flows = _flowjax()
    make = flows.coupling_flow if settings.architecture == "coupling" else flows.masked_autoregressive_flow
    made = make(
        jax.random.key(0),
        base_dist=distributions.StandardNormal((size,)),
        flow_layers=settings.num_layers,
        nn_width=settings.width,
        nn_depth=settings.depth,
        nn_activation=jax.nn.gelu,  # smooth, so that the density is
        invert=False,  # drawing is the fast direction
    )

    def calm(leaf: Any) -> Any:
        if not isinstance(leaf, eqx.nn.MLP):
            return leaf
        small = jax.tree.map(lambda x: NEAR_IDENTITY * x if eqx.is_inexact_array(x) else x, leaf.layers[-1])
        return eqx.tree_at(lambda mlp: mlp.layers[-1], leaf, small)

    return jax.tree.map(calm, made, is_leaf=lambda leaf: isinstance(leaf, eqx.nn.MLP))


def _flowjax() -> tuple[Any, Any]:
    try:
        from flowjax import distributions, flows
    except ImportError:
        raise MethodError('bayeskit.guides.Flow needs flowjax: pip install "bayeskit[flows]"') from None
    return distributions, flows
