"""The sections of the report in their order: one file and one row each."""

from __future__ import annotations

from collections.abc import Callable

from bayeskit.diagnostics.page.blocks import Section
from bayeskit.diagnostics.page.sections.calibration import calibration
from bayeskit.diagnostics.page.sections.data import data
from bayeskit.diagnostics.page.sections.estimates import estimates
from bayeskit.diagnostics.page.sections.learning import learning
from bayeskit.diagnostics.page.sections.leave_one_out import leave_one_out
from bayeskit.diagnostics.page.sections.model import model
from bayeskit.diagnostics.page.sections.particles import particles
from bayeskit.diagnostics.page.sections.pictures import pictures
from bayeskit.diagnostics.page.sections.predictions import predictions
from bayeskit.diagnostics.page.sections.predictive import predictive
from bayeskit.diagnostics.page.sections.priors import priors
from bayeskit.diagnostics.page.sections.run import run
from bayeskit.diagnostics.page.sections.sampling import sampling
from bayeskit.diagnostics.page.subject import Subject

SECTIONS: tuple[Callable[[Subject], Section | None], ...] = (
    estimates,
    pictures,
    calibration,
    predictive,
    predictions,
    leave_one_out,
    priors,
    model,
    data,
    sampling,
    particles,
    learning,
    run,
)
"""Each gives its section, or nothing where the result has nothing for it."""
