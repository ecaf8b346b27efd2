"""What a reparameterisation (``numpyro.handlers.reparam``) has made of a site, and which values are angles.

Where a site is reparameterised, the model sees a deterministic value in its place, computed from *auxiliary* sites.
Most of these determine the site one to one. Some do not, and then several of their values mean the same: a circle, a
sphere or a torus is no image of a real space without its points being met more than once (an angle is on a line once
for every winding), and auxiliary sites with more coordinates than the site they stand for have directions to spare.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from types import FrameType
from typing import TYPE_CHECKING, Any

from numpyro import handlers
from numpyro.distributions import biject_to, constraints

if TYPE_CHECKING:
    from bayeskit.target.sites import SiteFacts

_REPARAM = handlers.reparam.process_message.__code__


@dataclass(frozen=True, eq=False)
class Made:
    """That a site was made while another was being reparameterised.

    Attributes:
        message: of the site that was made. Handlers further out may still rename it, and the other.
        of: the message of the other.
        support: of the other, before it became deterministic.
        by: the reparameterisation.
    """

    message: dict[str, Any]
    of: dict[str, Any]
    support: Any
    by: object


def made_within(message: dict[str, Any], frame: FrameType | None) -> list[Made]:
    """The reparameterisations that are under way around a message, innermost first.

    NumPyro does not say what a reparameterisation makes: it calls ``numpyro.sample`` again, from inside the handler, so
    that the calls under way are the only witnesses.
    """
    found = []
    while frame is not None:
        if frame.f_code is _REPARAM and (by := frame.f_locals.get("reparam")) is not None:
            of = frame.f_locals["msg"]
            found.append(Made(message, of, of["fn"].support, by))
        frame = frame.f_back
    return found


def is_circular(support: Any) -> bool:
    """Whether values are angles."""
    return isinstance(_one(support), type(constraints.circular))


def with_reparameterisations(sites: Sequence[SiteFacts], made: Sequence[Made]) -> list[SiteFacts]:
    """The facts of sites, and of which of them are angles or redundant auxiliary sites."""
    facts = {site.name: site for site in sites}
    made = [one for one in made if one.message.get("name") in facts and one.of["name"] in facts]
    redundant = {id(one.by) for one in made if _has_spare(facts, made, one.by)}
    for one in made:
        name, of = one.message["name"], one.of["name"]
        if is_circular(one.support):
            facts[of] = replace(facts[of], circular=True)
        if facts[name].kind in ("latent", "deterministic") and (_is_closed(one.support) or id(one.by) in redundant):
            facts[name] = replace(facts[name], auxiliary_of=of)
    return list(facts.values())


def _has_spare(facts: dict[str, SiteFacts], made: Sequence[Made], by: object) -> bool:
    """Whether the latent sites that one reparameterisation has made have more coordinates than those it replaces."""
    inside = [one for one in made if one.by is by]
    latent = {one.message["name"] for one in inside if facts[one.message["name"]].kind == "latent"}
    try:
        replaced = {
            one.of["name"]: math.prod(biject_to(one.support).inverse_shape(facts[one.of["name"]].shape))
            for one in inside
        }
    except NotImplementedError:  # a support with coordinates that nobody knows
        return False
    return sum(math.prod(facts[name].unconstrained_shape) for name in latent) > sum(replaced.values())


def _is_closed(support: Any) -> bool:
    """Whether a support has no end and is bounded: circles, tori, spheres."""
    return is_circular(support) or isinstance(_one(support), type(constraints.sphere))


def _one(support: Any) -> Any:
    while isinstance(support, constraints.independent):
        support = support.base_constraint
    return support
