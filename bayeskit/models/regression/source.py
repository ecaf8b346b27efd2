"""A regression as the source of a NumPyro function."""

from __future__ import annotations

import json
import keyword
import re
import unicodedata
from dataclasses import dataclass, field

import numpy as np

from bayeskit.errors import ModelError
from bayeskit.models.regression.design import Common, Design, Varying
from bayeskit.models.regression.families import Family
from bayeskit.models.regression.priors import Priors, numbers

__all__ = ["Arguments", "arguments_of", "source"]

TAKEN = {"jax", "jnp", "numpyro", "dist", "bk", "model", "eta", "intercept", "num_rows", "sigma", "nu", "alpha", "psi"}


@dataclass(frozen=True, eq=False)
class Arguments:
    """The arguments of the function, by what they hold.

    Attributes:
        names: the argument of each common term, offset, and what a varying coefficient multiplies, by its key.
        index: the argument of the index of each row's group, by the name of the groups.
        response: that of the response.
        trials: that of the trials.
    """

    names: dict[tuple[str, tuple[int, ...]], str] = field(default_factory=dict)
    index: dict[str, str] = field(default_factory=dict)
    response: str = ""
    trials: str = ""


def arguments_of(design: Design) -> Arguments:
    """Names of arguments that are names in Python, each once."""
    taken = set(TAKEN) | {"threshold"}

    def fresh(name: str) -> str:
        name = unicodedata.normalize("NFKC", name)  # as Python reads names in source
        name = re.sub(r"\W+|__+", "_", name).strip("_") or "x"
        name = f"x_{name}" if name[0].isdigit() else name
        while name in taken or keyword.iskeyword(name):
            name += "_"
        taken.add(name)
        return name

    response = fresh(design.response if not design.trials else re.split(r"[(,]", design.response)[1])
    index = {}
    for term in design.varying:
        if term.factor not in index:
            index[term.factor] = fresh(term.factor)
            fresh(f"num_{index[term.factor]}")
    names: dict[tuple[str, tuple[int, ...]], str] = {}
    for each in multipliers(design):
        if each.key not in names:
            names[each.key] = fresh(f"{each.name} columns" if each.values.ndim == 2 else each.name)
    trials = "" if not design.trials or design.trials.isdigit() else fresh(design.trials)
    return Arguments(names, index, response, trials)


def multipliers(design: Design) -> list[Common]:
    """All that the table gives beside groups and response."""
    varying = [term.what for term in design.varying if term.what is not None]
    return [*design.common, *design.offsets, *varying]


def source(design: Design, family: Family, link: str, priors: Priors, noncentered: bool, formula: str) -> str:
    """The source of a module that defines `model`."""
    _check_sites(design, family)
    arguments = arguments_of(design)
    writer = _Writer(design, priors, arguments, noncentered)
    body = [*writer.common(), *writer.varying(), *writer.predictor(), *writer.parameters(family)]
    likelihood = family.source(link).replace("{trials}", arguments.trials or design.trials)
    rows = next((f"{name}.shape[0]" for name in [*arguments.index.values(), *arguments.names.values()]), "num_rows")
    body += [
        f'with numpyro.plate("__obs__", {rows}):',
        f"    numpyro.sample({_quoted(design.response)}, {likelihood}, obs={arguments.response})",
    ]
    taken = [*arguments.names.values()]
    for index in arguments.index.values():
        taken += [index, f"num_{index}"]
    taken += [arguments.trials] if arguments.trials else []
    taken += ["num_rows"] if rows == "num_rows" else []
    title = f'"""{formula}, {family.name.replace("_", " ")} with {link} link."""'
    text = "\n".join(body)
    imports = ["import jax"] if "jax." in text else []
    imports += ["import jax.numpy as jnp"] if "jnp." in text else []
    imports += ["import numpyro", "import numpyro.distributions as dist"]
    imports += ["", "from bayeskit.distributions import OrderedNormal"] if "OrderedNormal" in text else []
    head = f"def model({', '.join([*taken, f'{arguments.response}=None'])}):"
    return "\n".join([*imports, "", "", head, *(f"    {line}" for line in [title, *body])]) + "\n"


def _check_sites(design: Design, family: Family) -> None:
    taken = {"Intercept", "Intercept_at_means"} if design.intercept else set()
    taken |= family.parameters.keys()
    if design.response in taken:
        raise ModelError(f"the response {design.response!r} has the name of a parameter; rename the column")
    for name in (term.name for term in design.common):
        if name == design.response:
            raise ModelError(f"formula: {name!r} is the response and a predictor too")
        if name in taken:
            raise ModelError(f"formula: the term {name!r} has the name of a parameter; rename the column")


def _quoted(name: str) -> str:
    return json.dumps(name, ensure_ascii=False)


def _mean(term: Common) -> np.ndarray:
    """The means of the columns of a term; zero where it is one but for rounding."""
    mean = term.values.mean(0)
    return np.where(np.abs(mean) < 1e-12 * term.values.std(0), 0.0, mean)


def _mean_digits(term: Common) -> int:
    """Enough for an error of a thousandth of the standard deviation, and six at least."""
    ratio = np.abs(term.values.mean(0)) / np.maximum(term.values.std(0), np.finfo(float).tiny)
    return min(17, max(6, 4 + int(np.ceil(np.log10(np.maximum(ratio, 1.0).max())))))


@dataclass(frozen=True, eq=False)
class _Writer:
    design: Design
    priors: Priors
    arguments: Arguments
    noncentered: bool
    variables: dict[tuple[str, ...], str] = field(default_factory=dict)

    def _fresh(self, prefix: str, *names: str) -> str:
        """A variable that is none of the arguments, nor another variable: a column may be called `mean_x`."""
        if (prefix, *names) not in self.variables:
            arguments = self.arguments
            taken = {arguments.response, arguments.trials, *arguments.names.values(), *self.variables.values()}
            taken |= {name for index in arguments.index.values() for name in (index, f"num_{index}")}
            variable = "_".join([prefix, *names])
            while variable in taken:
                variable += "_"
            self.variables[prefix, *names] = variable
        return self.variables[prefix, *names]

    def common(self) -> list[str]:
        """The intercept at the means, the coefficients, and the intercept at zero."""
        lines = []
        design = self.design
        if design.intercept:
            site = "Intercept_at_means" if design.common else "Intercept"
            lines.append(f"intercept = numpyro.sample({_quoted(site)}, {self.priors.source['Intercept']})")
        for term in design.common:
            lines += self._coefficients(self._of("b", term), term.name, f"{term.name}_dim", term)
        if design.intercept and design.common:
            lines += [f"{self._of('mean', t)} = {numbers(_mean(t), _mean_digits(t))}" for t in design.common]
            shift = " - ".join(self._product(self._of("mean", t), t) for t in design.common)
            lines.append(f'numpyro.deterministic("Intercept", intercept - {shift})')
        return lines

    def _of(self, prefix: str, term: Common) -> str:
        return self._fresh(prefix, self.arguments.names[term.key])

    def _coefficients(self, variable: str, site: str, dim: str, term: Common | None) -> list[str]:
        sample = f"{variable} = numpyro.sample({_quoted(site)}, {self.priors.source[site]})"
        if term is None or not term.labels or site in self.priors.joint:
            return [sample]
        return [f"with numpyro.plate({_quoted(dim)}, {len(term.labels)}):", f"    {sample}"]

    def _product(self, value: str, term: Common) -> str:
        return f"{value} @ {self._of('b', term)}" if term.labels else f"{value} * {self._of('b', term)}"

    def varying(self) -> list[str]:
        """Standard deviations and deviations of the groups."""
        lines = []
        for term in self.design.varying:
            scale, effect = self._variable("sd", term), self._variable("u", term)
            index = self.arguments.index[term.factor]
            expression = f"{term.name.partition('|')[0]}__expr_dim"
            lines += self._coefficients(scale, f"{term.name}_sigma", expression, term.what)
            several = term.what is not None and bool(term.what.labels)
            at, inner = ", dim=-2" if several else "", "    "
            lines.append(f"with numpyro.plate({_quoted(f'{term.factor}__factor_dim')}, num_{index}{at}):")
            if several and term.what is not None:
                lines.append(f"    with numpyro.plate({_quoted(expression)}, {len(term.what.labels)}):")
                inner = "        "
            if self.noncentered:
                offset, name = self._variable("z", term), _quoted(f"{term.name}_offset")
                lines.append(f"{inner}{offset} = numpyro.sample({name}, dist.Normal(0.0, 1.0))")
                lines.append(f"{inner}{effect} = numpyro.deterministic({_quoted(term.name)}, {scale} * {offset})")
            else:
                lines.append(f"{inner}{effect} = numpyro.sample({_quoted(term.name)}, dist.Normal(0.0, {scale}))")
        return lines

    def _variable(self, prefix: str, term: Varying) -> str:
        index = self.arguments.index[term.factor]
        what = [] if term.what is None else [self.arguments.names[term.what.key]]
        return self._fresh(prefix, *what, index)

    def predictor(self) -> list[str]:
        """The linear predictor, `eta`."""
        names = self.arguments.names
        parts = ["intercept"] if self.design.intercept else []
        for term in self.design.common:
            values = names[term.key]
            if self.design.intercept:
                values = f"({values} - {self._of('mean', term)})"
            parts.append(self._product(values, term))
        for each in self.design.varying:
            effect = f"{self._variable('u', each)}[{self.arguments.index[each.factor]}]"
            if each.what is not None:
                effect = f"{effect} * {names[each.what.key]}"
                effect = f"({effect}).sum(-1)" if each.what.labels else effect
            parts.append(effect)
        parts += [names[term.key] for term in self.design.offsets]
        whole = " + ".join(parts) or "0.0"
        if len(whole) <= 100:
            return [f"eta = {whole}"]
        return ["eta = (", f"    {parts[0]}", *(f"    + {part}" for part in parts[1:]), ")"]

    def parameters(self, family: Family) -> list[str]:
        """Parameters of the family besides its mean."""
        return [f'{name} = numpyro.sample("{name}", {self.priors.source[name]})' for name in family.parameters]
