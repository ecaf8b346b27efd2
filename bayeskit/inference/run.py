"""`infer`: from a model and data to a DataTree."""

from __future__ import annotations

import json
import os
import zlib
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import jax
import numpy as np

from bayeskit._keys import host_fold_in, host_key, host_split
from bayeskit._progress import ProgressBar
from bayeskit._settings import is_whole
from bayeskit._spelling import did_you_mean
from bayeskit._typing import Data, Key, Model
from bayeskit.errors import DataError, MethodError, ModelError
from bayeskit.inference.assemble import Coords, Dims, assemble, labels, record, site_record
from bayeskit.inference.discrete import Discrete, check_discrete
from bayeskit.inference.driver import Also, Run
from bayeskit.inference.ending import Labelled, carry_out
from bayeskit.inference.given_discrete import given_sites, reported
from bayeskit.inference.mcmc.nuts import NUTS
from bayeskit.inference.method import DirectMethod, Method
from bayeskit.inference.model_parameters import model_parameters
from bayeskit.inference.pointwise import Pointwise
from bayeskit.inference.sameness import description
from bayeskit.inference.starting import start, starts_each_chain
from bayeskit.program import Program, bind
from bayeskit.program.bind import named
from bayeskit.program.coded import check_outcomes
from bayeskit.program.tables import Given, given
from bayeskit.storage import RunStore
from bayeskit.storage.provenance import MASKS
from bayeskit.storage.run_folder import check_free
from bayeskit.target import Target, index_check
from bayeskit.xla.kept_programs import programs_kept

if TYPE_CHECKING:
    import xarray as xr

    from bayeskit.inference.starting import Init


@programs_kept()
def infer(
    model: Model | Program | Target,
    data: Data | None,
    method: Method | DirectMethod | None = None,
    *,
    key: Key,
    init: Init = None,
    store: str | os.PathLike[str] | None = None,
    keep: Sequence[str] | None = None,
    thin: int = 1,
    dims: Dims | None = None,
    coords: Coords | None = None,
    log_likelihood: bool = False,
    discrete: str | None = None,
    progress: bool = True,
) -> xr.DataTree:
    """Draw from the posterior of a NumPyro model.

    Args:
        model: a NumPyro function; or a bound :class:`bayeskit.Program` or :class:`bayeskit.Target`, then without data.
        data: values by argument name; or a table (:func:`bayeskit.columns`, a pandas or polars frame, the path of a
            file), of which the model gets the columns that it names. Levels of strings become coordinates.
        method: how, e.g. ``bk.NUTS(num_chains=4)``; by default ``bk.NUTS()``.
        key: an integer seed or a JAX key; the same key gives the same draws on the same machine and versions.
        init: where chains start. ``None`` or ``"auto"``: as the method likes, for samplers ``"ascent"``: uphill from
            the likeliest of eight points that are uniform on (-2, 2) in unconstrained space, to modes with mass, each
            chain from another side; ``"likeliest"``: at that point; ``"uniform"``: at the first of the eight;
            ``"prior"``: draws of the prior; a mapping from site to value, in the model's coordinates, with or without
            a leading chain axis (other sites as by ``"likeliest"``); a strategy of NumPyro's, such as
            ``numpyro.infer.init_to_value(values=...)`` or ``init_to_median``; or an earlier fit, whose last draws are
            taken.
        store: a path (``.zarr``) to stream the draws to, which are then not held in memory: the result is read from
            there when it is used. A run that is stopped can be resumed with :func:`resume`, and one that has ended
            goes on with :func:`extend`. With ``.nc`` the result is written and read in one piece.
        keep: names of the sites to keep; all by default.
        thin: keep every ``thin``-th draw. Draws that are no chain (of SMC, nested sampling, an approximation) are not
            made fewer by it, only kept: what the run has found besides them, such as the evidence, is that of all.
        dims: names of the dimensions of a site, where plates do not name them.
        coords: labels along a dimension.
        log_likelihood: also store the log likelihood of each observation, for :func:`bayeskit.loo`.
        discrete: what to report of discrete latent sites, which are summed out of the density: ``"sample"``, a draw of
            them from their exact posterior for each draw of the others; ``"probabilities"``, the exact posterior
            probability of each value for each draw of the others, as ``<site>_probs`` with a last dimension
            ``<site>_value`` (their mean over draws is the posterior probability); or ``None``.
        progress: show a progress bar.

    Returns:
        A DataTree with ``posterior``, ``sample_stats``, ``observed_data``, ``constant_data`` (and ``log_likelihood``);
        dimensions ``(chain, draw)`` first; the record of the run in ``attrs``. Give it to :func:`bayeskit.check`.

    Raises:
        DataError: data missing, unexpected, empty, NaN, ...
        ModelError: the model, or a site, cannot be used as written.
        InitError: no starting point with a finite density.
        MethodError: an unknown or impossible setting.
        SamplingError: all chains have left the region of finite density.
        StorageError: the store cannot be written, or an unfinished run is there; ``.post`` holds the draws so far.
        Interrupted: stopped by hand, by Ctrl-C or SIGTERM; ``.post`` holds the draws so far.

    Example:
        >>> import numpyro, numpyro.distributions as dist
        >>> import bayeskit as bk
        >>> def model(y):
        ...     mu = numpyro.sample("mu", dist.Normal(0.0, 10.0))
        ...     with numpyro.plate("row", len(y)):
        ...         numpyro.sample("y", dist.Normal(mu, 1.0), obs=y)
        >>> method = bk.NUTS(num_chains=2, num_warmup=200, num_draws=200)
        >>> post = bk.infer(model, {"y": [1.2, 0.7, 1.9]}, method, key=0, progress=False)
        >>> post["posterior/mu"].shape, post["observed_data/y"].dims
        ((2, 200), ('row',))
    """
    if method is None:
        method = NUTS()
    if isinstance(method, DirectMethod):
        options = {"init": init, "store": store, "keep": keep, "dims": dims, "coords": coords, "discrete": discrete}
        _refuse_options(method, **options, thin=None if thin == 1 else thin, log_likelihood=log_likelihood or None)
        return method.answer(model, data, key=key)
    if not isinstance(method, Method):
        raise MethodError(f"method must be a bayeskit method such as bk.NUTS(), got {method!r}")
    table = Given(model, data) if isinstance(model, Program | Target) else given(model, data)
    target = make_target(table.model, table.data, method)
    check_outcomes(target.program, table.coded)
    method, reason = method.chosen(target)
    method.check_target(target)
    check_discrete(discrete)
    if jax.process_index() > 0:
        store = None  # the first of several processes writes it; each has all draws
    if store is not None:
        check_free(store)
    kept = _check_keep(target, keep)
    if not is_whole(thin) or not 1 <= thin <= method.num_draws:
        raise MethodError(f"thin must be an integer from 1 to num_draws = {method.num_draws}, got {thin!r}")
    thin = int(thin)
    dims_of_sites, numbered = labels(reported(target), dims, None)
    coords = {**table.labels({dim: len(found) for dim, found in numbered.items()}), **(coords or {})} or None
    labels(reported(target), dims, coords)
    if log_likelihood:
        _check_pointwise(target)
    raw = host_key(key)
    check_indices = index_check(target)
    also = make_also(target, raw, log_likelihood, discrete)
    run = Run(method, target, kept, thin, also)
    attrs = {**record(method, target, raw, thin), **table.attrs}
    if starts_each_chain(target, method, init):
        attrs.pop("num_superchains", None)
    if also.pointwise is not None and also.pointwise.masks:
        attrs[MASKS] = json.dumps(also.pointwise.masks)
    if reason:
        attrs["method_reason"] = f"{type(method).__name__}: {reason}"
    make_record = {
        "method": method.as_record(),
        "keep": None if keep is None else list(keep),
        "thin": thin,
        "dims": None if dims is None else {n: list(d) for n, d in dims.items()},
        "coords": None if coords is None else {n: np.asarray(c).tolist() for n, c in coords.items()},
        "log_likelihood": log_likelihood,
        "discrete": discrete,
        "sites": site_record(reported(target), dims_of_sites),
        "program": description(target),
        "attrs": attrs,
    }
    if dims or coords:
        _check_assembly(target, attrs, dims, coords)

    def act(bar: ProgressBar) -> None:
        bar.say(str(attrs.get("method_reason", "")))
        start_key, run_key = jax.device_put(list(host_split(raw)))
        positions, modes = start(target, start_key, method, init)
        check_indices(positions)
        if modes:
            attrs["modes"] = modes  # the record and the result hold the same mapping
        if store is not None:
            run.disk = RunStore.create(store, make_record, {n: np.asarray(p) for n, p in positions.items()})
        run.warm_up(bar, method.init(run_key, target, positions))
        run.go(bar)

    return carry_out(run, Labelled(attrs, dims, coords), act, progress)


def _refuse_options(method: DirectMethod, **options: object) -> None:
    for name, value in options.items():
        if value is not None:
            raise MethodError(f"{name} has no meaning for {type(method).__name__}, which answers at once; leave it out")


def make_target(model: Model | Program | Target, data: Data | None, method: Method) -> Target:
    """The target of a model, as the method wants it."""
    if isinstance(model, Target):
        if named(data):
            raise DataError("the model is a Target with its data already bound; pass None as data")
        return model
    return Target(method.lift(bind(model, data)))


def _check_pointwise(target: Target) -> None:
    """Refuse models whose likelihood by observation is not known while they are fitted."""
    if target.structure.subsampled:
        raise ModelError(
            f"log_likelihood=True: plate {target.structure.subsampled[0]!r} subsamples its data, so not all rows are "
            "seen at once; leave it out"
        )
    if model_parameters(target):
        raise ModelError(
            f"log_likelihood=True: model {target.program.name!r} has numpyro.param statements, whose values are not "
            "known before the fit; leave it out"
        )
    if given := given_sites(target):
        raise ModelError(
            f"log_likelihood=True: the method draws the discrete site {given[0].name!r}, and given its draws the "
            "likelihood of an observation says little of a new one; leave it out, and use bayeskit.log_likelihood, "
            "which sums discrete sites out where it can"
        )


def make_also(target: Target, raw: np.ndarray, log_likelihood: bool, discrete: str | None) -> Also:
    """What is computed from the draws."""
    if discrete is not None and model_parameters(target):
        raise ModelError(
            f"discrete={discrete!r}: model {target.program.name!r} has numpyro.param statements, whose values are not "
            "known before the fit; leave it out"
        )
    return Also(
        Pointwise(target) if log_likelihood else None,
        None if discrete is None else Discrete(target, discrete),
        jax.device_put(host_fold_in(raw, zlib.crc32(b"discrete"))),
    )


def _check_keep(target: Target, keep: Sequence[str] | None) -> frozenset[str] | None:
    if keep is None:
        return None
    given = [site.name for site in given_sites(target)]
    of_model = [site.name for site in target.structure.of_kind("latent", "deterministic")]
    known = [name for name in (*of_model, *given) if name not in target.hidden]
    if isinstance(keep, str) or not keep:
        raise ModelError(f"keep must be a list of site names, got {keep!r}")
    for name in keep:
        if name not in known:
            hint = did_you_mean(name, known, "the model has")
            raise ModelError(f"keep: {name!r} is not a latent or deterministic site{hint}")
    return frozenset(keep)


def _check_assembly(target: Target, attrs: Mapping[str, object], dims: Dims | None, coords: Coords | None) -> None:
    """Assemble an empty result, so that wrong labels fail before the run and not after it."""
    sites = target.structure.of_kind("latent", "deterministic")
    empty = {s.name: np.zeros((1, 0, *s.shape)) for s in sites if s.name not in target.hidden}
    assemble(target, empty, {"lp": np.zeros((1, 0))}, None, attrs, dims, coords)
