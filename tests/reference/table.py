"""One row a published posterior: its file, its model, how its data enter, and how it is sampled."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from .models import hierarchical, nonlinear, regression, state_space, time_series

FOLDER = Path(__file__).resolve().parents[2] / "data" / "posteriordb"


@dataclass(frozen=True)
class Reference:
    """A published posterior as a NumPyro model.

    The sites of ``model`` carry the names of the reference values, so no further mapping is needed: ``x[1,2]`` is
    element ``[0, 1]`` of site ``x``. ``init`` gives starting values where the default start is a bad one;
    ``fast`` marks what runs on every change.
    """

    name: str
    model: Callable[..., None]
    prepare: Callable[[Mapping[str, object]], dict[str, object]]
    target_accept: float = 0.8
    init: Mapping[str, object] | str | None = None
    fast: bool = False

    @cached_property
    def content(self) -> Mapping[str, object]:
        return json.loads((FOLDER / f"{self.name}.json").read_text())

    @property
    def data(self) -> dict[str, object]:
        """The data as the model's arguments."""
        return self.prepare(self.content["data"])

    @property
    def values(self) -> dict[str, Mapping[str, float]]:
        """What every parameter is compared with: exact values, without a standard error, where they are known."""
        exact = self.content.get("exact", {})
        return {
            name: {"mcse_mean": 0.0, "mcse_sd": 0.0, **exact[name]} if name in exact else published
            for name, published in self.content["reference"].items()
        }


REFERENCES = (
    Reference("arK-arK", time_series.autoregression, time_series.prepare_autoregression),
    Reference(
        "arma-arma11",
        time_series.arma11,
        time_series.prepare_series,
    ),
    Reference(
        "brownian_motion_unknown_scales_missing_middle_observations",
        state_space.brownian_motion,
        state_space.prepare_brownian_motion,
        target_accept=0.9,
    ),
    Reference(
        "convection_lorenz_bridge",
        state_space.lorenz_bridge,
        state_space.prepare_lorenz_bridge,
        # The path ends deep in the negative wing; one towards the other wing is a local mode without mass.
        init={"axes": [-0.7, 0.0, 0.0]},
    ),
    Reference("earnings-log10earn_height", regression.log10earn_height, regression.prepare_log10earn_height, fast=True),
    Reference(
        "eight_schools-eight_schools_centered",
        hierarchical.eight_schools_decentered,
        hierarchical.prepare_eight_schools,
        target_accept=0.95,
    ),
    Reference(
        "eight_schools-eight_schools_noncentered",
        hierarchical.eight_schools_noncentered,
        hierarchical.prepare_eight_schools,
        target_accept=0.95,
        fast=True,
    ),
    Reference("garch-garch11", time_series.garch11, time_series.prepare_garch11),
    Reference("gp_pois_regr-gp_regr", nonlinear.gp_regression, nonlinear.prepare_gp_regression),
    Reference("hmm_example-hmm_example", time_series.hidden_markov, time_series.prepare_series),
    Reference("hudson_lynx_hare-lotka_volterra", nonlinear.lotka_volterra, nonlinear.prepare_lotka_volterra),
    Reference("kidiq-kidscore_interaction", regression.kidscore_interaction, regression.prepare_kidscore_interaction),
    Reference("kidiq-kidscore_momiq", regression.kidscore_momiq, regression.prepare_kidscore_momiq, fast=True),
    Reference("kilpisjarvi_mod-kilpisjarvi", regression.kilpisjarvi, regression.prepare_kilpisjarvi, fast=True),
    Reference("low_dim_gauss_mix-low_dim_gauss_mix", nonlinear.gaussian_mixture, nonlinear.prepare_mixture),
    Reference("mesquite-logmesquite", regression.logmesquite, regression.prepare_logmesquite),
    Reference("nes1972-nes", regression.nes, regression.prepare_nes),
    Reference("radon_contextual_effects_minnesota_halfnormal", hierarchical.radon, hierarchical.prepare_radon),
    Reference("sblrc-blr", regression.blr, regression.prepare_blr, fast=True),
)
