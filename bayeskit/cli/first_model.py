"""From a first look at a table to a model file and a run file, as text with comments."""

from __future__ import annotations

import json
import math
import textwrap
from collections.abc import Callable

import numpy as np

from bayeskit.cli.first_look import Column, Look, missing

WIDTH = 110

TITLES = {
    "negative_binomial": "a negative binomial regression",
    "bernoulli": "a logistic regression",
    "log_normal": "a log-normal regression",
    "normal": "a normal regression",
}


class _Names:
    """Names of sites and variables that no argument has."""

    def __init__(self, look: Look):
        arguments = {c.argument for c in look.columns} | {f"num_{c.argument}" for c in look.columns}
        self.taken = arguments | {"jnp", "numpyro", "dist", "model", "data", "coords", "dims"}

    def __call__(self, wanted: str) -> str:
        while wanted in self.taken:
            wanted += "_"
        return wanted


def model_text(look: Look, source: str) -> str:
    """The model file.

    Args:
        look: what was found in the table.
        source: the name of the table, for the comments.
    """
    name = _Names(look)
    head = ["import jax.numpy as jnp"] if look.family == "negative_binomial" else []
    parts = [_docstring(look, source), "\n".join([*head, "import numpyro", "import numpyro.distributions as dist"])]
    if scales := _scales(look, source):
        parts.append(scales)
    parts.append("\n" + _function(look, name))
    return "\n\n".join(parts) + "\n"


def run_text(look: Look, model: str, data: str, stem: str) -> str:
    """The run file.

    Args:
        look: what was found in the table.
        model: the model file, relative to the run file.
        data: the table, likewise.
        stem: what results are named by.
    """
    quoted = json.dumps
    lines = [
        '# Run it:  bayeskit run run.toml      Every key: the page "Run files and model files".',
        f"model = {quoted(model)}",
        f"data = {quoted(data)}",
        f"out = {quoted(stem + '.zarr')}        # the result: bayeskit summary, check, plot, export",
        f"report = {quoted(stem + '.html')}     # a page to read in a browser",
        f"predictive = {quoted(look.outcome.argument)}         # draw it from the model, and compare with what was observed",
        "log_likelihood = true        # for bayeskit compare",
        "key = 0                      # the same key, the same draws",
        "",
        "[method]",
        'name = "nuts"',
        "num_chains = 4",
        "num_warmup = 1000",
        "num_draws = 1000",
    ]
    settings = []
    if gone := look.num_rows - look.num_complete:
        used = [column.name for column in look.of("outcome", "group", "contrast", "slope")]
        settings.append(f"drop_missing = {quoted(used)}  # {gone} rows lack a cell in one of these")
    numbered = [column.name for column in look.of("group") if not column.is_text]
    if numbered:
        settings.append(f"groups = {quoted(numbered)}  # numbers that name groups")
    if settings:
        lines += ["", "[columns]  # how the table is read", *settings]
    return "\n".join(_aligned(lines)) + "\n"


def _aligned(lines: list[str]) -> list[str]:
    """The comments behind keys, one below the other."""
    ends = [len(line.partition("  #")[0].rstrip()) for line in lines if "  #" in line and not line.startswith("#")]
    at = min(max(ends, default=0), 40)
    return [
        line
        if "  #" not in line or line.startswith("#")
        else f"{line.partition('  #')[0].rstrip().ljust(at)}  #{line.partition('  #')[2]}"
        for line in lines
    ]


# ---------------------------------------------------------------- the parts of the model file


def _docstring(look: Look, source: str) -> str:
    names = [column.argument for column in look.of("group", "contrast", "slope")]
    by = f" by {', '.join(names)}" if names else ""
    gone = look.num_rows - look.num_complete
    rows = f"{look.num_rows} rows" + (f", {gone} of which lack a cell and are dropped" if gone else "")
    first = max(len(column.name) for column in look.columns)
    second = max(len(column.seen) for column in look.columns)
    table = []
    for column in look.columns:
        line = f"  {column.name:{first}}  {column.seen:{second}}  {column.why}"
        table += textwrap.wrap(line, WIDTH, subsequent_indent=" " * (first + second + 6), break_long_words=False)
    return "\n".join(
        [
            f'"""{look.outcome.argument}{by}: {TITLES[look.family]}, to start from.',
            "",
            f"What is in {source} ({rows}), and what was made of it:",
            "",
            *table,
            "",
            "These are guesses: read them, change what is wrong, and run it again.",
            '"""',
        ]
    )


def _scales(look: Look, source: str) -> str:
    slopes = look.of("slope")
    if not slopes:
        return ""
    lines = [
        *_comment(
            f"Mean and standard deviation in {source}. They stay as they are when new data come, so that one standard "
            "deviation means the same then."
        )
    ]
    for column in slopes:
        used = _complete(look, column)
        mean, spread = float(used.mean()), float(used.std())
        digits = 3 - math.floor(math.log10(spread))  # of the mean, as many as of the standard deviation
        lines.append(f"{column.argument.upper()} = ({round(mean, digits)}, {_number(spread)})")
    return "\n".join(lines)


def _function(look: Look, name: Callable[[str], str]) -> str:
    outcome, unit, spread = look.outcome.argument, *_scale_of(look)
    covariates = look.of("group", "contrast", "slope")
    arguments = []
    for column in covariates:
        arguments += [column.argument, f"num_{column.argument}"] if column.role == "group" else [column.argument]
    size = f"{covariates[0].argument}.shape[0]" if covariates else "num_rows"
    arguments += [] if covariates else ["num_rows"]
    intercept = name("intercept")
    body = _intercept(look, intercept)
    terms = [intercept]
    for column in covariates:
        lines, term = _TERMS[column.role](column, name, unit, spread)
        body += ["", *lines]
        terms.append(term)
    likelihood = _LIKELIHOODS[look.family](look, name, terms)
    return "\n".join(
        [
            f"def model({', '.join([*arguments, f'{outcome}=None'])}):",
            *_says(look),
            *(f"    {line}" if line else "" for line in [*body, "", *likelihood[0]]),
            f'    with numpyro.plate("{name("row")}", {size}):',
            f'        numpyro.sample("{outcome}", {likelihood[1]}, obs={outcome})',
        ]
    )


def _says(look: Look) -> list[str]:
    groups = look.of("group")
    codes = ""
    if groups:
        first = groups[0].argument
        codes = f" Groups are codes: `{first}` is 0 to num_{first} - 1."
    text = f'"""One entry a row in each argument.{codes} Without `{look.outcome.argument}` it predicts."""'
    return textwrap.wrap(text, WIDTH, initial_indent="    ", subsequent_indent="    ")


def _complete(look: Look, column: Column) -> np.ndarray:
    """The cells of a column in the rows that are used."""
    used = [c.values for c in look.columns if c.role != "aside"]
    return np.asarray(column.values[~np.logical_or.reduce([missing(values) for values in used])])


def _scale_of(look: Look) -> tuple[str, float]:
    """What the linear predictor is, and the size of a large effect on it."""
    if look.family == "normal":
        return look.outcome.argument, float(_complete(look, look.outcome).std()) or 1.0
    return {"negative_binomial": "log count", "bernoulli": "log odds", "log_normal": f"log {look.outcome.argument}"}[
        look.family
    ], (1.0 if look.family != "log_normal" else float(np.log(_complete(look, look.outcome)).std()) or 1.0)


def _intercept(look: Look, name: str) -> list[str]:
    values = _complete(look, look.outcome)
    if look.family == "negative_binomial":
        centre = math.log(max(values.mean(), 0.1))
        about = _comment(
            f"The log of the mean count where all else is average. The mean is {values.mean():.3g} in the table; "
            "two standard deviations of this prior are a factor of 20 to either side."
        )
        return [*about, f'{name} = numpyro.sample("{name}", dist.Normal({_number(centre)}, 1.5))']
    if look.family == "bernoulli":
        ones = float(np.mean(values == np.unique(values)[-1]))
        share = min(max(ones, 0.02), 0.98)
        about = _comment(f"The log odds where all else is average. The share of ones in the table is {ones:.3g}.")
        return [
            *about,
            f'{name} = numpyro.sample("{name}", dist.Normal({_number(math.log(share / (1 - share)))}, 1.5))',
        ]
    on_log = np.log(values) if look.family == "log_normal" else values
    what = "log " if look.family == "log_normal" else ""
    about = _comment(
        f"The {what}{look.outcome.argument} where all else is average, around its mean in the table; the "
        "standard deviation of this prior is 2.5 times that in the table."
    )
    spread = float(on_log.std()) or 1.0
    return [
        *about,
        f'{name} = numpyro.sample("{name}", dist.Normal({_number(on_log.mean())}, {_number(2.5 * spread)}))',
    ]


def _group(column: Column, name: Callable[[str], str], unit: str, spread: float) -> tuple[list[str], str]:
    own = column.argument
    sd, z, effect = name(f"sd_{own}"), name(f"z_{own}"), name(f"effect_{own}")
    return [
        *_comment(
            f"Levels of {own} differ in {unit} by about `{sd}`; those with few rows lean on the others. Non-centred: "
            f"`{z}` is independent of `{sd}`, which samplers like."
        ),
        f'{sd} = numpyro.sample("{sd}", dist.HalfNormal({_number(spread)}))',
        f'with numpyro.plate("{own}", num_{own}):',
        f'    {z} = numpyro.sample("{z}", dist.Normal(0.0, 1.0))',
        f'    {effect} = numpyro.deterministic("{effect}", {sd} * {z})',
    ], f"{effect}[{own}]"


def _slope(column: Column, name: Callable[[str], str], unit: str, spread: float) -> tuple[list[str], str]:
    own, slope = column.argument, name(f"slope_{column.argument}")
    return [
        *_comment(f"Change of the {unit} by one standard deviation of {own}."),
        f'{slope} = numpyro.sample("{slope}", dist.Normal(0.0, {_number(spread)}))',
    ], f"{slope} * ({own} - {own.upper()}[0]) / {own.upper()}[1]"


def _contrast(column: Column, name: Callable[[str], str], unit: str, spread: float) -> tuple[list[str], str]:
    own, effect, (low, high) = column.argument, name(f"effect_{column.argument}"), column.levels
    is_second = f"({own} == 1)" if column.is_text else own if (low, high) == ("0", "1") else f"({own} == {high})"
    codes = f" {own} is 0 for the first and 1 for the second." if column.is_text else ""
    return [
        *_comment(f"Difference in {unit} of {own} {high} from {low}.{codes}"),
        f'{effect} = numpyro.sample("{effect}", dist.Normal(0.0, {_number(spread)}))',
    ], f"{effect} * {is_second}"


_TERMS = {"group": _group, "slope": _slope, "contrast": _contrast}


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


def _normal(look: Look, name: Callable[[str], str], terms: list[str]) -> tuple[list[str], str]:
    mean, sigma = name("log_median" if look.family == "log_normal" else "mean"), name("sigma")
    law = "LogNormal" if look.family == "log_normal" else "Normal"
    scale = _scale_of(look)[1]
    return [
        "# What is left over around the regression.",
        f'{sigma} = numpyro.sample("{sigma}", dist.HalfNormal({_number(scale)}))',
        "",
        *_sum(mean, terms),
    ], f"dist.{law}({mean}, {sigma})"


_LIKELIHOODS = {
    "negative_binomial": _negative_binomial,
    "bernoulli": _bernoulli,
    "log_normal": _normal,
    "normal": _normal,
}


def _comment(text: str) -> list[str]:
    return textwrap.wrap(text, WIDTH, initial_indent="# ", subsequent_indent="# ", break_long_words=False)


def _sum(name: str, terms: list[str]) -> list[str]:
    line = f"{name} = {' + '.join(terms)}"
    if len(line) <= WIDTH:
        return [line]
    return [f"{name} = (", *(f"    {'' if k == 0 else '+ '}{term}" for k, term in enumerate(terms)), ")"]


def _number(value: float) -> str:
    """Four significant digits, as a float of Python."""
    text = f"{value:.4g}"
    return text if any(mark in text for mark in ".en") else f"{text}.0"
