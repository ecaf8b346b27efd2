"""Importance resampling: from draws of a guide to draws of the posterior."""

from __future__ import annotations

import jax
import numpy as np
import xarray as xr

from bayeskit._typing import Array
from bayeskit.diagnostics.importance import MAX_K, pareto_k
from bayeskit.diagnostics.verdict import Finding, Measure
from bayeskit.errors import DataError, MethodError
from bayeskit.numerics.importance import systematic

MIN_ESS = 100.0
_DROPPED = ("log_weight", "log_q")


def importance_resample(fit: xr.DataTree, num_draws: int, *, key: Array | int, force: bool = False) -> xr.DataTree:
    r"""Draw anew from the draws of a variational fit, in proportion to their importance weights.

    With :math:`z_i \sim q`, :math:`w_i = p(y, z_i) / q(z_i)`, the largest weights smoothed by a generalised Pareto
    distribution (PSIS), each new draw is :math:`z_i` with probability :math:`\bar w_i = w_i / \sum_j w_j`
    (systematic resampling). As the number of draws of the fit grows, the new ones follow the posterior, where those of
    the fit follow the guide. The number of *different* ones is what counts: draws are repeated, and worth no more
    than :math:`1 / \sum_i \bar w_i^2` independent ones, which :func:`bayeskit.check` goes by. Make the fit with many
    draws, :math:`\mathtt{num\_draws} \ll` those of the fit.

    Several fits are resampled one by one.

    Args:
        fit: the result of :class:`bayeskit.VI`.
        num_draws: how many, from each fit.
        key: an integer seed or a JAX key.
        force: resample although :math:`\hat k > 0.7`; the verdict of the result is then bad.

    Returns:
        A new tree; its ``sample_stats`` hold ``pareto_k`` and ``importance_ess`` of the fit a draw comes from.

    Raises:
        DataError: ``fit`` is not the result of a variational fit.
        MethodError: :math:`\hat k > 0.7`, or an impossible number of draws.

    Example:
        >>> import numpy as np, numpyro, numpyro.distributions as dist
        >>> import bayeskit as bk
        >>> def model():
        ...     a = numpyro.sample("a", dist.Normal(0.0, 1.0))
        ...     b = numpyro.sample("b", dist.Normal(a, 2.0))
        ...     numpyro.sample("y", dist.Normal(a + b, 1.0), obs=1.2)
        >>> fit = bk.infer(model, None, bk.VI(num_steps=1000, num_draws=4000), key=0, progress=False)
        >>> post = bk.importance_resample(fit, 1000, key=1)  # independent in the guide, correlated in the posterior
        >>> bool(abs(np.corrcoef(fit["posterior/a"][0], fit["posterior/b"][0])[0, 1]) < 0.1)
        True
        >>> bool(np.corrcoef(post["posterior/a"][0], post["posterior/b"][0])[0, 1] < -0.2)
        True

    References:
        Rubin (1988), "Using the SIR algorithm to simulate posterior distributions"; Vehtari, Simpson, Gelman, Yao and
        Gabry (2024), "Pareto smoothed importance sampling".
    """
    log_weights = _log_weights(fit)
    if not isinstance(num_draws, int) or isinstance(num_draws, bool) or num_draws < 1:
        raise MethodError(f"num_draws must be a positive integer, got {num_draws!r}")
    fits = [pareto_k(one) for one in log_weights]
    worst = max(range(len(fits)), key=lambda chain: np.nan_to_num(fits[chain].k, nan=np.inf, posinf=np.inf))
    if np.isnan(fits[worst].k) and not force:
        raise MethodError(
            f"the fit has {log_weights.shape[1]} draws, too few to tell whether its weights reach the posterior; make "
            "it with more (num_draws of bayeskit.VI), or pass force=True for a result whose verdict is bad"
        )
    if fits[worst].k > MAX_K and not force:
        raise MethodError(
            f"the Pareto k of fit {worst} is {fits[worst].k:.2f}, above {MAX_K}: weights do not reach the posterior. "
            "Use a richer guide, start NUTS from the fit (init=fit), or pass force=True for a result whose verdict is "
            "bad"
        )
    keys = jax.random.split(_as_key(key), len(fits))
    index = np.stack([systematic(one.weights, num_draws, k) for one, k in zip(fits, keys, strict=True)])
    shape = index.shape
    stats = {
        "pareto_k": np.broadcast_to([[one.k] for one in fits], shape),
        "importance_ess": np.broadcast_to([[one.ess] for one in fits], shape),
    }
    return _select(fit, index, stats)


def resample_pooled(
    tree: xr.DataTree, weights: np.ndarray, num_draws: int, key: Array | int, stats: dict[str, float]
) -> xr.DataTree:
    """One chain, drawn from the draws of all chains in proportion to weights of shape ``(chain * draw,)``."""
    datasets = {}
    for node in tree.subtree:
        dataset = node.to_dataset(inherit=False)
        if {"chain", "draw"} <= set(dataset.dims) and not str(node.name).startswith("warmup"):
            dataset = dataset.stack(pooled=("chain", "draw"), create_index=False).drop_vars(("chain", "draw"))
            dataset = dataset.rename(pooled="draw").expand_dims(chain=1).transpose("chain", "draw", ...)
        datasets[node.path] = dataset
    datasets.setdefault("/sample_stats", xr.Dataset())
    index = systematic(weights, num_draws, _as_key(key))[None]
    return _select(xr.DataTree.from_dict(datasets), index, {n: np.full(index.shape, v) for n, v in stats.items()})


def resampled(stats: dict[str, np.ndarray]) -> tuple[list[Finding], list[Measure]]:
    """Judge draws made by `importance_resample`."""
    if "importance_ess" not in stats:
        return [], []
    k, ess = float(stats["pareto_k"].max()), float(stats["importance_ess"].min())
    measures = [Measure("max Pareto k", k, MAX_K), Measure("min importance ESS", ess, MIN_ESS)]
    findings = []
    if not k <= MAX_K:
        findings.append(
            Finding(
                "pareto_k",
                "error",
                (),
                k,
                MAX_K,
                "The draws were resampled from a guide that is far from the posterior, and are not of the posterior.",
                "NUTS started from these draws: bayeskit.infer(model, data, bayeskit.NUTS(), key=..., init=post); or "
                "a richer guide of bayeskit.VI.",
            )
        )
    if not ess >= MIN_ESS:
        findings.append(
            Finding(
                "importance_ess",
                "error",
                (),
                ess,
                MIN_ESS,
                f"The resampled draws are worth {ess:.0f} independent ones: few of those of the guide have weight.",
                "more draws to resample from (num_draws of bayeskit.VI, draws_per_path of bayeskit.Pathfinder), or "
                "NUTS started from these: bayeskit.infer(model, data, bayeskit.NUTS(), key=..., init=post).",
            )
        )
    return findings, measures


def capped(measures: list[Measure], stats: dict[str, np.ndarray]) -> list[Measure]:
    """Effective numbers of resampled draws: the estimates do not see that draws are repeated."""
    worth = stats.get("importance_ess", stats.get("effective_draws"))
    if worth is None:
        return measures
    most = float(worth[:, 0].sum())
    return [m._replace(value=min(m.value, most)) if m.name.endswith(" ESS") else m for m in measures]


def _log_weights(fit: xr.DataTree) -> np.ndarray:
    if not isinstance(fit, xr.DataTree) or "posterior" not in fit.children:
        raise DataError(
            f"fit must be the DataTree that bayeskit.infer returned for bayeskit.VI, got {type(fit).__name__}"
        )
    if "sample_stats" not in fit.children or "log_weight" not in fit["sample_stats"].data_vars:
        raise DataError(
            "the result has no sample_stats/log_weight, which only fits by bayeskit.VI have: draws of MCMC, and those "
            "resampled already, are not weighted"
        )
    return np.asarray(fit["sample_stats/log_weight"].transpose("chain", "draw").values)


def _select(fit: xr.DataTree, index: np.ndarray, stats: dict[str, np.ndarray]) -> xr.DataTree:
    chosen = xr.DataArray(index, dims=("chain", "draw"))
    chains = xr.DataArray(np.arange(len(index)), dims="chain")
    datasets = {}
    for node in fit.subtree:
        dataset = node.to_dataset(inherit=False)
        if {"chain", "draw"} <= set(dataset.dims) and not str(node.name).startswith("warmup"):
            dataset = dataset.isel(chain=chains, draw=chosen).drop_vars(("chain", "draw"), errors="ignore")
            dataset = dataset.assign_coords(chain=np.arange(index.shape[0]), draw=np.arange(index.shape[1]))
        if node.name == "sample_stats":
            dataset = dataset.drop_vars(_DROPPED, errors="ignore")
            dataset = dataset.assign({name: (("chain", "draw"), array) for name, array in stats.items()})
        datasets[node.path] = dataset
    tree = xr.DataTree.from_dict(datasets)
    tree.attrs = {**fit.attrs, "num_draws": index.shape[1], "importance_resampled": 1}
    return tree


def _as_key(key: Array | int) -> Array:
    return jax.random.PRNGKey(key) if isinstance(key, int) else key
