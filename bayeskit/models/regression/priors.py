r"""Priors of a regression: bambi's defaults, which scale with the data, and those given by name, as NumPyro's source.

With :math:`s_y` the standard deviation of the response of a normal or Student-t family (1 for others) and
:math:`\bar y` its mean (0 for others), the coefficient of a column :math:`x` has the prior :math:`N(0, 2.5 s_y / s_x)`,
and the intercept, which is that at the means of all columns,
:math:`N(\bar y, \sqrt{(2.5 s_y)^2 + \sum_x (2.5 s_y \bar x / s_x)^2})`. A probability with a logit or probit link has
:math:`N(0, 1.5)` for the intercept and :math:`N(0, 1 / s_x)` for a slope, :math:`N(0, 1)` for a category. The standard
deviation of a varying intercept or slope is half-normal with the scale that the first two rules give.

Reference: Capretto, Piho, Kumar, Westfall, Yarkoni and Martin (2022), "Bambi: A simple interface for fitting Bayesian
linear models in Python", Journal of Statistical Software 103(15), section 2.4; the rules as of bambi 0.17.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import jax
import numpy as np
import numpyro.distributions as dist
from numpyro.distributions import Distribution, constraints

from bayeskit._spelling import did_you_mean
from bayeskit.errors import ModelError
from bayeskit.models.regression.design import Common, Design
from bayeskit.models.regression.families import Family

__all__ = ["Priors", "number", "numbers", "priors_of"]

SPREAD = 2.5


@dataclass(frozen=True)
class Priors:
    """Source of each prior, by the name of its site; and those that are events of several coefficients."""

    source: Mapping[str, str]
    joint: frozenset[str]


def priors_of(design: Design, family: Family, link: str, given: Mapping[str, Distribution]) -> Priors:
    """The prior of every parameter.

    Args:
        design: of the regression.
        family: of the response.
        link: from the mean to the linear predictor.
        given: priors by name, instead of the defaults.

    Raises:
        ModelError: a prior of something that is no parameter; a distribution that cannot be written as source, or that
            has another support or shape than the parameter.
    """
    sites = _defaults(design, family, link)
    given = {_name_of(name, sites): prior for name, prior in given.items()}
    sizes = {term.name: len(term.labels) for term in design.common}
    sizes |= {f"{term.name}_sigma": len(term.what.labels) if term.what else 0 for term in design.varying}
    sizes["threshold"] = len(design.levels) - 1
    positive = {f"{term.name}_sigma" for term in design.varying} | {"sigma", "nu", "alpha"}
    joint = set()
    for name, prior in given.items():
        if not isinstance(prior, Distribution):
            raise ModelError(f"priors: {name!r} must be a NumPyro distribution, got {prior!r}")
        if prior.event_shape not in ((), (sizes.get(name, 0),)) or prior.batch_shape not in ((), (sizes.get(name, 0),)):
            raise ModelError(
                f"priors: {name!r} has {sizes.get(name, 0) or 'one'} coefficient{'s' if sizes.get(name, 0) else ''}, "
                f"and its prior has the shape {prior.batch_shape + prior.event_shape}"
            )
        if name in positive and not _is_positive(prior):
            raise ModelError(f"priors: {name!r} is positive, and {type(prior).__name__} has mass below zero")
        if prior.event_shape:
            joint.add(name)
    found = {**sites, **{name: source_of(name, prior) for name, prior in given.items()}}
    for name, text in found.items():
        if re.search(r"\b(inf|nan)\b", text):
            why = "has a value that is not finite" if name in given else "cannot scale with a constant column; give one"
            raise ModelError(f"priors: that of {name!r} {why}: {text}")
    return Priors(found, frozenset(joint))


def _name_of(name: str, sites: Mapping[str, str]) -> str:
    """The site that a name means: the prior of a varying term is that of its standard deviation."""
    for found in (name, f"{name}_sigma"):
        if found in sites:
            return found
    raise ModelError(f"priors: there is no term {name!r}{did_you_mean(name, sites, 'there are')}")


def _defaults(design: Design, family: Family, link: str) -> dict[str, str]:
    mean = float(design.observed.mean()) if family.scaled else 0.0
    scale = float(design.observed.std()) if family.scaled else 1.0
    if scale == 0.0:
        raise ModelError(f"the response {design.response!r} is constant, so that nothing can be learned from it")
    special = family.probability and link in ("logit", "probit")
    slopes = {term.name: _slopes(term, scale, special) for term in design.common}
    shift = sum(float(((s * t.values.mean(0)) ** 2).sum()) for t, s in zip(design.common, slopes.values(), strict=True))
    spread = math.sqrt((SPREAD * scale) ** 2 + shift)
    found = {}
    if design.intercept:
        found["Intercept"] = _normal(mean, 1.5 if special else spread) if not special else _normal(0.0, 1.5)
    found |= {name: _normal(0.0, s) for name, s in slopes.items()}
    for term in design.varying:
        sigma = spread if term.what is None else _ratio(SPREAD * scale, term.what.values.std(0))
        found[f"{term.name}_sigma"] = f"dist.HalfNormal({numbers(sigma)})"
    thresholds = np.linspace(-2.0, 2.0, max(len(design.levels) - 1, 1)).round(2)
    known = {"scale": number(scale), "thresholds": f"OrderedNormal({list(thresholds.tolist())}, 1.0)"}
    return found | {name: source.format(**known) for name, source in family.parameters.items()}


def _slopes(term: Common, scale: float, special: bool) -> np.ndarray:
    """The standard deviation of each coefficient's prior."""
    if not special:
        return _ratio(SPREAD * scale, term.values.std(0))
    if term.kind == "categoric":
        return np.ones(term.values.shape[1:])
    if term.kind == "interaction" and term.values.ndim == 2 and term.values.shape[1] > 1:
        return np.full(term.values.shape[1:], 1.0 / term.values.sum(1).std())
    return _ratio(1.0, term.values.std(0))


def _ratio(scale: float, spread: np.ndarray) -> np.ndarray:
    """Infinite for a constant column, whose prior must be given."""
    with np.errstate(divide="ignore"):
        return np.asarray(scale / spread)


def _normal(loc: float, scale: float | np.ndarray) -> str:
    return f"dist.Normal({number(loc)}, {numbers(scale)})"


def number(value: float, digits: int = 6) -> str:
    """A number in source."""
    return repr(float(f"{value:.{digits}g}"))


def numbers(value: float | np.ndarray | Sequence[float], digits: int = 6) -> str:
    """A number, or an array of them, in source."""
    array = np.asarray(value, float)
    if array.ndim == 0:
        return number(float(array), digits)
    return f"jnp.array([{', '.join(number(each, digits) for each in array.tolist())}])"


def source_of(name: str, prior: Distribution) -> str:
    """A distribution as source, every digit of it.

    Raises:
        ModelError: it is not one of NumPyro's, made from numbers alone.
    """
    made = getattr(dist, type(prior).__name__, None)
    if made is type(prior):
        values = {argument: getattr(prior, argument, None) for argument in prior.arg_constraints}
        # a multivariate normal has three ways to say one thing, and takes one
        for chosen in (values, {n: v for n, v in values.items() if n in ("loc", "scale_tril")}):
            if _is_made_by(prior, made, chosen):
                return f"dist.{made.__name__}({', '.join(f'{n}={_exactly(v)}' for n, v in chosen.items())})"
    raise ModelError(
        f"priors: the prior of {name!r}, a {type(prior).__name__}, cannot be written as source; take the source of the "
        "formula and write it there"
    )


def _is_made_by(prior: Distribution, made: Callable[..., Distribution], values: Mapping[str, object]) -> bool:
    """Whether these arguments make the same distribution again."""
    draw = prior.sample(jax.random.PRNGKey(0))
    try:
        return bool(np.array_equal(made(**values).log_prob(draw), prior.log_prob(draw)))
    except (TypeError, ValueError):
        return False


def _exactly(value: object) -> str:
    array = np.asarray(value)
    return repr(array.item()) if array.ndim == 0 else f"jnp.array({array.tolist()!r})"


def _is_positive(prior: Distribution) -> bool:
    support = prior.support
    if support in (constraints.positive, constraints.nonnegative, constraints.unit_interval):
        return True
    return bool(np.all(np.asarray(getattr(support, "lower_bound", -1.0)) >= 0.0))
