"""Groups of sites, each with a guide of its own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from bayeskit._settings import part, require
from bayeskit._spelling import did_you_mean
from bayeskit._typing import Array, Values
from bayeskit.errors import MethodError, ModelError
from bayeskit.inference.vi.guides.guide import SITE, Guide, Parameters, VectorGuide
from bayeskit.program.draw import draw
from bayeskit.program.runnable import WeightedProgram
from bayeskit.program.weights import number_of
from bayeskit.target import Target

__all__ = ["Block"]

Group = tuple[tuple[str, ...], VectorGuide]


@dataclass(frozen=True, init=False)
class Block(VectorGuide):
    r"""Groups of sites that are independent of each other, each with a guide of its own.

    :math:`q(z) = \prod_g q_g(z_g)`: correlations within a group are kept, those between groups are not.

    Args:
        groups: pairs of site names (or one name) and a guide for these: mean field, full or low rank, a
            mixture or a flow.
        rest: the guide of all other sites, together.

    Raises:
        MethodError: a site in two groups, or a guide that cannot be a part.
        ModelError: when the fit starts: a site that the model lacks, or one in no group.

    Example:
        >>> import bayeskit as bk
        >>> guide = bk.guides.Block((["slope", "intercept"], bk.guides.FullRank()), rest=bk.guides.MeanField())
    """

    kind: ClassVar[str] = "block"

    groups: tuple[Group, ...]
    rest: VectorGuide | None = field(metadata=part(Guide), default=None)

    def __init__(self, *groups: tuple[Sequence[str] | str, VectorGuide], rest: VectorGuide | None = None):
        pairs: list[Group] = []
        for group in groups:
            if not (isinstance(group, tuple | list) and len(group) == 2):
                raise MethodError(f"block: each group must be a pair of site names and a guide, got {group!r}")
            sites, guide = group
            pairs.append(((sites,) if isinstance(sites, str) else tuple(sites), guide))
        object.__setattr__(self, "groups", tuple(pairs))
        object.__setattr__(self, "rest", rest)
        self._check()

    @classmethod
    def from_settings(cls, settings: Mapping[str, Any]) -> Block:
        (rest_field,) = (one for one in fields(cls) if one.name == "rest")
        groups = [(sites, Guide.from_record(guide)) for sites, guide in settings.get("groups", ())]
        return cls(*groups, rest=cls._revived(rest_field, settings.get("rest")))  # type: ignore[arg-type]

    def _check(self) -> None:
        require(bool(self.groups), "groups", self.groups, "one or more pairs of site names and a guide")
        taken: set[str] = set()
        for sites, guide in self.groups:
            require(bool(sites) and all(isinstance(s, str) for s in sites), "block: sites", sites, "names of sites")
            for site in sites:
                if site in taken:
                    raise MethodError(f"block: site {site!r} is in two groups, or twice in one")
                taken.add(site)
            _check_part(guide)
        if self.rest is not None:
            _check_part(self.rest)

    def ready(self, target: Target, size: int) -> None:
        del size
        for index, guide in self._parts(target):
            guide.ready(target, len(index))

    def init(self, key: Array, target: Target, position: Array) -> Parameters:
        parts = self._parts(target)
        keys = jax.random.split(key, len(parts))
        return {
            str(number): guide.init(one, target, position[index])
            for number, (one, (index, guide)) in enumerate(zip(keys, parts, strict=True))
        }

    def program(self, parameters: Parameters, target: Target) -> WeightedProgram:
        parts = self._parts(target)
        programs = [guide.program(parameters[str(number)], target) for number, (_, guide) in enumerate(parts)]
        return BlockProgram(programs, [index for index, _ in parts])

    def _parts(self, target: Target) -> list[tuple[np.ndarray, VectorGuide]]:
        """Coordinates and guide of each group.

        Raises:
            ModelError: a site that the model lacks, or one in no group.
        """
        where = _coordinates(target)
        named = [site for sites, _ in self.groups for site in sites]
        for site in named:
            if site not in where:
                hint = did_you_mean(site, where, "the latent sites are")
                raise ModelError(f"block: {site!r} is not a latent site of the model{hint}")
        left = tuple(site for site in where if site not in named)
        if left and self.rest is None:
            raise ModelError(f"block: the sites {', '.join(map(repr, left))} are in no group; name them, or give rest=")
        groups = [*self.groups, (left, self.rest)] if left and self.rest is not None else list(self.groups)
        return [(np.concatenate([where[site] for site in sites]), guide) for sites, guide in groups]


class BlockProgram(WeightedProgram):
    """Programs that each draw some coordinates of a vector."""

    def __init__(self, programs: Sequence[WeightedProgram], coordinates: Sequence[np.ndarray]):
        self._programs, self._coordinates = programs, coordinates
        self.__name__ = "guide"

    def draw(self) -> tuple[Values, Array]:
        drawn = [draw(program) for program in self._programs]
        vector = jnp.concatenate([choices[SITE] for choices, _ in drawn])
        order = np.argsort(np.concatenate(self._coordinates))
        return {SITE: vector[order]}, _sum([number_of(log_q) for _, log_q in drawn])

    def log_density(self, choices: Values) -> Array:
        parts = zip(self._programs, self._coordinates, strict=True)
        return _sum([number_of(program.log_density({SITE: choices[SITE][index]})) for program, index in parts])

    def detached(self) -> BlockProgram:
        return BlockProgram([program.detached() for program in self._programs], self._coordinates)


def _sum(numbers: list[Array]) -> Array:
    return jnp.sum(jnp.stack(numbers))


def _check_part(guide: object) -> None:
    ok = isinstance(guide, Guide) and guide.can_be_part
    kinds = ", ".join(kind for kind, one in Guide.kinds().items() if one.can_be_part)
    require(ok, "block: the guide of a group", guide, f"one of these kinds: {kinds}")


def _coordinates(target: Target) -> dict[str, np.ndarray]:
    """Where each site lies in the unconstrained vector."""
    where, start = {}, 0
    for site in target.structure.of_kind("latent"):
        stop = start + int(np.prod(site.unconstrained_shape))
        where[site.name] = np.arange(start, stop)
        start = stop
    return where
