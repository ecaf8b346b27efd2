"""`check`: can these draws be trusted, or what was learned?"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Protocol, runtime_checkable

import numpy as np
import xarray as xr

from bayeskit.diagnostics import chains, sampler
from bayeskit.diagnostics.advice import advised
from bayeskit.diagnostics.amortised import P_VALUE, amortised
from bayeskit.diagnostics.angles import unrolled
from bayeskit.diagnostics.approximation import approximation, step_size_bias
from bayeskit.diagnostics.calibration import is_of_ranks, ranks_findings
from bayeskit.diagnostics.convergence import FEW_DRAWS, convergence
from bayeskit.diagnostics.early import early_draws
from bayeskit.diagnostics.elements import Site, hidden, judged, pieces, posterior_sites
from bayeskit.diagnostics.equation import equation, unseen
from bayeskit.diagnostics.evidence import from_prior
from bayeskit.diagnostics.importance import FEWEST, importance_weights
from bayeskit.diagnostics.modes import unvisited_modes
from bayeskit.diagnostics.nested import grouped, nested_convergence, num_superchains
from bayeskit.diagnostics.optimisation import fits_disagree, optimisation, training
from bayeskit.diagnostics.resampling import capped, resampled
from bayeskit.diagnostics.unfinished import unfinished
from bayeskit.diagnostics.verdict import Finding, Measure, Verdict
from bayeskit.errors import StorageError


@runtime_checkable
class Learned(Protocol):
    """What an optimisation has made, with its record."""

    @property
    def tree(self) -> xr.DataTree:
        """The record of its training: the groups that `bayeskit.check` reads."""


_STATS_NEEDED = {
    "diverging": "divergences",
    "energy": "E-BFMI",
    "lp": "the log density",
    "acceptance_rate": "the acceptance rate",
}
_OTHER_DRAWS = ("log_likelihood", "posterior_predictive")
FLOAT32_LP = 1e5  # beyond it, neighbouring float32 numbers are more than 0.007 apart


def check(post: xr.DataTree | Learned, *, quiet: bool = False) -> Verdict:
    r"""Decide whether the draws of a run can be trusted, and say why not and what to try.

    ==================== ======== ================================================================================
    `non_finite_draws`   error    a draw, a sample statistic or a predicted value that is NaN (or infinite)
    `r_hat`              error    rank-normalised split $\hat R > 1.01$; warning: up to 1.05, and chance explains it
    `nested_r_hat`       error    superchains that differ by more than their chains explain
    `ess_bulk`           error    effective sample size of the bulk below 100 a chain
    `ess_tail`           error    the same for the 5% and 95% quantiles
    `divergences`        error    one divergent transition or more
    `tree_depth`         warning  more than 1% of the trajectories cut at the largest tree depth
    `e_bfmi`             warning  E-BFMI of a chain below 0.3; error below 0.2
    `stuck_chain`        error    a chain that stands still, or moves 30 times less than the others
    `separated_chains`   error    chains whose central 90% do not overlap
    `unsettled_density`  error    $\hat R > 1.05$ of the log density
    `early_draws`        error    chains lowest in their first draws, without which a standard deviation is 10% another
    `underflow`          error    a continuous parameter that is exactly 0 in some draws
    `one_chain`          warning  one chain only; $\hat R$ then compares its halves
    `few_draws`          warning  fewer than 100 draws a chain; error below 4
    `unvisited_mode`     warning  a mode with over 0.7% of the posterior that no chain came near; error: moments change
    `unfinished`         warning  the run has not ended: these are the draws so far
    `pareto_k`           error    Pareto $\hat k > 0.7$ of a guide's weights: it is far from the posterior
    `guide_moments`      error    means or standard deviations of a guide that its weights change by much
    `fits_disagree`      error    independent fits that differ by more than chance
    `not_converged`      error    a fit whose stopping rule was not met; warning: a loss that still falls at the end
    `held_out_rises`     warning  a held-out loss that has risen since its lowest
    `importance_ess`     error    draws resampled from a guide that are worth fewer than 100 independent ones a fit
    `ess_collapse`       error    SMC: weights worth less than a tenth of the particles at a step of temperature
    `particles_stuck`    error    SMC: moves that move fewer than 80% of the particles of a stage
    `slow_moves`         warning  SMC: moves after which likelihoods still have correlation 0.5 with those before
    `few_ancestors`      warning  SMC: particles of a run that descend from fewer than 20 draws of the prior
    `cut_short`          error    nested sampling ended by its limit, before its tolerance
    `likelihood_ties`    error    nested sampling: more than 1% of the points share their likelihood with another
    `effective_draws`    error    weighted points worth fewer than 100 independent draws a run
    `round_trips`        error    parallel tempering without a round trip; warning below 10
    `swap_rate`          warning  neighbouring temperatures that exchange places in fewer than 10% of the attempts
    `runs_disagree`      error    evidence of independent runs that differs by more than chance (p below 0.001)
    `evidence_error`     warning  a log evidence whose standard error is above 0.5
    `undefined_likelihood` warning a likelihood that was NaN somewhere under the prior; error over 1%
    `failed_paths`       warning  paths of Pathfinder that were left out
    `undefined_density`  error    a log density that is NaN at over 1% of an approximation's draws; warning: at any
    `other_modes`        error    modes that a Laplace approximation leaves out, with over 5% of the posterior
    `flat_direction`     error    a Hessian that is singular to the precision of its numbers
    `step_size_bias`     warning  variances too large by 10%, as a method without accept step estimates; error: 30%
    `skipped_steps`      warning  steps of an optimisation whose gradient was not finite; error over 1%
    `float32`            warning  single precision, when something is wrong or the log density is beyond its reach
    `gauss_newton`       error    a nonlinear equation for which Gauss-Newton has not arrived
    `undetermined`       error    an equation of which neither boundary or initial values nor readings are known
    `residual`           error    an equation that is off between its nodes by more than 3 standard deviations
    `readings`           error    readings that a solution misses by more than 2 standard deviations of their noise
    `ill_conditioned`    error    linear equations that were not solved to 1e-4
    `tolerance_raised`   warning  an equation that is satisfied to no better than 1e-3 of its size; error over 0.03
    `outside_prior`      error    data unlike those that a network was trained on (predictive p-value below 0.01)
    `few_nodes`          warning  a spectrum learned from fewer than 10 nodes a number, where bands are wide
    `unresolved_frequency` warning a learned frequency above 90% of what the nodes resolve
    `miscalibrated`      error    ranks of :func:`bayeskit.sbc` that are not uniform (1% for all of them together)
    `failed_replicates`  warning  fits of it that failed; error over 5%
    `stuck_replicates`   warning  fits of it worth fewer than 9 independent draws; error over 10%
    `divergent_replicates` warning more than 5% of its fits have divergent transitions
    `few_replicates`     warning  fewer than 100 of them
    ==================== ======== ================================================================================

    Elements that have one value in every draw of every chain are left out when that is their structure: deterministic
    sites, integers, and single elements of a site that moves elsewhere (the zeros of a Cholesky factor).

    Angles, of which -pi and pi are the same, are judged by their sines and cosines: sites whose support is
    ``constraints.circular``, and what `CircularReparam` makes of them. The auxiliary sites of a reparameterisation
    are not judged where several of their values mean the same (the windings of an angle, the radius of a direction);
    the site that the model sees is, in their place.

    $\hat k$ counts as zero where the weights are so nearly equal that no mean or standard deviation can be wrong by
    much.

    What was learned by an optimisation, such as a Schrödinger bridge, is judged by its traces, for `not_converged`,
    `held_out_rises` and `skipped_steps`; the solution of a differential equation also by the last seven.
    A loss counts as falling, or rising, from a hundredth a point on.

    Args:
        post: the result of a run: a group ``posterior`` with dimensions ``(chain, draw)``; ``sample_stats`` if there
            is one, and what is missing there is listed as not checked. Or something learned: its ``tree``, or itself.
        quiet: do not print the verdict.

    Returns:
        The verdict; ``verdict.ok`` and ``bool(verdict)`` say whether it is good.

    Raises:
        StorageError: there is no posterior, or it does not have the dimensions ``(chain, draw)``.
        TypeError: `post` is not a DataTree.

    Example:
        >>> import numpy as np
        >>> from bayeskit.storage import make_tree
        >>> draws = np.random.default_rng(0).normal(size=(4, 1000))
        >>> verdict = check(make_tree({"posterior": {"mu": draws}}), quiet=True)
        >>> verdict.ok, verdict.max_r_hat < 1.01
        (True, True)
        >>> check(make_tree({"posterior": {"mu": draws + 4 * np.arange(4)[:, None]}}), quiet=True).findings[0].name
        'separated_chains'

    References:
        Vehtari, Gelman, Simpson, Carpenter and Bürkner (2021), Bayesian Analysis 16(2), sections 3 and 4;
        Margossian, Hoffman, Sountsov, Riou-Durand, Vehtari and Gelman (2024), Bayesian Analysis, of nested R-hat;
        Betancourt (2016), arXiv:1604.00695, equation 2.
    """
    tree = post.tree if isinstance(post, Learned) and not isinstance(post, xr.DataTree) else post
    if isinstance(tree, xr.DataTree) and "training" in tree.children and "posterior" not in tree.children:
        verdict = _of_training(tree)
    elif isinstance(tree, xr.DataTree) and P_VALUE in tree.attrs:
        verdict = _of_predictions(tree)
    elif isinstance(tree, xr.DataTree) and is_of_ranks(tree):
        verdict = _of_ranks(tree)
    else:
        verdict = _of_draws(tree)
    if not quiet:
        print(verdict)
    return verdict


def _of_training(tree: xr.DataTree) -> Verdict:
    traces = _arrays(tree, "training")
    attrs = {str(name): value for name, value in tree.attrs.items()}
    if "phases" not in attrs and "gauss_newton_arrived" not in attrs:
        raise StorageError(
            f"there is nothing to judge: neither draws nor a loss, but {', '.join(sorted(traces)) or 'nothing'}"
        )
    findings = (training(traces, attrs) if "phases" in attrs else []) + equation(traces, attrs)
    num_steps = traces["loss"].size if "loss" in traces else 0
    return _verdict(findings, [], unseen(traces, attrs), num_steps=num_steps)


def _of_predictions(tree: xr.DataTree) -> Verdict:
    findings, measures = amortised({str(name): value for name, value in tree.attrs.items()})
    size = {"num_chains": 1, "num_draws": int(tree.attrs["num_draws"])}
    return _verdict(findings, measures, ["the network itself; bayeskit.models.pfn.check does that"], **size)


def _of_ranks(tree: xr.DataTree) -> Verdict:
    findings, measures = ranks_findings(tree)
    return _verdict(findings, measures, [], num_replicates=tree["replicates"].sizes["replicate"])


@dataclasses.dataclass
class Evidence:
    """What the checks of draws look at.

    Attributes:
        post: the result.
        drawn: the sites of the posterior.
        sites: as they are judged.
        moving: those that can be judged as chains; none where there is a single draw.
        stats: of the draws, ``(chain, draw, ...)``.
        groups: superchains; zero where there are none.
        short: superchains where their chains are too short to be judged one by one, else zero.
        findings: what the checks before have found.
    """

    post: xr.DataTree
    drawn: list[Site]
    sites: list[Site]
    moving: list[Site]
    stats: dict[str, np.ndarray]
    groups: int = 0
    short: int = 0
    findings: list[Finding] = dataclasses.field(default_factory=list)

    @property
    def lp(self) -> np.ndarray | None:
        """Of every draw, where it is known."""
        return self.stats.get("lp")

    def as_chains(self, name: str) -> np.ndarray | None:
        """A statistic, short chains of a superchain as one."""
        values = self.stats.get(name)
        return values.reshape(self.short, -1) if values is not None and self.short else values

    @property
    def measured(self) -> list[Site]:
        """The sites of which means and standard deviations are judged: angles as numbers, from their mean direction."""
        unseen = hidden(self.drawn)
        return [unrolled(site) for site in self.drawn if site.name not in unseen] if self.moving else []

    @property
    def is_of_guide(self) -> bool:
        """Whether these are independent draws of a guide, which have no chains to be judged."""
        return "log_weight" in self.stats or "importance_ess" in self.stats


Found = list[Finding] | tuple[list[Finding], list[Measure]]

CHECKS: tuple[Callable[[Evidence], Found], ...] = (  # causes first, symptoms after
    lambda e: unfinished(e.post),
    lambda e: chains.non_finite_draws(e.drawn),
    lambda e: sampler.non_finite_stats(e.stats),
    lambda e: _non_finite_groups(e.post),
    lambda e: chains.stuck_chains(e.moving, e.as_chains("acceptance_rate")),
    lambda e: chains.separated_chains(e.moving, e.as_chains("lp")),
    lambda e: chains.unsettled_density(None if e.short else e.lp),  # of short chains, by nested R-hat
    lambda e: early_draws(e.moving, None if e.short else e.lp),
    lambda e: unvisited_modes(e.post.attrs, e.drawn),
    lambda e: chains.underflow(e.moving),
    lambda e: sampler.divergences(e.stats, e.moving),
    lambda e: sampler.energy(e.stats, e.short),
    lambda e: nested_convergence(e.sites, e.lp, e.groups) if e.groups else convergence(e.sites),
    lambda e: sampler.tree_depth(e.stats),
    lambda e: importance_weights(e.stats, e.measured),
    lambda e: resampled(e.stats),
    lambda e: step_size_bias(e.stats),
    lambda e: approximation({str(name): value for name, value in e.post.attrs.items()}),
    lambda e: optimisation(_arrays(e.post, "warmup_sample_stats"), e.stats),
    lambda e: from_prior(e.post.attrs, _arrays(e.post, "warmup_sample_stats"), e.stats),
    lambda e: _float32(e.post, e.findings, e.lp),
)
"""One row a check: findings, or findings and the numbers that the verdict shows."""


def _of_draws(post: xr.DataTree) -> Verdict:
    drawn = posterior_sites(post)
    sites = judged(drawn)
    num_chains, num_draws = sites[0].shape[:2]
    groups = num_superchains(post, num_chains, num_draws)
    short = groups if num_draws < FEW_DRAWS else 0
    moving = [grouped(site, short) for site in sites] if short else sites if num_draws > 1 else []
    evidence, measures = Evidence(post, drawn, sites, moving, _sample_stats(post), groups, short), []
    for one in CHECKS:
        found = one(evidence)
        findings, numbers = found if isinstance(found, tuple) else (found, [])
        evidence.findings += findings
        measures += numbers
    stats, findings = evidence.stats, advised(evidence.findings, post.attrs)
    if evidence.is_of_guide:
        findings = fits_disagree(findings, stats)
    unchecked = _unchecked(evidence)
    return _verdict(findings, capped(measures, stats), unchecked, num_chains=num_chains, num_draws=num_draws)


def _verdict(findings: list[Finding], measures: list[Measure], unchecked: list[str], **size: int) -> Verdict:
    findings = sorted(findings, key=lambda finding: finding.severity != "error")  # stable: errors first
    ok = all(finding.severity != "error" for finding in findings)
    return Verdict(ok, tuple(findings), tuple(measures), tuple(unchecked), **size)


def _arrays(post: xr.DataTree, group: str) -> dict[str, np.ndarray]:
    if group not in post.children:
        return {}
    return {str(name): array.to_numpy() for name, array in post[group].data_vars.items()}


def _sample_stats(post: xr.DataTree) -> dict[str, np.ndarray]:
    if "sample_stats" not in post.children:
        return {}
    dataset = post["sample_stats"].to_dataset()
    return {
        str(name): np.asarray(variable.transpose("chain", "draw", ...).values)
        for name, variable in dataset.data_vars.items()
        if {"chain", "draw"} <= set(variable.dims)
    }


def _non_finite_groups(post: xr.DataTree) -> list[Finding]:
    """NaN in what was computed from the draws."""
    bad = [
        f"{group}/{name}"
        for group in _OTHER_DRAWS
        if group in post.children
        for name, variable in post[group].data_vars.items()
        if variable.dtype.kind == "f" and any(np.isnan(piece).any() for piece in pieces(variable))
    ]
    if not bad:
        return []
    return [
        Finding(
            "non_finite_draws",
            "error",
            tuple(bad),
            float(len(bad)),
            0.0,
            "Values computed from the draws are NaN.",
            "look for the parameter values that the likelihood cannot take: a scale of 0, a probability above 1.",
        )
    ]


def _float32(post: xr.DataTree, findings: list[Finding], lp: np.ndarray | None) -> list[Finding]:
    if post.attrs.get("float_dtype") != "float32":
        return []
    height = float(np.abs(lp[np.isfinite(lp)]).max(initial=0)) if lp is not None else 0.0
    trouble = any(finding.severity == "error" for finding in findings)
    if not trouble and height <= FLOAT32_LP:
        return []
    meaning = "The run used single precision (float32)"
    if height > FLOAT32_LP:
        meaning += f", in which a log density of {height:.1e} is rounded to steps of {height * 2.0**-23:.1g}"
    meaning += ", a likely cause of the problems above." if trouble else ": acceptance decisions are blurred."
    return [
        Finding(
            "float32",
            "warning",
            (),
            height,
            FLOAT32_LP,
            meaning,
            "repeat it in double precision: jax.config.update('jax_enable_x64', True) before anything else, or without "
            "--float32 on the command line.",
        )
    ]


def _unchecked(evidence: Evidence) -> list[str]:
    needed = {} if evidence.is_of_guide else _STATS_NEEDED  # independent draws of a guide have none of these
    notes = [f"{what} (no {name} in sample_stats)" for name, what in needed.items() if name not in evidence.stats]
    if needed and len(notes) == len(needed):
        notes = ["divergences, E-BFMI, log density and acceptance rate (no sample_stats)"]
    if "log_weight" in evidence.stats and evidence.stats["log_weight"].shape[1] < FEWEST:
        notes.append(f"Pareto k (fewer than {FEWEST} draws)")
    if "excess_variance" in evidence.stats:
        notes.append("the bias of the step size, but for its estimate on a normal posterior (there is no accept step)")
    constant = [s.name for s in evidence.moving if all(s.shape) and s.constant.all() and s.finite.all()]
    if constant:
        notes.append(f"{', '.join(constant)} (constant)")
    notes += [f"{name} (auxiliary; {seen} is judged in its place)" for name, seen in hidden(evidence.drawn).items()]
    return notes
