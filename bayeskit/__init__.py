"""bayeskit: write a model once, as a NumPyro function; get a posterior with an honest verdict.

The public names are loaded on first use (PEP 562), so that ``import bayeskit`` costs little more than importing JAX and
NumPyro.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0.dev0"

_EXPORTS = {
    # errors
    "BayeskitError": "bayeskit._errors",
    "DataError": "bayeskit._errors",
    "InitError": "bayeskit._errors",
    "Interrupted": "bayeskit._errors",
    "MethodError": "bayeskit._errors",
    "ModelError": "bayeskit._errors",
    "SamplingError": "bayeskit._errors",
    "StorageError": "bayeskit._errors",
    "TrainingError": "bayeskit._errors",
    # programs and targets
    "Program": "bayeskit.program",
    "bind": "bayeskit.program",
    "prior_factor": "bayeskit.program",
    "Target": "bayeskit.target",
    "average": "bayeskit.program",
    "cond": "bayeskit.program",
    "detach": "bayeskit.program",
    "draw": "bayeskit.program",
    "estimators": "bayeskit.program",
    "log_average_exp": "bayeskit.program",
    "log_density": "bayeskit.program",
    "minibatch": "bayeskit.program",
    "replicate": "bayeskit.program",
    "scan": "bayeskit.program",
    # programmable variational inference
    "custom_estimator": "bayeskit.inference.vi",
    "disarm": "bayeskit.inference.vi",
    "laplace": "bayeskit.inference.vi",
    "unbiased": "bayeskit.inference.vi",
    "Unbiased": "bayeskit.inference.vi",
    "fitted_baseline": "bayeskit.inference.vi",
    "elbo": "bayeskit.inference.vi",
    "enumeration": "bayeskit.inference.vi",
    "exact": "bayeskit.inference.vi",
    "expectation": "bayeskit.inference.vi",
    "importance": "bayeskit.inference.vi",
    "marginal": "bayeskit.inference.vi",
    "normalize": "bayeskit.inference.vi",
    "sir": "bayeskit.inference.vi",
    "VI": "bayeskit.inference.vi",
    "block": "bayeskit.inference.vi",
    "flow": "bayeskit.inference.vi",
    "full_rank": "bayeskit.inference.vi",
    "laplace_guide": "bayeskit.inference.vi",
    "low_rank": "bayeskit.inference.vi",
    "mean_field": "bayeskit.inference.vi",
    "mixture": "bayeskit.inference.vi",
    "renyi_bound": "bayeskit.inference.vi",
    "tempered_elbo": "bayeskit.inference.vi",
    "wake_guide": "bayeskit.inference.vi",
    "annealed_elbo": "bayeskit.inference.vi",
    "cauchy_schwarz": "bayeskit.inference.vi",
    "f_divergence": "bayeskit.inference.vi",
    "forward_kl": "bayeskit.inference.vi",
    "hierarchical_elbo": "bayeskit.inference.vi",
    "log_variance": "bayeskit.inference.vi",
    "reweighted_wake_sleep": "bayeskit.inference.vi",
    "sleep": "bayeskit.inference.vi",
    "symmetric_kl": "bayeskit.inference.vi",
    "wake_model": "bayeskit.inference.vi",
    "LogWeight": "bayeskit.program",
    "importance_weighted_elbo": "bayeskit.inference.vi",
    "log_weight": "bayeskit.inference.vi",
    "measure_valued": "bayeskit.inference.vi",
    "pathwise": "bayeskit.inference.vi",
    "score": "bayeskit.inference.vi",
    # methods
    "HMC": "bayeskit.inference",
    "NUTS": "bayeskit.inference",
    "MCLMC": "bayeskit.inference",
    "ChEES": "bayeskit.inference",
    "MEADS": "bayeskit.inference",
    # the main verbs
    "infer": "bayeskit.inference",
    "predict": "bayeskit.inference",
    "resume": "bayeskit.inference",
    # model families
    "Bridge": "bayeskit.models.schrodinger_bridge",
    "BridgeConditional": "bayeskit.models.schrodinger_bridge",
    "LightBridge": "bayeskit.models.schrodinger_bridge",
    # storage
    "load": "bayeskit.storage",
    "read_data": "bayeskit.storage",
    "save": "bayeskit.storage",
    # diagnostics
    "Finding": "bayeskit.diagnostics",
    "Verdict": "bayeskit.diagnostics",
    "check": "bayeskit.diagnostics",
    "compare": "bayeskit.diagnostics",
    "importance_resample": "bayeskit.diagnostics",
    "loo": "bayeskit.diagnostics",
    "report": "bayeskit.diagnostics",
    "summary": "bayeskit.diagnostics",
}

__all__ = sorted([*_EXPORTS, "__version__"])


def __getattr__(name: str) -> Any:
    if name not in _EXPORTS:
        raise AttributeError(f"module 'bayeskit' has no attribute {name!r}")
    value = getattr(importlib.import_module(_EXPORTS[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__


if TYPE_CHECKING:
    from bayeskit._errors import (
        BayeskitError,
        DataError,
        InitError,
        Interrupted,
        MethodError,
        ModelError,
        SamplingError,
        StorageError,
        TrainingError,
    )
    from bayeskit.diagnostics import Finding, Verdict, check, compare, importance_resample, loo, report, summary
    from bayeskit.inference import HMC, MCLMC, MEADS, NUTS, ChEES, infer, predict, resume
    from bayeskit.inference.vi import (
        VI,
        Unbiased,
        annealed_elbo,
        block,
        cauchy_schwarz,
        custom_estimator,
        disarm,
        elbo,
        enumeration,
        exact,
        expectation,
        f_divergence,
        fitted_baseline,
        flow,
        forward_kl,
        full_rank,
        hierarchical_elbo,
        importance,
        importance_weighted_elbo,
        laplace,
        laplace_guide,
        log_variance,
        log_weight,
        low_rank,
        marginal,
        mean_field,
        measure_valued,
        mixture,
        normalize,
        pathwise,
        renyi_bound,
        reweighted_wake_sleep,
        score,
        sir,
        sleep,
        symmetric_kl,
        tempered_elbo,
        unbiased,
        wake_guide,
        wake_model,
    )
    from bayeskit.models.schrodinger_bridge import Bridge, BridgeConditional, LightBridge
    from bayeskit.program import (
        LogWeight,
        Program,
        average,
        bind,
        cond,
        detach,
        draw,
        estimators,
        log_average_exp,
        log_density,
        minibatch,
        prior_factor,
        replicate,
        scan,
    )
    from bayeskit.storage import load, read_data, save
    from bayeskit.target import Target
