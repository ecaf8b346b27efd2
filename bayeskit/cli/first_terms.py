"""The lines of a first model: what each column adds to the regression, and the distributions of the outcome."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Callable

import numpy as np

from bayeskit.cli.first_look import Column, Look, missing

WIDTH = 110


class Names:
    """Names of sites and variables that no argument has."""

    def __init__(self, look: Look):
        arguments = {c.argument for c in look.columns} | {f"num_{c.argument}" for c in look.columns}
        self.taken = arguments | {"jnp", "numpyro", "dist", "expit", "model", "data", "coords", "dims"}
        self.scales: dict[str, str] = {}
        for column in look.of("slope"):  # a column may be in capitals itself, and two may differ in nothing else
            constant = self(column.argument.upper())
            self.scales[column.argument] = constant
            self.taken.add(constant)

    def __call__(self, wanted: str) -> str:
        """The name, with underscores behind it where it is taken."""
        while wanted in self.taken:
            wanted += "_"
        return wanted


def complete_cells(look: Look, column: Column) -> np.ndarray:
    """The cells of a column in the rows that are used."""
    used = [c.values for c in look.columns if c.role != "aside"]
    return np.asarray(column.values[~np.logical_or.reduce([missing(values) for values in used])])


def scale_of(look: Look) -> tuple[str, float]:
    """What the linear predictor is, and the size of a large effect on it."""
    if look.family == "normal":
        return look.outcome.argument, float(complete_cells(look, look.outcome).std()) or 1.0
    if look.family == "log_normal":
        return f"log {look.outcome.argument}", float(np.log(complete_cells(look, look.outcome)).std()) or 1.0
    return ("log count" if look.family == "negative_binomial" else "log odds"), 1.0


def intercept_lines(look: Look, name: str) -> list[str]:
    """Prior of the intercept, around what the table says."""
    values = complete_cells(look, look.outcome)
    if look.family == "negative_binomial":
        centre = math.log(max(values.mean(), 0.1))
        about = comment(
            f"The log of the mean count where all else is average. The mean is {values.mean():.3g} in the table; "
            "two standard deviations of this prior are a factor of 20 to either side."
        )
        return [*about, f'{name} = numpyro.sample("{name}", dist.Normal({number(centre)}, 1.5))']
    if look.family == "beta":
        mean = float(values.mean())
        about = comment(f"The log odds of the mean where all else is average. The mean is {mean:.3g} in the table.")
        return [*about, f'{name} = numpyro.sample("{name}", dist.Normal({number(math.log(mean / (1 - mean)))}, 1.5))']
    if look.family == "bernoulli":
        ones = float(np.mean(values == np.unique(values)[-1]))
        share = min(max(ones, 0.02), 0.98)
        about = comment(f"The log odds where all else is average. The share of ones in the table is {ones:.3g}.")
        return [
            *about,
            f'{name} = numpyro.sample("{name}", dist.Normal({number(math.log(share / (1 - share)))}, 1.5))',
        ]
    on_log = np.log(values) if look.family == "log_normal" else values
    what = "log " if look.family == "log_normal" else ""
    about = comment(
        f"The {what}{look.outcome.argument} where all else is average, around its mean in the table; the "
        "standard deviation of this prior is 2.5 times that in the table."
    )
    spread = float(on_log.std()) or 1.0
    return [
        *about,
        f'{name} = numpyro.sample("{name}", dist.Normal({number(on_log.mean())}, {number(2.5 * spread)}))',
    ]


def _group(column: Column, name: Names, unit: str, spread: float) -> tuple[list[str], str]:
    own = column.argument
    sd, z, effect = name(f"sd_{own}"), name(f"z_{own}"), name(f"effect_{own}")
    return [
        *comment(
            f"Levels of {own} differ in {unit} by about `{sd}`; those with few rows lean on the others. Non-centred: "
            f"`{z}` is independent of `{sd}`, which samplers like."
        ),
        f'{sd} = numpyro.sample("{sd}", dist.HalfNormal({number(spread)}))',
        f'with numpyro.plate("{own}", num_{own}):',
        f'    {z} = numpyro.sample("{z}", dist.Normal(0.0, 1.0))',
        f'    {effect} = numpyro.deterministic("{effect}", {sd} * {z})',
    ], f"{effect}[{own}]"


def _slope(column: Column, name: Names, unit: str, spread: float) -> tuple[list[str], str]:
    del unit
    own, slope, scale = column.argument, name(f"slope_{column.argument}"), name.scales[column.argument]
    return [
        f'{slope} = numpyro.sample("{slope}", dist.Normal(0.0, {number(spread)}))',
    ], f"{slope} * ({own} - {scale}[0]) / {scale}[1]"


def _contrast(column: Column, name: Names, unit: str, spread: float) -> tuple[list[str], str]:
    own, effect, (low, high) = column.argument, name(f"effect_{column.argument}"), column.levels
    is_second = f"({own} == 1)" if column.is_text else own if (low, high) == ("0", "1") else f"({own} == {high})"
    codes = f" {own} is 0 for the first and 1 for the second." if column.is_text else ""
    return [
        *comment(f"Difference in {unit} of {own} {high} from {low}.{codes}"),
        f'{effect} = numpyro.sample("{effect}", dist.Normal(0.0, {number(spread)}))',
    ], f"{effect} * {is_second}"


TERMS = {"group": _group, "slope": _slope, "contrast": _contrast}


def _negative_binomial(look: Look, name: Callable[[str], str], terms: list[str]) -> tuple[list[str], str]:
    del look
    log_mean, spread = name("log_mean"), name("overdispersion")
    return [
        "# The variance is mean + (overdispersion * mean)^2; zero would be Poisson.",
        f'{spread} = numpyro.sample("{spread}", dist.Exponential(1.0))',
        "",
        "# Counts made over different areas or times: add their logarithm here.",
        *_sum(log_mean, terms),
    ], f"dist.NegativeBinomial2(jnp.exp({log_mean}), 1.0 / {spread}**2)"


def _bernoulli(look: Look, name: Callable[[str], str], terms: list[str]) -> tuple[list[str], str]:
    del look
    logits = name("log_odds")
    return _sum(logits, terms), f"dist.Bernoulli(logits={logits})"


def _beta(look: Look, name: Callable[[str], str], terms: list[str]) -> tuple[list[str], str]:
    del look
    logits, concentration = name("log_odds"), name("concentration")
    return [
        "# The larger, the closer to the mean: the variance is mean * (1 - mean) / (1 + concentration).",
        f'{concentration} = numpyro.sample("{concentration}", dist.LogNormal(2.3, 1.0))',
        "",
        *_sum(logits, terms),
    ], f"dist.BetaProportion(expit({logits}), {concentration})"


def _normal(look: Look, name: Callable[[str], str], terms: list[str]) -> tuple[list[str], str]:
    mean, sigma = name("log_median" if look.family == "log_normal" else "mean"), name("sigma")
    law = "LogNormal" if look.family == "log_normal" else "Normal"
    scale = scale_of(look)[1]
    return [
        "# What is left over around the regression.",
        f'{sigma} = numpyro.sample("{sigma}", dist.HalfNormal({number(scale)}))',
        "",
        *_sum(mean, terms),
    ], f"dist.{law}({mean}, {sigma})"


LIKELIHOODS = {
    "negative_binomial": _negative_binomial,
    "bernoulli": _bernoulli,
    "beta": _beta,
    "log_normal": _normal,
    "normal": _normal,
}


def comment(text: str) -> list[str]:
    """A comment, in lines."""
    return textwrap.wrap(
        text, WIDTH, initial_indent="# ", subsequent_indent="# ", break_long_words=False, break_on_hyphens=False
    )


def _sum(name: str, terms: list[str]) -> list[str]:
    line = f"{name} = {' + '.join(terms)}"
    if len(line) <= WIDTH:
        return [line]
    return [f"{name} = (", *(f"    {'' if k == 0 else '+ '}{term}" for k, term in enumerate(terms)), ")"]


def number(value: float) -> str:
    """Four significant digits, as a float of Python."""
    text = f"{value:.4g}"
    return text if any(mark in text for mark in ".en") else f"{text}.0"
