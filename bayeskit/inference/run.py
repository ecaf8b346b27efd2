"""`infer` and `resume`: from a model and data to a DataTree."""

from __future__ import annotations

import hashlib
import json
import os
import time
import zlib
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

import jax
import numpy as np

from bayeskit._keys import host_fold_in, host_key, host_split
from bayeskit._progress import ProgressBar
from bayeskit._spelling import did_you_mean
from bayeskit._typing import Array, Data, Key, Model, Values
from bayeskit.errors import DataError, InitError, MethodError, ModelError, StorageError
from bayeskit.inference.assemble import Coords, Dims, assemble, labels, record, site_record
from bayeskit.inference.discrete import Discrete, check_discrete
from bayeskit.inference.driver import Also, Run, compile_time
from bayeskit.inference.ending import finish, hand_over, interrupted
from bayeskit.inference.method import DirectMethod, Method
from bayeskit.inference.model_parameters import model_parameters
from bayeskit.inference.pointwise import Pointwise
from bayeskit.program import Program, bind
from bayeskit.program.bind import named
from bayeskit.storage import RunStore
from bayeskit.target import Target, find_start, find_start_by, index_check
from bayeskit.xla.devices import own_part
from bayeskit.xla.kept_programs import programs_kept

if TYPE_CHECKING:
    import xarray as xr

    Init: TypeAlias = str | Mapping[str, object] | Callable[..., Any] | xr.DataTree | None


@programs_kept()
def infer(
    model: Model | Program | Target,
    data: Data | None,
    method: Method | DirectMethod,
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
        data: values by argument name.
        method: how, e.g. ``bk.NUTS(num_chains=4)``.
        key: an integer seed or a JAX key; the same key gives the same draws on the same machine and versions.
        init: where chains start. ``None`` or ``"auto"``: as the method likes, for samplers ``"ascent"``: uphill from
            the likeliest of eight points that are uniform on (-2, 2) in unconstrained space, to modes with mass, each
            chain from another side; ``"likeliest"``: at that point; ``"uniform"``: at the first of the eight;
            ``"prior"``: draws of the prior; a mapping from site to value, in the model's coordinates, with or without
            a leading chain axis (other sites as by ``"likeliest"``); a strategy of NumPyro's, such as
            ``numpyro.infer.init_to_value(values=...)`` or ``init_to_median``; or an earlier fit, whose last draws are
            taken.
        store: a path (zarr) to stream the draws to. A run that is stopped can be resumed from there with
            :func:`resume`.
        keep: names of the sites to keep; all by default.
        thin: keep every ``thin``-th draw.
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
        Interrupted: stopped by hand; ``.post`` holds the draws so far.

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
    if isinstance(method, DirectMethod):
        given = {"init": init, "store": store, "keep": keep, "dims": dims, "coords": coords, "discrete": discrete}
        _refuse_options(method, **given, thin=None if thin == 1 else thin, log_likelihood=log_likelihood or None)
        return method.answer(model, data, key=key)
    if not isinstance(method, Method):
        raise MethodError(f"method must be a bayeskit method such as bk.NUTS(), got {method!r}")
    target = _target(model, data, method)
    method, reason = method.chosen(target)
    method.check_target(target)
    check_discrete(discrete)
    kept = _check_keep(target, keep)
    if not isinstance(thin, int) or isinstance(thin, bool) or not 1 <= thin <= method.num_draws:
        raise MethodError(f"thin must be an integer from 1 to num_draws = {method.num_draws}, got {thin!r}")
    dims_of_sites, _ = labels(target.structure, dims, coords)
    if log_likelihood:
        _check_pointwise(target)
    raw = host_key(key)
    check_indices = index_check(target)
    also = _make_also(target, raw, log_likelihood, discrete)
    run = Run(method, target, kept, thin, also)
    attrs = record(method, target, raw, thin)
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
        "sites": site_record(target.structure, dims_of_sites),
        "fingerprint": fingerprint(target),
        "attrs": attrs,
    }
    if dims or coords:
        _check_assembly(target, attrs, dims, coords)
    disk: RunStore | None = None
    begin = time.perf_counter()
    with ProgressBar(run.total, progress) as bar, compile_time() as compiling:
        bar.say(reason and str(attrs["method_reason"]))
        try:
            start_key, run_key = jax.device_put(list(host_split(raw)))
            positions = _start(target, start_key, method, init)
            check_indices(positions)
            run.warm_up(bar, method.init(run_key, target, positions))
            if store is not None:
                disk = RunStore.create(store, make_record)
            run.go(bar, disk)
        except KeyboardInterrupt:
            raise interrupted(run, attrs, dims, coords, store if disk is not None else None) from None
        except Exception as error:
            hand_over(error, run, attrs, dims, coords)
            raise
    return finish(run, attrs, dims, coords, disk, begin, compiling[0])


def _refuse_options(method: DirectMethod, **options: object) -> None:
    for name, value in options.items():
        if value is not None:
            raise MethodError(f"{name} has no meaning for {type(method).__name__}, which answers at once; leave it out")


@programs_kept()
def resume(
    model: Model | Program | Target,
    data: Data | None,
    path: str | os.PathLike[str],
    *,
    method: Method | None = None,
    progress: bool = True,
) -> xr.DataTree:
    """Go on with a run that was stopped, from its last whole chunk; the result is the one that the run would have had.

    Args:
        model: the same model.
        data: the same data.
        path: the ``store`` of the run.
        method: the same method; needed only where it holds what was written in Python (a guide that is a function, a
            method of your own), which the store cannot hold.
        progress: show a progress bar.

    Raises:
        StorageError: there is no unfinished run at ``path``, or its files are damaged.
        DataError: model or data are not those of the run.
        MethodError: the method is not that of the run, or the store cannot hold it and it was not passed.
    """
    disk = RunStore.open(path)
    kept: dict[str, Any] = disk.record
    method = _same_method(kept["method"], method, path)
    target = _target(model, data, method)
    if kept.get("fingerprint") != fingerprint(target):
        raise DataError(
            f"the run in {os.fspath(path)} had another model, other data or another precision; resume needs the same"
        )
    keep = None if kept["keep"] is None else frozenset(kept["keep"])
    attrs, dims, coords = dict(kept["attrs"]), kept["dims"], kept["coords"]
    raw = np.asarray(json.loads(attrs["key"]), np.uint32)
    also = _make_also(target, raw, kept["log_likelihood"], kept.get("discrete"))
    run = Run(method, target, keep, int(kept["thin"]), also)
    begin = time.perf_counter()
    with ProgressBar(run.total, progress) as bar, compile_time() as compiling:
        try:
            _restore(run, disk, raw)
            run.go(bar, disk)
        except KeyboardInterrupt:
            raise interrupted(run, attrs, dims, coords, path) from None
        except Exception as error:
            hand_over(error, run, attrs, dims, coords)
            raise
    return finish(run, attrs, dims, coords, disk, begin, compiling[0])


def _same_method(kept: Mapping[str, Any], method: Method | None, path: str | os.PathLike[str]) -> Method:
    """The method of an interrupted run, made from its record or compared with it."""
    if method is None:
        try:
            return Method.from_record(kept)
        except MethodError as error:
            raise MethodError(
                f"the run in {os.fspath(path)} needs its method again, as it was given to bayeskit.infer: {error}; "
                f"call bayeskit.resume(model, data, {os.fspath(path)!r}, method=...)"
            ) from None
    now = json.loads(json.dumps(method.as_record()))
    differ = [name for name in sorted({*kept, *now}) if kept.get(name) != now.get(name)]
    if differ:
        raise MethodError(
            f"the method is not that of the run in {os.fspath(path)}: "
            + ", ".join(f"{name} was {kept.get(name)!r} and is {now.get(name)!r}" for name in differ)
        )
    return method


def _restore(run: Run, disk: RunStore, raw: np.ndarray) -> None:
    """State, step count and draws of the last whole chunk.

    Raises:
        StorageError: there is no whole chunk yet, or the state was written by another version.
    """
    point = disk.read_checkpoint()
    if point is None:
        raise StorageError("the run was stopped before its first chunk; there is nothing to resume, start it again")
    chains, sites = run.method.num_chains, run.target.structure.of_kind("latent")
    anywhere = {site.name: jax.numpy.zeros((chains, *site.unconstrained_shape)) for site in sites}
    state = run.method.init(jax.numpy.asarray(raw), run.target, anywhere)  # for its structure only
    leaves, shape = jax.tree.flatten(state)
    if [np.shape(leaf) for leaf in leaves] != [leaf.shape for leaf in point.leaves]:
        raise StorageError("the stored state does not fit the method; it was written by another version")
    run.state, run.done = jax.tree.unflatten(shape, point.leaves), point.steps_done
    groups = disk.read_groups()
    if groups:
        run.collected.add(groups)
        run.divergences = int(groups["sample_stats"].get("diverging", np.zeros(1)).sum())


def fingerprint(target: Target) -> str:
    """A hash of structure, data and precision: two runs with the same one may share their draws."""
    around = [(name, value) for name, value in target.program.around if not callable(value)]
    digest = hashlib.sha256(repr((target.structure, target.program.settings, around)).encode())
    for path, array in jax.tree_util.tree_leaves_with_path(target.program.arrays):
        host, name = own_part(array), jax.tree_util.keystr(path)
        digest.update(f"{name}{host.dtype}{np.shape(array)}".encode())
        digest.update(host.tobytes())
    return digest.hexdigest()


def _target(model: Model | Program | Target, data: Data | None, method: Method) -> Target:
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


def _make_also(target: Target, raw: np.ndarray, log_likelihood: bool, discrete: str | None) -> Also:
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
    known = [
        site.name for site in target.structure.of_kind("latent", "deterministic") if site.name not in target.hidden
    ]
    if isinstance(keep, str) or not keep:
        raise ModelError(f"keep must be a list of site names, got {keep!r}")
    for name in keep:
        if name not in known:
            hint = did_you_mean(name, known, "the model has")
            raise ModelError(f"keep: {name!r} is not a latent or deterministic site{hint}")
    return frozenset(keep)


def _start(target: Target, key: Array, method: Method, init: Init) -> Values:
    num_chains = method.num_chains
    if init is None or isinstance(init, str):
        strategy = method.starts_from if init in (None, "auto") else init
        return find_start(target, key, num_chains, strategy=strategy)
    if isinstance(init, Mapping) and not hasattr(init, "children"):
        return find_start(target, key, num_chains, given=init)
    if callable(init):
        return find_start_by(init, target, key, num_chains)
    from bayeskit.storage import site_values

    try:
        values = site_values(init)  # type: ignore[arg-type]
    except Exception as error:
        raise InitError(
            f"init must be a strategy, values by site name, or an earlier fit, got {type(init).__name__}"
        ) from error
    values = {name: value for name, value in values.items() if name in target.latent_names}
    if not values:
        raise InitError(
            f"the earlier fit given as init has no latent site of this model ({', '.join(target.latent_names)})"
        )
    chains = {name: value[_spread(num_chains, *value.shape[:2])] for name, value in values.items()}
    return find_start(target, key, num_chains, given=chains)


def _spread(num_chains: int, earlier_chains: int, draws: int) -> tuple[np.ndarray, np.ndarray]:
    """Chain and draw at which each chain starts: the last draws, and where chains were fewer earlier ones as well."""
    index = np.arange(num_chains)
    rounds = -(-num_chains // earlier_chains)
    return index % earlier_chains, draws - 1 - (index // earlier_chains) * (draws // rounds)


def _check_assembly(target: Target, attrs: Mapping[str, object], dims: Dims | None, coords: Coords | None) -> None:
    """Assemble an empty result, so that wrong labels fail before the run and not after it."""
    sites = target.structure.of_kind("latent", "deterministic")
    empty = {s.name: np.zeros((1, 0, *s.shape)) for s in sites if s.name not in target.hidden}
    assemble(target, empty, {"lp": np.zeros((1, 0))}, None, attrs, dims, coords)
