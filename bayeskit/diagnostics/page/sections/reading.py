"""A paragraph to read aloud: what was fitted to what, whether it can be trusted, and what came out."""

from __future__ import annotations

import math

import numpy as np

from bayeskit.diagnostics.amortised import P_VALUE
from bayeskit.diagnostics.page.blocks import Text
from bayeskit.diagnostics.page.subject import Subject, is_auxiliary, number_in
from bayeskit.diagnostics.page.wording import counted, listed, rounded
from bayeskit.diagnostics.verdict import number

MOST_QUANTITIES = 6
_METHODS = {
    "NUTS": "Markov chain Monte Carlo (NUTS)",
    "HMC": "Hamiltonian Monte Carlo (HMC)",
    "VI": "variational inference (VI)",
    "Laplace": "a Laplace approximation",
    "Pathfinder": "Pathfinder",
    "SMC": "sequential Monte Carlo (SMC)",
    "NestedSampling": "nested sampling",
    "ParallelTempering": "parallel tempering",
    "Amortised": "a trained network",
}
_MEASURES = {
    "max R-hat": "R-hat is at most {value}, so that the chains agree",
    "min bulk ESS": "every mean rests on at least {value} effective draws",
    "max Pareto k": "the largest Pareto k is {value}, so that weights can check the approximation",
    "predictive p-value of the prior": "the data are as the network was trained for (p = {value})",
}


def reading(subject: Subject) -> list[Text]:
    """The paragraph, in sentences."""
    return [Text(" ".join([_what(subject), *_trust(subject), *_quantities(subject)]), is_large=True)]


def _what(subject: Subject) -> str:
    attrs = subject.attrs
    method = str(attrs.get("method", ""))
    by = f" by {_METHODS.get(method, f'the method {method}')}" if method else ""
    if subject.has("replicates"):
        return f"The method {method} was tried on data that the model {_name(subject)} makes itself."
    if subject.has("training"):
        steps = subject.verdict.num_steps
        learned = f", in {counted(steps, 'step')} of training" if steps else ""
        return f"{type(subject.thing).__name__ if subject.thing is not None else 'A model'} was fitted{by}{learned}."
    if P_VALUE in attrs:
        what = "new rows from " if subject.has("predictions") else ""
        return f"A network trained on the prior {_name(subject)} predicted {what}{_observations(subject)}."
    who = "The model" if _name(subject) == "model" else f"The model {_name(subject)}"
    return f"{who} was fitted to {_observations(subject)}{by}, {_size(subject)}."


def _name(subject: Subject) -> str:
    if formula := str(subject.attrs.get("formula", "")):
        return formula
    module, _, name = str(subject.attrs.get("model", "")).rpartition(".")
    if name == "model" and module:
        return module.rpartition(".")[2]
    return name or "(unnamed)"


def _observations(subject: Subject) -> str:
    if not subject.has("observed_data"):
        return "its data"
    observed = subject.tree["observed_data"].data_vars
    parts = [f"{counted(int(np.size(values)), 'observation')} of {name}" for name, values in observed.items()]
    return listed(parts, 3)


def _size(subject: Subject) -> str:
    chains, draws = subject.sites[0].shape[:2] if subject.sites else (0, 0)
    if subject.is_of_particles:
        what = "particle" if "temperature" in subject.stages else "weighted point"
        return f"in {counted(chains, 'run')} with {counted(draws, what)} each"
    if subject.is_independent:
        fits = f"{counted(chains, 'fit')} with " if chains > 1 else ""
        what = "" if "approximation" in _METHODS.get(str(subject.attrs.get("method", "")), "") else "an approximation, "
        return f"{what}from which {fits}{counted(draws, 'draw')} were taken"
    return f"in {counted(chains, 'chain')} of {counted(draws, 'draw')}"


def _trust(subject: Subject) -> list[str]:
    verdict = subject.verdict
    errors = [finding for finding in verdict.findings if finding.severity == "error"]
    if errors:
        more = f" Below there is more: {counted(len(errors) - 1, 'further problem')}." if len(errors) > 1 else ""
        return [
            f"The result cannot be relied on yet. {errors[0].meaning}{more}",
            f"What to try: {errors[0].advice}",
        ]
    why = [
        _MEASURES[measure.name].format(value=number(measure.value))
        for measure in verdict.measures
        if measure.name in _MEASURES and math.isfinite(measure.value)
        if subject.is_of_chains or measure.name not in ("max R-hat", "min bulk ESS")
    ]
    because = f": {'; '.join(why)}" if why else ""
    if verdict.findings:
        number_of = len(verdict.findings)
        what = "there is a warning" if number_of == 1 else f"there are {number_of} warnings, first this one"
        return [f"It can be relied on with care, since {what}: {verdict.findings[0].meaning}"]
    return [f"No check found a sign of trouble{because}."]


def _quantities(subject: Subject) -> list[str]:
    found: list[str] = []
    if not subject.verdict.ok:
        return ["No estimates are read out here, for they may change." if subject.scalars else ""]
    shown = list(subject.scalars.items())
    for name, draws in shown[:MOST_QUANTITIES]:
        low, high = np.quantile(draws, (0.05, 0.95))
        mean, sd = float(np.mean(draws)), float(np.std(draws))
        between = f"{rounded(low, sd)} and {rounded(high, sd)}"
        found.append(f"{name} is {rounded(mean, sd)}, and with probability 90% between {between}")
    sentences = [f"{one}." for one in found]
    if len(shown) > MOST_QUANTITIES:
        sentences.append(f"{len(shown) - MOST_QUANTITIES} further quantities are in the table.")
    vectors = [s for s in subject.sites if not is_auxiliary(s.name) and s.labels != [s.name] and s.shape[2]]
    if vectors:
        each = listed([f"{site.name} (of length {site.shape[2]})" for site in vectors], 3)
        sentences.append(f"The estimates of {each} are shown below.")
    evidence, error = (number_in(subject.attrs, name) for name in ("log_evidence", "log_evidence_error"))
    if math.isfinite(evidence) and subject.has("posterior"):
        known = f", with a standard error of {number(error)}" if math.isfinite(error) else ""
        sentences.append(f"The log evidence of the model is {evidence:.2f}{known}.".replace("-", "−"))
    return sentences
