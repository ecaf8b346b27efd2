"""`sbc`: simulation-based calibration."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from bayeskit._keys import host_key
from bayeskit._progress import ProgressBar
from bayeskit._typing import Data, Key, Model
from bayeskit.errors import DataError, Interrupted, MethodError, ModelError
from bayeskit.inference.calibration.record import as_tree, attributes
from bayeskit.inference.calibration.replicate import Quantity, Replicate, Replication
from bayeskit.inference.fan_out import Executor, check_executor, map_tasks
from bayeskit.inference.method import DirectMethod, Method
from bayeskit.inference.predictive import new_inputs
from bayeskit.program import Program
from bayeskit.program.bind import named
from bayeskit.program.tables import given as given_table
from bayeskit.target import Target
from bayeskit.xla.kept_programs import programs_kept

if TYPE_CHECKING:
    import xarray as xr

__all__ = ["sbc"]


@programs_kept()
def sbc(
    model: Model,
    data: Data | None,
    method: Method | DirectMethod,
    num_replicates: int = 300,
    key: Key = 0,
    executor: Executor = None,
    *,
    around: xr.DataTree | None = None,
    num_draws: int = 99,
    quantities: Mapping[str, Quantity] | None = None,
    progress: bool = True,
) -> xr.DataTree:
    r"""Simulation-based calibration: does a method draw from the posterior of a model?

    For :math:`x^* \sim p(x)` and :math:`y \sim p(y \mid x^*)`, the truth :math:`x^*` is one more draw from
    :math:`p(x \mid y)`. So for every function :math:`f(x, y)`, the rank of :math:`f(x^*, y)` among
    :math:`f(x_1, y), \dots, f(x_L, y)` is uniform on :math:`0, \dots, L` if :math:`x_1, \dots, x_L` are independent
    draws of the posterior. Here :math:`f` are all elements of latent and deterministic sites, the log likelihood
    :math:`\log p(y \mid x)`, which tells what no single element does (a posterior that ignores the data, say), and
    the test quantities given. :func:`bayeskit.check` tests the ranks, :func:`bayeskit.calibration` has the numbers,
    and :func:`bayeskit.plot_calibration` the picture.

    With `around`, the same of one posterior in place of the prior: :math:`x^* \sim p(x \mid y_\text{given})`,
    :math:`y \sim p(y \mid x^*)`, and the fit is one of both data sets, :math:`p(x \mid y_\text{given}, y)`. It says
    whether the method is right where the data are, and does not ask of it what only a wide prior would.

    Draws are thinned to as many as they are worth, by the smallest effective sample size of the fit, at most
    `num_draws`. Replicate :math:`i` depends on :math:`i` and the key alone, so that its ranks are the same in any
    process and in any order. A fit that fails is recorded with its message, and the others go on.

    Args:
        model: the NumPyro function.
        data: its arguments: covariates as they are; of observations only the shapes count, and they may be ``None``
            where the site that observes them has the name of the argument.
        method: how each data set is fitted: any method of :func:`bayeskit.infer`.
        num_replicates: data sets.
        key: an integer seed or a JAX key.
        executor: ``None`` for this process; a number of worker processes, ``"local"`` for one on each processor, the
            address of a Dask scheduler, or a ``dask.distributed.Client``.
        around: a fit of the model to ``data``, to simulate from in place of the prior.
        num_draws: the most draws kept of each fit, :math:`L`.
        quantities: further test quantities by name, functions of the values of all ranked sites and of the data.
        progress: show a progress bar.

    Returns:
        A DataTree. Groups ``ranks`` (``int``, -1 where the fit failed), ``pit`` (the rank as a number in (0, 1), NaN
        where the fit failed) and ``truth``, each with the dimension ``replicate`` first; ``replicates`` with
        ``num_draws``, ``ess``, ``num_divergences`` and ``failure`` (empty, or a message). Elements that have one value
        in all draws, up to rounding, are left out.

    Raises:
        ModelError: the model cannot be simulated (a factor, a parameter without a prior, an observation that is no
            argument as it stands or enters elsewhere too, a latent site that is masked), or the method cannot fit it.
        MethodError: an impossible setting, a test quantity that is no number, or an unusable executor.
        DataError: as for :func:`bayeskit.bind`.
        Interrupted: stopped by hand, or by workers that are gone; ``.post`` holds the ranks so far.

    Example:
        >>> import numpyro, numpyro.distributions as dist
        >>> import bayeskit as bk
        >>> def model(y=None):
        ...     mu = numpyro.sample("mu", dist.Normal(0.0, 1.0))
        ...     with numpyro.plate("row", 3):
        ...         numpyro.sample("y", dist.Normal(mu, 1.0), obs=y)
        >>> method = bk.HMC(num_chains=1, num_warmup=100, num_draws=100)
        >>> ranks = bk.sbc(model, {}, method, num_replicates=4, num_draws=19, progress=False)
        >>> ranks["ranks/mu"].sizes["replicate"], list(ranks["pit"].data_vars)
        (4, ['mu', 'log_likelihood'])

    References:
        Talts, Betancourt, Simpson, Vehtari and Gelman (2018), arXiv:1804.06788, theorem 1 and algorithm 2; Modrák,
        Moon, Kim, Bürkner, Huurre, Faltejsková, Gelman and Vehtari (2023), Bayesian Analysis (test quantities);
        Säilynoja, Schmitt, Bürkner and Vehtari (2025), arXiv:2502.03279 (`around`).
    """
    _check(model, method, num_replicates, num_draws, quantities)
    check_executor(executor)
    table = given_table(model, data)
    model, given, raw = table.model, named(table.data), host_key(key)
    origin = None if around is None else _origin(around, method)
    replication = Replication(model, given, method, raw, num_draws, quantities or {}, origin)
    replication.prepare()
    if around is not None:
        _check_same_data(around, replication)
    attrs = attributes(replication, num_replicates)
    done: dict[int, Replicate] = {}
    with ProgressBar(num_replicates, progress) as bar:
        try:
            replicates = map_tasks(replication, range(num_replicates), executor, by_value=(model,))
            with contextlib.closing(replicates):
                for number, replicate in replicates:
                    done[number] = replicate
                    bar.update("replicates", len(done))
        except (KeyboardInterrupt, Interrupted):
            raise _stopped("interrupted", attrs, done) from None
        except Exception as error:  # a cluster that goes away takes nothing with it that is here
            if not done:
                raise
            raise _stopped(f"stopped by {type(error).__name__} ({error})", attrs, done) from error
    return as_tree(attrs, done)


def _stopped(how: str, attrs: Mapping[str, object], done: Mapping[int, Replicate]) -> Interrupted:
    tree = as_tree(attrs, done, interrupted=True) if done else None
    told = f"{how} after {len(done)} of {attrs['num_replicates']} replicates"
    return Interrupted(f"{told}, whose ranks are in .post" if done else told, tree)


def _check(model: object, method: object, num_replicates: object, num_draws: object, quantities: object) -> None:
    if isinstance(model, Program | Target):
        raise ModelError(
            "sbc takes the NumPyro function and its data apart, since other data take the place of the observations; "
            "got a model whose data are bound"
        )
    if not isinstance(method, Method | DirectMethod):
        raise MethodError(f"method must be a bayeskit method such as bk.NUTS(), got {method!r}")
    if isinstance(method, DirectMethod) and method.calibrated_by:
        raise MethodError(
            f"{type(method).__name__} predicts data and draws no latent sites, so that sbc has nothing to rank; use "
            f"{method.calibrated_by}"
        )
    for name, value in (("num_replicates", num_replicates), ("num_draws", num_draws)):
        if not isinstance(value, int | np.integer) or isinstance(value, bool) or value < 1:
            raise MethodError(f"{name} must be an integer of at least 1, got {value!r}")
    if quantities is not None and not (isinstance(quantities, Mapping) and all(map(callable, quantities.values()))):
        raise MethodError(f"quantities must be functions by name, got {quantities!r}")


def _check_same_data(around: xr.DataTree, replication: Replication) -> None:
    from bayeskit.storage import site_values

    program, arguments = replication.simulator.program, replication.simulator.arguments
    for site, value in site_values(around, "observed_data", optional=True).items():
        given = program.arrays[arguments[site]] if site in arguments else None
        if given is not None and not (given.shape == value.shape and np.allclose(given, value, equal_nan=True)):
            raise DataError(
                f"around is a fit to other data: the observations {arguments[site]!r} are not those of data"
            )
    if new_inputs(program, around, [*arguments, *arguments.values()]) is not None:
        raise DataError("around is a fit to other data: its covariates, in constant_data, are not those of data")


def _origin(around: xr.DataTree, method: Method | DirectMethod) -> dict[str, np.ndarray]:
    """Draws of the latent sites of a fit in a row."""
    if not hasattr(around, "children") or "posterior" not in around.children:
        raise DataError(f"around must be a fit, the DataTree that bayeskit.infer returned, got {type(around).__name__}")
    if isinstance(method, DirectMethod):
        raise MethodError(f"around: {type(method).__name__} cannot fit the given data and simulated ones together")
    from bayeskit.storage import site_values

    kinds = {v.attrs.get("site_name", n): v.attrs.get("site_kind") for n, v in around["posterior"].data_vars.items()}
    values = site_values(around)
    return {n: v.reshape(-1, *v.shape[2:]) for n, v in values.items() if kinds.get(n) != "deterministic"}
