"""Prior and posterior predictive draws."""

from __future__ import annotations

import inspect
import math
import operator
import zlib
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from numpyro import handlers

from bayeskit._keys import host_key
from bayeskit._settings import check_choice, is_whole
from bayeskit._typing import Array, Data, Key, Model, Values
from bayeskit.errors import DataError, MethodError, ModelError
from bayeskit.inference.assemble import Coords, Dims, constants, same_inputs
from bayeskit.inference.discrete import Discrete
from bayeskit.inference.likelihoods import given_as_fitted, positions_of
from bayeskit.inference.new_levels import Completed, Part, labels_of, shape_in_fit
from bayeskit.program import Program, bind
from bayeskit.program.constants import settle
from bayeskit.program.failure import named_failures
from bayeskit.program.indices import IndexCheck
from bayeskit.target import Target
from bayeskit.target.sites import SiteFacts, Watch, facts_of
from bayeskit.xla.miscompilation import safe_jit

if TYPE_CHECKING:
    import xarray as xr

BATCH = 250


def predict(
    model: Model | Program,
    data: Data | None,
    post: xr.DataTree | None = None,
    *,
    key: Key,
    num_draws: int = 1000,
    sites: Sequence[str] | None = None,
    discrete: str | None = None,
    dims: Dims | None = None,
    coords: Coords | None = None,
    new_levels: str = "error",
) -> xr.DataTree:
    r"""Draw what the model would observe: :math:`\tilde y \sim p(\tilde y \mid x)`, with :math:`x` from the posterior
    or prior.

    Observed sites are always drawn anew, whether ``data`` binds them (replicated data) or leaves them ``None`` (new
    data). Without ``post``, a site counts as observed when it is bound or has the name of an argument that is ``None``.

    Args:
        model: the NumPyro function.
        data: its arguments; covariates may be new ones. A table (:func:`bayeskit.columns`, a frame, the path of a file)
            is encoded as that of the fit was, by its record.
        post: a fit of the model; ``None`` draws from the prior.
        key: an integer seed or a JAX key.
        num_draws: number of prior draws (one chain); with ``post`` there is one for each of its draws.
        sites: sites to return; by default all that are observed, and those that are random and not in ``post``; at new
            inputs deterministic sites as well.
        discrete: ``"sample"`` draws discrete latent sites that were summed out from their exact posterior, given the
            observations in ``data``. By default those that ``post`` lacks are drawn from their prior, where each
            observation has its own, and refused elsewhere.
        dims: names of the dimensions of a site, where plates do not name them.
        coords: labels along a dimension.
        new_levels: what becomes of levels of a table that the fit does not know: ``"error"``, or ``"prior"``: the sites
            in the plate of that name have an element for each, drawn from its prior given the draw of the rest.

    Returns:
        With ``post``: a new tree, ``post`` with the group ``posterior_predictive``; where covariates, sizes or other
        inputs are not those of the fit, with ``predictions`` (deterministic sites at the new inputs among them) and the
        inputs in ``predictions_constant_data`` instead. Without: a tree with ``prior`` and ``prior_predictive``.

    Raises:
        ModelError: ``post`` lacks a latent site of the model, has it with another shape, or ``sites`` names an unknown
            one.
        DataError: as for :func:`bayeskit.bind`, or ``post`` is not a fit.
        MethodError: ``key`` or ``num_draws`` is unusable.

    Example:
        >>> import numpyro, numpyro.distributions as dist
        >>> import bayeskit as bk
        >>> def model(x, y=None):
        ...     slope = numpyro.sample("slope", dist.Normal(0.0, 1.0))
        ...     with numpyro.plate("row", len(x)):
        ...         numpyro.sample("y", dist.Normal(slope * x, 0.5), obs=y)
        >>> prior = bk.predict(model, {"x": [1.0, 2.0, 3.0]}, key=0, num_draws=50)
        >>> prior["prior_predictive/y"].shape
        (1, 50, 3)
    """
    if not is_whole(num_draws) or num_draws < 1:
        raise MethodError(f"num_draws must be an integer of at least 1, got {num_draws!r}")
    num_draws = int(num_draws)
    if post is not None and not hasattr(post, "children"):
        raise DataError(f"post must be a fit, the DataTree that bayeskit.infer returned, got {post!r}")
    raw = host_key(key)
    if discrete is not None:
        check_choice("discrete", discrete, ("sample",))
        if post is None:
            raise MethodError("discrete='sample' draws from a posterior, so it needs the fit, post")
    exactly = discrete is not None
    table = given_as_fitted(model, data, post, new_levels)
    bound = bind(table.model, table.data)
    program, traced = settle(bound, lambda program: _trace(program, post, num_draws, exactly, table.known))
    known, given, lead, first, check = traced
    observed = [n for n, site in known.items() if site.kind == "observed"]
    fresh = [n for n in known if n not in given]
    drawn = [n for n in fresh if known[n].kind != "deterministic"]
    for what, names in (("sites", sites), ("dims", dims)):
        for name in names or ():
            if name not in known:
                raise ModelError(f"{what}: {name!r} is not a site of the model, which has {', '.join(known)}")
    check.of_data(first)
    check.at(first, "the first draw")
    if exactly:
        given = {**given, **_discrete(program, given, raw)}
    new = new_inputs(program, post, observed)
    everything = post is None or new is not None
    by_default = fresh if everything else list(dict.fromkeys([*observed, *drawn]))
    values = _run(program, raw, given, lead, tuple(by_default if sites is None else sites))
    coords = {**labels_of(table, known), **(coords or {})}
    tree = _tree(post, known, values, observed, dims, coords, "posterior_predictive" if new is None else "predictions")
    if not new:
        return tree
    from bayeskit.storage import add_group

    return add_group(tree, "predictions_constant_data", new)


class _Traced(NamedTuple):
    """What is known of a prediction before it is made.

    Attributes:
        known: the sites of the model.
        given: the draws of those that are not drawn anew, all in a row.
        lead: chains and draws of these.
        first: the first draw of each.
        check: compares indices with sizes.
    """

    known: dict[str, SiteFacts]
    given: Values
    lead: tuple[int, int]
    first: Values
    check: IndexCheck


def _trace(
    program: Program, post: xr.DataTree | None, num_draws: int, exactly: bool, grown: Mapping[str, int]
) -> _Traced:
    """Trace the model with the data as they are, and with the data traced."""
    known = _learn(program)
    given, lead = _posterior(post, known, num_draws, exactly, grown)
    first = jax.tree.map(lambda v: jnp.asarray(v[0]), given)
    check = IndexCheck(program, _replicate_once, first)
    return _Traced(known, given, lead, first, check)


def new_inputs(program: Program, post: xr.DataTree | None, observed: list[str]) -> dict[str, np.ndarray] | None:
    """All inputs of a prediction, if one of them is not what the model was fitted to; otherwise `None`.

    An argument that is `None` is an observation still to come, and so is one with the name of an observed site.
    """
    if post is None or "model" not in post.attrs:  # a tree that no run has made need not hold its inputs
        return None
    from bayeskit.storage import site_values

    fitted = site_values(post, "constant_data", optional=True)
    now = constants(program, site_values(post, "observed_data", optional=True))
    to_come = {*observed, *left_out(program)}
    fitted, now = ({n: v for n, v in inputs.items() if n not in to_come} for inputs in (fitted, now))
    return None if same_inputs(fitted, now) else now


def _replicate_once(program: Program, given: Values) -> dict[str, Any]:
    return replicate_trace(program, jax.random.PRNGKey(0), given)


def replicate_trace(program: Callable[[], object], key: Array, given: Mapping[str, Any]) -> dict[str, Any]:
    """One trace with the latent sites given and everything observed drawn anew."""

    def keep_factors(site: dict[str, Any]) -> bool:
        return bool(site["infer"].get("is_auxiliary"))

    whole = {name: value for name, value in given.items() if not isinstance(value, Part)}
    model = handlers.seed(handlers.substitute(_Unobserve(program, keep_factors), data=whole), rng_seed=key)
    return handlers.trace(Completed(model, {n: v.value for n, v in given.items() if isinstance(v, Part)})).get_trace()


class _Unobserve(handlers.substitute):
    """Forget the observed values of all sites but factors."""

    def __init__(self, fn: Any, keep: Any):
        super().__init__(fn, data={})
        self.keep = keep

    def process_message(self, msg: Any) -> None:
        if msg["type"] == "control_flow" and msg["fn"].__name__ == "scan_wrapper":
            _refuse_forecast(msg)
        if msg["type"] == "sample" and msg["is_observed"] and not self.keep(msg):
            msg["value"], msg["is_observed"] = None, False
            msg["infer"] = {**msg["infer"], "was_observed": True}


def _refuse_forecast(scan: dict[str, Any]) -> None:
    """Refuse a series that the model itself conditions on its first steps: what is observed is drawn anew here, so that
    what follows would not go on from these.

    Raises:
        ModelError: naming the site.
    """
    _, _, inputs, length, _ = scan["args"]
    steps = length if length is not None else len(jax.tree.leaves(inputs)[0])
    for kind, data in scan["kwargs"]["substitute_stack"]:
        for name, values in data.items() if kind == "condition" and isinstance(data, dict) else ():
            if jnp.shape(values)[:1] != (steps,):
                raise ModelError(
                    f"site {name!r} is conditioned on {len(values)} of {steps} steps of a scan, a forecast that "
                    "predict cannot make, because it draws what is observed anew; carry the observed value on, and "
                    "draw the steps after it as a site of its own in a second scan"
                )


def _learn(program: Program) -> dict[str, SiteFacts]:
    """The sites, without factors, when everything is drawn."""
    known: dict[str, SiteFacts] = {}
    to_come = left_out(program)
    watch: list[Watch] = []

    def run() -> None:
        watch.append(Watch(program))
        for name, site in replicate_trace(watch[0], jax.random.PRNGKey(0), {}).items():
            if site["type"] == "deterministic":
                known[name] = facts_of(site, "deterministic")
            elif site["type"] == "sample" and not site["infer"].get("is_auxiliary"):
                if site["infer"].get("was_observed") or name in to_come:
                    known[name] = facts_of(site, "observed")
                else:
                    known[name] = facts_of(site, "discrete" if site["fn"].support.is_discrete else "latent")

    with named_failures(program, watch):
        jax.eval_shape(run)
    return known


def left_out(program: Program) -> set[str]:
    """Arguments that are ``None``, given so or by default: a site of that name is an observation still to come."""
    named = inspect.signature(program.model).parameters.values()
    defaults = {parameter.name: parameter.default for parameter in named}
    return {name for name, value in {**defaults, **program.data}.items() if value is None}


def _posterior(
    post: xr.DataTree | None, known: dict[str, SiteFacts], num_draws: int, exactly: bool, grown: Mapping[str, int]
) -> tuple[Values, tuple[int, int]]:
    """Values to substitute, with one leading axis over all draws, and the two leading sizes of the result.

    Drawn anew: what was observed in the fit, and discrete sites, which were summed out. `exactly`, these are drawn from
    their posterior later.
    """
    if post is None:
        return {}, (1, num_draws)
    from bayeskit.storage import site_values

    values = site_values(post)
    sampled = {n for n, site in known.items() if site.kind != "deterministic"}
    kinds = {str(n): v.attrs.get("site_kind") for n, v in post["posterior"].data_vars.items()}
    missing = [n for n in values if n not in known and kinds.get(n) == "latent"]
    if missing:
        raise ModelError(f"the fit has a latent site {missing[0]!r} that the model lacks; is it a fit of this model?")
    out: dict[str, Any] = {}
    lead = (1, 1)
    for name, value in values.items():
        lead = (value.shape[0], value.shape[1])
        if name in sampled:
            if value.shape[2:] != shape_in_fit(known[name], grown):
                if known[name].kind == "discrete":
                    continue
                raise ModelError(
                    f"site {name!r} has shape {known[name].shape} under these data, but {value.shape[2:]} in the fit"
                )
            flat = jnp.asarray(value.reshape(-1, *value.shape[2:]))
            out[name] = flat if value.shape[2:] == known[name].shape else Part(flat)
    observed = set(site_values(post, "observed_data", optional=True))
    anew = observed | {n for n in sampled if known[n].kind in ("observed", "discrete")}
    lacking = [n for n in known if n in sampled and n not in out and n not in anew]
    if lacking:
        raise ModelError(
            f"the fit lacks the latent site {lacking[0]!r}, so it cannot be predicted from; fit again without keep=, "
            "or keep that site"
        )
    left = sampled - set(out) - observed
    for name in (n for n in known if n in left and not exactly):
        seen = {n for n in anew if known[n].kind != "discrete"}
        if known[name].kind == "discrete" and not _is_local(name, known, seen):
            raise ModelError(
                f"the discrete latent site {name!r} was summed out, and observations share it, so it cannot be drawn "
                "from its prior; pass discrete='sample', here or to bayeskit.infer"
            )
    return out, lead


def _discrete(program: Program, given: Values, raw: np.ndarray) -> Values:
    """Draws of the discrete sites that are not given, from their posterior."""
    target = Target(program)
    sample = Discrete(target, "sample")
    wanted = [name for name in sample.variables if name not in given]
    latent = {name: given[name] for name in target.latent_names}
    total = len(next(iter(latent.values())))
    keys = jax.random.split(jax.random.fold_in(jnp.asarray(raw), np.uint32(zlib.crc32(b"discrete"))), total)
    parts = []
    for start in range(0, total, BATCH):
        index = np.minimum(np.arange(start, start + BATCH), total - 1)
        positions = positions_of(target, {n: v[index] for n, v in latent.items()})
        parts.append({n: v[0, : total - start] for n, v in sample(positions[None], keys[index][None]).items()})
    return {n: jnp.concatenate([part[n] for part in parts]) for n in wanted}


def _is_local(name: str, known: dict[str, SiteFacts], observed: set[str]) -> bool:
    """Whether each observation has its own value of a discrete site, so that a new observation draws it anew."""
    around = {n: {plate.name for plate in site.plates} for n, site in known.items()}
    return bool(around[name]) and any(n in observed and n != name and p == around[name] for n, p in around.items())


def _run(
    program: Program, raw: np.ndarray, given: Values, lead: tuple[int, int], wanted: tuple[str, ...]
) -> dict[str, np.ndarray]:
    """Draws in batches, so that memory stays bounded."""
    total = math.prod(lead)
    keys = jax.random.split(jnp.asarray(raw), total)
    parts = []
    for start in range(0, total, BATCH):
        index = np.minimum(np.arange(start, start + BATCH), total - 1)
        part = _batch(program, keys[index], jax.tree.map(operator.itemgetter(index), given), wanted)
        parts.append({n: np.asarray(v)[: total - start] for n, v in part.items()})
    return {n: np.concatenate([p[n] for p in parts]).reshape(*lead, *parts[0][n].shape[1:]) for n in wanted}


def _one(program: Program, key: Array, given: Values, wanted: tuple[str, ...]) -> Values:
    sites = replicate_trace(program, key, given)
    return {name: jnp.asarray(sites[name]["value"]) for name in wanted}


_batch = safe_jit(jax.vmap(_one, in_axes=(None, 0, 0, None)), static_argnums=3)


def _tree(
    post: xr.DataTree | None,
    known: dict[str, SiteFacts],
    values: dict[str, np.ndarray],
    observed: list[str],
    dims: Dims | None,
    coords: Coords | None,
    group: str,
) -> xr.DataTree:
    from bayeskit.storage import add_group, make_tree

    names = {n: known[n].dims(known) for n in values}
    labelled: dict[str, Any] = {}
    if post is not None and "observed_data" in post.children:
        data = post["observed_data"].to_dataset()
        for name in values:
            if name in data and data[name].shape == values[name].shape[2:]:
                names[name] = [str(d) for d in data[name].dims]
        labelled = {str(d): c.values for d, c in data.coords.items()}
    names.update({n: list(d) for n, d in (dims or {}).items()})
    for name, value in values.items():
        for dim, size in zip(names[name], value.shape[2:], strict=True):
            if dim and len(labelled.get(dim, ())) != size:
                labelled[dim] = np.arange(size)
    labelled.update(coords or {})
    used = {d for n in names.values() for d in n}
    labelled = {d: c for d, c in labelled.items() if d in used}
    if post is not None:
        return add_group(post, group, values, dims=names, coords=labelled)
    prior = {n: v for n, v in values.items() if n not in observed}
    predictive = {n: v for n, v in values.items() if n in observed}
    groups = {g: v for g, v in (("prior", prior), ("prior_predictive", predictive)) if v}
    return make_tree(groups, dims=names, coords=labelled)
