"""Guides, objectives and estimators as plain data, for the record of a run and for run files."""

from __future__ import annotations

import dataclasses
from typing import Any

from bayeskit._errors import MethodError
from bayeskit.inference.vi.estimators import Enumeration, MeasureValued, Score
from bayeskit.inference.vi.guides import Block, Flow, FullRank, LaplaceGuide, LowRank, MeanField, Mixture
from bayeskit.inference.vi.objectives import (
    ELBO,
    AnnealedELBO,
    CauchySchwarz,
    ForwardKL,
    ImportanceWeightedELBO,
    LogVariance,
    NamedFDivergence,
    RenyiBound,
    ReweightedWakeSleep,
    SymmetricKL,
    TemperedELBO,
    WakeGuide,
)

__all__ = ["describe", "revive"]

GUIDES: dict[str, type] = {
    "mean_field": MeanField,
    "full_rank": FullRank,
    "low_rank": LowRank,
    "laplace": LaplaceGuide,
    "block": Block,
    "mixture": Mixture,
    "flow": Flow,
}
OBJECTIVES: dict[str, type] = {
    "elbo": ELBO,
    "importance_weighted_elbo": ImportanceWeightedELBO,
    "renyi_bound": RenyiBound,
    "tempered_elbo": TemperedELBO,
    "annealed_elbo": AnnealedELBO,
    "wake_guide": WakeGuide,
    "reweighted_wake_sleep": ReweightedWakeSleep,
    "forward_kl": ForwardKL,
    "symmetric_kl": SymmetricKL,
    "f_divergence": NamedFDivergence,
    "cauchy_schwarz": CauchySchwarz,
    "log_variance": LogVariance,
}
ESTIMATORS: dict[str, type] = {"score": Score, "enumeration": Enumeration, "measure_valued": MeasureValued}
PARTS = {"guide": GUIDES, "rest": GUIDES, "objective": OBJECTIVES, "estimator": ESTIMATORS}
"""What a setting of this name may be."""

_NAMES = {kind: name for kinds in (GUIDES, OBJECTIVES, ESTIMATORS) for name, kind in kinds.items()}


def describe(setting: Any) -> object:
    """A setting as plain data."""
    if type(setting) in _NAMES:
        fields = {field.name: describe(getattr(setting, field.name)) for field in dataclasses.fields(setting)}
        return {"kind": _NAMES[type(setting)], **fields}
    if isinstance(setting, tuple):
        return [describe(element) for element in setting]
    return setting if isinstance(setting, str | int | float | bool | None) else repr(setting)


def revive(name: str, setting: Any) -> Any:
    """The inverse of `describe` for the setting called `name`; also from a kind alone, as in a run file.

    Raises:
        MethodError: an unknown kind, or a setting that the kind does not have.
    """
    if name == "groups":
        return tuple((_names(sites), revive("guide", guide)) for sites, guide in setting)
    if name not in PARTS or not isinstance(setting, str | dict):
        return setting
    fields = {"kind": setting} if isinstance(setting, str) else dict(setting)
    kinds = PARTS[name]
    kind = kinds.get(str(fields.pop("kind", None)))
    if kind is None:
        known = ", ".join(map(repr, kinds))
        raise MethodError(f"{name} must be one of {known}, or a table with such a kind and its settings; got {setting}")
    known_fields = [field.name for field in dataclasses.fields(kind)]
    for field in fields:
        if field not in known_fields:
            raise MethodError(f"{name} of kind {_NAMES[kind]!r} has no setting {field!r}; it has {known_fields}")
    try:
        return kind(**{field: revive(field, value) for field, value in fields.items()})
    except TypeError as error:
        raise MethodError(f"{name} of kind {_NAMES[kind]!r}: {error}") from error


def _names(sites: Any) -> tuple[str, ...]:
    return (sites,) if isinstance(sites, str) else tuple(sites)
