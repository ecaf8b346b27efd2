"""Families of responses: their likelihood in NumPyro's source, links, parameters with default priors, and values."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np

__all__ = ["FAMILIES", "INVERSE_LINKS", "Family"]

INVERSE_LINKS = {
    "identity": "eta",
    "log": "jnp.exp(eta)",
    "logit": "jax.nn.sigmoid(eta)",
    "probit": "jax.scipy.stats.norm.cdf(eta)",
    "cloglog": "-jnp.expm1(-jnp.exp(eta))",
    "inverse": "1.0 / eta",
}
REAL, POSITIVE, PROBABILITY = ("identity", "log", "inverse"), ("log", "identity"), ("logit", "probit", "cloglog")


@dataclass(frozen=True)
class Family:
    """A family of responses.

    Attributes:
        name: what `family=` calls it.
        links: those that it can have; the first is the default.
        likelihood: source of the distribution, where `mu` is the inverse link of the linear predictor.
        allowed: why a response does not fit, or nothing.
        parameters: the default prior of each other parameter in source, where `{scale}` is the standard deviation of
            the response.
        canonical: source of the distribution for the first link, where that is a better one.
        scaled: whether priors scale with mean and standard deviation of the response.
        probability: whether priors are those of a probability, for logit and probit.
    """

    name: str
    links: tuple[str, ...]
    likelihood: str
    allowed: Callable[[np.ndarray], str]
    parameters: Mapping[str, str] = field(default_factory=dict)
    canonical: str = ""
    scaled: bool = False
    probability: bool = False

    def source(self, link: str) -> str:
        """The distribution of the response with a link, in source."""
        if link == self.links[0] and self.canonical:
            return self.canonical
        return self.likelihood.replace("mu", INVERSE_LINKS[link])


def _numbers(y: np.ndarray) -> str:
    return "" if np.isfinite(y).all() else "it is not finite everywhere"


def _counts(y: np.ndarray) -> str:
    if (y < 0).any():
        return f"it has negative values, such as {y[y < 0][0]:g}"
    odd = y[y != np.floor(y)]
    return f"it has values that are not whole, such as {odd[0]:g}" if odd.size else ""


def _zero_or_one(y: np.ndarray) -> str:
    odd = y[(y != 0) & (y != 1)]
    return f"it has values other than 0 and 1, such as {odd[0]:g}" if odd.size else ""


def _successes(y: np.ndarray) -> str:
    if reason := _counts(y.ravel()):
        return reason
    more = y[y[:, 0] > y[:, 1]]
    return f"it has {more[0, 0]:g} successes in {more[0, 1]:g} trials" if more.size else ""


def _levels(y: np.ndarray) -> str:
    return "" if y.max() >= 1 else "it has one level"


HALF_STUDENT = "dist.FoldedDistribution(dist.StudentT(4.0, 0.0, {scale}))"
SHAPE = {"alpha": "dist.HalfCauchy(1.0)"}
SHARE = {"psi": "dist.Beta(2.0, 2.0)"}

FAMILIES = {
    each.name: each
    for each in (
        Family("normal", REAL, "dist.Normal(mu, sigma)", _numbers, {"sigma": HALF_STUDENT}, scaled=True),
        Family(
            "student",
            REAL,
            "dist.StudentT(nu, mu, sigma)",
            _numbers,
            {"sigma": HALF_STUDENT, "nu": "dist.Gamma(2.0, 0.1)"},
            scaled=True,
        ),
        Family(
            "bernoulli",
            (*PROBABILITY, "identity"),
            "dist.Bernoulli(probs=mu)",
            _zero_or_one,
            canonical="dist.Bernoulli(logits=eta)",
            probability=True,
        ),
        Family(
            "binomial",
            (*PROBABILITY, "identity"),
            "dist.Binomial({trials}, probs=mu)",
            _successes,
            canonical="dist.Binomial({trials}, logits=eta)",
            probability=True,
        ),
        Family("poisson", POSITIVE, "dist.Poisson(mu)", _counts),
        Family("negative_binomial", POSITIVE, "dist.NegativeBinomial2(mu, alpha)", _counts, SHAPE),
        Family("zero_inflated_poisson", POSITIVE, "dist.ZeroInflatedPoisson(1.0 - psi, mu)", _counts, SHARE),
        Family(
            "zero_inflated_negative_binomial",
            POSITIVE,
            "dist.ZeroInflatedNegativeBinomial2(mu, alpha, gate=1.0 - psi)",
            _counts,
            {**SHAPE, **SHARE},
        ),
        Family(
            "ordinal",
            ("logit",),
            "dist.OrderedLogistic(eta, threshold)",
            _levels,
            {"threshold": "{thresholds}"},
            canonical="dist.OrderedLogistic(eta, threshold)",
        ),
    )
}
