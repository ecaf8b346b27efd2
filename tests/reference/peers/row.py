"""What is known of a model of the gallery, and the words in which something is refused."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, eq=False)
class PeerModel:
    """A model as NumPyro's users write it.

    Attributes:
        name: the name of the example, and which of its models.
        model: the NumPyro function.
        data: its arguments.
        note: one line for the table of the documentation.
        observed: its observed sites, and the factors of its likelihood.
        element: what one element of the log likelihood is; ``None`` where observations cannot be left out one by one.
        refusal: if so, what is said when the log likelihood is asked for.
        not_predicted: what is said when predictions are asked for and observations share a discrete site.
        not_drawn: what is said when this site is to be drawn from its posterior for them, if it cannot be.
        init: where chains start. Of several modes with the same density, such as relabelled states, all start in one.
        target_accept: of both samplers.
        compared: the sites whose means are compared with NumPyro's; all by default.
        is_hard: whether no step size is right for all of the posterior, so that the verdict must be bad.
        stand_in: a model with the same density, where NumPyro cannot take the model itself.
    """

    name: str
    model: Callable[..., None]
    data: Mapping[str, object]
    note: str
    observed: tuple[str, ...]
    element: str | None = None
    refusal: str | None = None
    not_predicted: str | None = None
    not_drawn: str | None = None
    init: Mapping[str, np.ndarray] | None = None
    target_accept: float = 0.8
    compared: tuple[str, ...] | None = None
    is_hard: bool = False
    stand_in: Callable[..., None] | None = None


# ---- what is refused -------------------------------------------------------------------------------------------------


def in_other_plates(*discrete: str) -> str:
    return (
        f"the discrete sites {sorted(discrete)} and the observations ['annotation'] that depend on them are not in the "
        "same plates, so there is no exact density for each observation; sum the discrete sites out by hand"
    )


def continuous(site: str) -> str:
    return f"site {site!r}: a scaled or continuous site that depends on a discrete one has no exact per-element density"


def along_a_scan(*discrete: str) -> str:
    return (
        f"the discrete sites {list(discrete)} may be part of a scan, where observations are dependent: there is no "
        "exact density for each observation, nor a split into prior and likelihood"
    )


def shared(site: str) -> str:
    return (
        f"the discrete latent site {site!r} was summed out, and observations share it, so it cannot be drawn from its "
        "prior; pass discrete='sample', here or to bayeskit.infer"
    )


SEVERAL_IN_A_SCAN = (
    "discrete='sample': the sites ['first', 'second'] follow each other in a scan in a way whose joint draws are not "
    "known here (several sites, no dependence on the step before, or on more than one); use discrete='probabilities'"
)
A_FACTOR = (
    "factor 'later_words' enters the likelihood as one number, so there is no log likelihood of each observation; "
    "write it as numpyro.sample(..., obs=...), or as bayeskit.prior_factor if it belongs to the prior"
)
ONE_EVENT = (
    "observed site 'y' (MultivariateNormal) is one event of 20 numbers, so there is no log likelihood of each; put "
    "independent observations in a plate"
)
