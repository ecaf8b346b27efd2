"""From a first look at a table to a model file and a run file, as text with comments."""

from __future__ import annotations

import json
import math
import textwrap

from bayeskit.cli.first_look import Look
from bayeskit.cli.first_terms import (
    LIKELIHOODS,
    TERMS,
    WIDTH,
    Names,
    comment,
    complete_cells,
    intercept_lines,
    number,
    scale_of,
)

TITLES = {
    "negative_binomial": "a negative binomial regression",
    "bernoulli": "a logistic regression",
    "beta": "a beta regression",
    "log_normal": "a log-normal regression",
    "normal": "a normal regression",
}


def model_text(look: Look, source: str) -> str:
    """The model file.

    Args:
        look: what was found in the table.
        source: the name of the table, for the comments.
    """
    name = Names(look)
    head = ["import jax.numpy as jnp"] if look.family == "negative_binomial" else []
    tail = ["from jax.scipy.special import expit"] if look.family == "beta" else []
    imports = [*head, "import numpyro", "import numpyro.distributions as dist", *tail]
    parts = [_docstring(look, source), "\n".join(imports)]
    if scales := _scales(look, source, name):
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
        f"predictive = {quoted(look.outcome.argument)}         # drawn from the model, beside what was observed",
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
    by = f" by {', '.join(names)}" if len(names) <= 4 else f" by {len(names)} columns"
    by = by if names else ""
    gone = look.num_rows - look.num_complete
    rows = f"{look.num_rows} rows" + (f", {gone} of which lack a cell and are dropped" if gone else "")
    first = max(len(column.name) for column in look.columns)
    second = max(len(column.seen) for column in look.columns)
    table = []
    for column in look.columns:
        line = f"  {column.name:{first}}  {column.seen:{second}}  {column.why}"
        table += textwrap.wrap(line, WIDTH, subsequent_indent=" " * (first + second + 6), break_long_words=False)
    table = [line.replace("\\", "/").replace('"', "'") for line in table]  # names may hold what ends a docstring
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


def _scales(look: Look, source: str, name: Names) -> str:
    slopes = look.of("slope")
    if not slopes:
        return ""
    lines = [
        *comment(
            f"Mean and standard deviation in {source}. They stay as they are when new data come, so that one standard "
            "deviation means the same then."
        )
    ]
    for column in slopes:
        used = complete_cells(look, column)
        mean, spread = float(used.mean()), float(used.std())
        digits = 3 - math.floor(math.log10(spread))  # of the mean, as many as of the standard deviation
        lines.append(f"{name.scales[column.argument]} = ({round(mean, digits)}, {number(spread)})")
    return "\n".join(lines)


def _function(look: Look, name: Names) -> str:
    outcome, unit, spread = look.outcome.argument, *scale_of(look)
    slopes = look.of("slope")
    covariates = [*look.of("group"), *look.of("contrast"), *slopes]
    arguments = []
    for column in covariates:
        arguments += [column.argument, f"num_{column.argument}"] if column.role == "group" else [column.argument]
    size = f"{covariates[0].argument}.shape[0]" if covariates else "num_rows"
    arguments += [] if covariates else ["num_rows"]
    intercept = name("intercept")
    body = intercept_lines(look, intercept)
    terms = [intercept]
    for column in covariates:
        lines, term = TERMS[column.role](column, name, unit, spread)
        if column.role != "slope":
            body += ["", *lines]
        elif column is slopes[0]:
            which = f"of {column.argument}" if len(slopes) == 1 else "of each column"
            body += ["", *comment(f"Change of the {unit} by one standard deviation {which}."), *lines]
        else:
            body += lines
        terms.append(term)
    likelihood = LIKELIHOODS[look.family](look, name, terms)
    return "\n".join(
        [
            *_head([*arguments, f"{outcome}=None"]),
            *_says(look),
            *(f"    {line}" if line else "" for line in [*body, "", *likelihood[0]]),
            f'    with numpyro.plate("{name("row")}", {size}):',
            f'        numpyro.sample("{outcome}", {likelihood[1]}, obs={outcome})',
        ]
    )


def _head(arguments: list[str]) -> list[str]:
    line = f"def model({', '.join(arguments)}):"
    return [line] if len(line) <= WIDTH else ["def model(", *(f"    {each}," for each in arguments), "):"]


def _says(look: Look) -> list[str]:
    groups = look.of("group")
    codes = ""
    if groups:
        first = groups[0].argument
        codes = f" Groups are codes: `{first}` is 0 to num_{first} - 1."
    text = f'"""One entry a row in each argument.{codes} Without `{look.outcome.argument}` it predicts."""'
    return textwrap.wrap(text, WIDTH, initial_indent="    ", subsequent_indent="    ")
