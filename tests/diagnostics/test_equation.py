"""What is found in the record of a solution of a differential equation."""

from __future__ import annotations

import json

import numpy as np
import pytest

from bayeskit.diagnostics.equation import equation, unseen

FINE = {
    "gauss_newton_arrived": 1,
    "gauss_newton_steps": 4,
    "refinement_misfit": 1e-9,
    "readings_z": 0.98,
    "tolerance": 1e-8,
    "operator_size": 10.0,
    "num_conditions": 2,
    "condition": 1e12,
    "edges": json.dumps({"x": 0.5, "t": 0.1}),
}
RESIDUAL = np.linspace(-1.0, 1.0, 50)


def names(residual=RESIDUAL, sd=None, **attrs):
    traces = {"residual": residual, "residual_sd": np.ones(50) if sd is None else sd}
    return [(one.name, one.severity) for one in equation(traces, {**FINE, **attrs})]


def test_a_good_solution_has_no_finding():
    assert names() == []


def test_other_records_are_not_judged():
    assert equation({"loss": np.ones(3)}, {"phases": "{}"}) == []


@pytest.mark.parametrize(
    ("changed", "name", "severity"),
    [
        ({"num_conditions": 0}, "undetermined", "error"),
        ({"gauss_newton_arrived": 0}, "gauss_newton", "error"),
        ({"refinement_misfit": 2e-4}, "ill_conditioned", "error"),
        ({"refinement_misfit": float("nan")}, "ill_conditioned", "error"),
        ({"readings_z": 2.1}, "readings", "error"),
        ({"tolerance": 2e-3}, "tolerance_raised", "warning"),
        ({"tolerance": 0.1}, "tolerance_raised", "error"),
        ({"edges": json.dumps({"x": 0.5, "t": 0.95})}, "unresolved_frequency", "warning"),
        ({"sd": np.full(50, 0.1)}, "residual", "error"),
        ({"nodes_per_number": 4.0, "band_share": 0.1}, "few_nodes", "warning"),
    ],
)
def test_each_trouble_is_found_alone(changed, name, severity):
    assert names(**changed) == [(name, severity)]


def test_few_nodes_do_not_matter_where_the_bands_are_narrow():
    assert names(nodes_per_number=4.0, band_share=1e-5) == names(nodes_per_number=40.0) == []


def test_a_residual_that_is_nothing_beside_the_equation_does_not_matter():
    assert names(residual=1e-8 * RESIDUAL, sd=np.full(50, 1e-12)) == []


def test_a_source_that_is_an_array_leaves_the_equation_unseen_between_the_nodes():
    assert unseen({"residual": RESIDUAL}, FINE) == unseen({"loss": RESIDUAL}, {"phases": "{}"}) == []
    assert unseen({}, FINE) == [
        "the equation between the nodes (the source is an array, known at the nodes only)",
    ]


def test_the_words_name_the_coordinate():
    (found,) = equation({}, {**FINE, "edges": json.dumps({"x": 0.5, "t": 0.95})})
    assert found.sites == ("t",)
    assert found.meaning == (
        "The spectrum along t reaches 95% of the highest frequency that the nodes can tell from a lower one: it may be "
        "a false one."
    )
