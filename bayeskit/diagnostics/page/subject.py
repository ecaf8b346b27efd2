"""What a report is about: a result, the model behind it where that is at hand, and the verdict."""

from __future__ import annotations

import json
import re
from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import xarray as xr

from bayeskit._typing import Data, Model
from bayeskit.diagnostics.amortised import P_VALUE
from bayeskit.diagnostics.angles import unrolled
from bayeskit.diagnostics.calibration import is_of_ranks
from bayeskit.diagnostics.check import Learned, check
from bayeskit.diagnostics.elements import Site, group_sites, hidden
from bayeskit.diagnostics.page.model_at_hand import ModelAtHand, find_model
from bayeskit.diagnostics.verdict import Verdict
from bayeskit.errors import StorageError

_AUXILIARY = re.compile(r"^z$|^z_|_(raw|white|trans|base|decentered|offset|at_means)$")


@dataclass(frozen=True)
class Subject:
    """What a report is about.

    Attributes:
        tree: the result, or the record of what was learned.
        verdict: of `bayeskit.check`.
        model: the model behind it, or why there is none.
        thing: what was learned, where that was given.
    """

    tree: xr.DataTree
    verdict: Verdict
    model: ModelAtHand
    thing: object = None

    @property
    def attrs(self) -> dict[str, object]:
        """The record of the run."""
        return {str(name): value for name, value in self.tree.attrs.items()}

    def has(self, group: str) -> bool:
        """Whether there is such a group with something in it."""
        return group in self.tree.children and bool(self.tree[group].data_vars)

    @cached_property
    def stats(self) -> set[str]:
        """The names of the sample statistics."""
        return {str(name) for name in self.tree["sample_stats"].data_vars} if self.has("sample_stats") else set()

    @property
    def is_of_chains(self) -> bool:
        """Whether the draws are of chains, which can be compared with each other."""
        return self.has("posterior") and not (self.is_independent or self.is_of_particles)

    @property
    def is_independent(self) -> bool:
        """Whether the draws are independent ones of an approximation."""
        return "log_weight" in self.stats or "importance_ess" in self.stats

    @property
    def is_of_particles(self) -> bool:
        """Whether the draws are particles, or weighted points that were resampled."""
        return "temperature" in self.stages or "effective_draws" in self.stats

    @cached_property
    def stages(self) -> dict[str, np.ndarray]:
        """The traces before the draws, shape ``(chain, stage)``."""
        if not self.has("warmup_sample_stats"):
            return {}
        return {str(n): np.asarray(v.values) for n, v in self.tree["warmup_sample_stats"].data_vars.items()}

    @cached_property
    def sites(self) -> list[Site]:
        """The variables in the order of the report: scalars, named vectors, what only helps the sampler."""
        if not self.has("posterior"):
            return []
        sites = [unrolled(site) for site in group_sites(self.tree, "posterior")]
        self_hidden = hidden(sites)
        return sorted(
            (site for site in sites if site.name not in self_hidden),
            key=lambda site: (is_auxiliary(site.name), site.labels != [site.name]),
        )

    def drawable(self, site: Site) -> dict[str, np.ndarray]:
        """The draws of the elements of a site that are finite and move, by label."""
        if site.shape[1] < 4:
            return {}
        return {
            label: site.element(k) for k, label in enumerate(site.labels) if site.finite[k] and not site.constant[k]
        }

    @cached_property
    def scalars(self) -> dict[str, np.ndarray]:
        """Draws of the scalar quantities with a name of their own, by name, shape ``(chain, draw)``."""
        return {
            name: draws
            for site in self.sites
            if not is_auxiliary(site.name) and site.labels == [site.name]
            for name, draws in self.drawable(site).items()
        }


def is_auxiliary(name: str) -> bool:
    """Whether a name is that of a raw quantity of a parameterisation: ``level_raw``, ``z``, ``theta_decentered``."""
    return bool(_AUXILIARY.search(name))


def subject_of(post: object, model: Model | None, data: Data | None) -> Subject:
    """What is to be reported.

    Raises:
        StorageError: it is a result without draws, record or ranks; what to do is said.
        TypeError: it is no result, and has no record.
        ModelError: a model that is not that of the result.
    """
    tree = post if isinstance(post, xr.DataTree) else getattr(post, "tree", None) if isinstance(post, Learned) else None
    if not isinstance(tree, xr.DataTree):
        raise TypeError(_not_reported(post))
    _check_content(tree)
    return Subject(tree, check(tree, quiet=True), find_model(tree, model, data), None if tree is post else post)


def _not_reported(post: object) -> str:
    name = type(post).__name__
    if isinstance(post, Mapping) and all(isinstance(one, xr.DataTree) for one in post.values()):
        return "report is of one result; write one for each, and compare them with bayeskit.compare(posts)"
    if isinstance(post, str) or hasattr(post, "__fspath__"):
        return f"report takes a result, not the name of a file: bayeskit.report(bayeskit.load({str(post)!r}), path)"
    advice = "pass what bayeskit.infer returned, or what a fit returned (anything that bayeskit.check judges)"
    if hasattr(post, "evaluate") or hasattr(post, "kernel") or hasattr(post, "nngp"):
        advice = (
            "a kernel has been fitted to nothing: put it into a NumPyro model, and report what bayeskit.infer makes of "
            "that, or report a fitted classifier"
        )
    elif callable(post):
        advice = "a function has not been fitted: report bayeskit.infer(model, data, method, key=...)"
    return f"report takes a result, and a {name} is none: {advice}"


def _check_content(tree: xr.DataTree) -> None:
    groups = set(tree.children)
    if groups & {"posterior", "training"} or P_VALUE in tree.attrs or is_of_ranks(tree):
        return
    if groups & {"prior", "prior_predictive"}:
        raise StorageError(
            "the result has no group 'posterior': it holds draws from the prior alone, which nothing has been "
            "fitted to. "
            "Fit the model, and give its prior draws to the result: post['prior'] = tree['prior']"
        )
    raise StorageError(
        f"the result has no group 'posterior'; it has {', '.join(tree.children) or 'no group'}. A report needs what "
        "bayeskit.infer, bayeskit.sbc or a fit returned"
    )


def json_object(value: object) -> dict[str, object]:
    """The content of an attribute that is a JSON object; empty where it is none."""
    if not isinstance(value, str) or not value.startswith("{"):
        return {}
    try:
        content = json.loads(value)
    except ValueError:
        return {}
    return content if isinstance(content, dict) else {}


def number_in(attrs: Mapping[str, object] | Mapping[Hashable, object], name: str) -> float:
    """A number of the record; NaN where there is none."""
    value = dict(attrs).get(name)
    return float(value) if isinstance(value, int | float) else float("nan")
