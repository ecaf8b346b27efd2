"""From draws to a DataTree: groups, dimensions, and the record of the run."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np

from bayeskit._typing import Values
from bayeskit.errors import ModelError
from bayeskit.inference.batches import is_rows
from bayeskit.inference.given_discrete import is_given_discrete, reported
from bayeskit.inference.model_parameters import is_parameter
from bayeskit.program import Program
from bayeskit.program.fingerprint import fingerprint
from bayeskit.storage.provenance import provenance
from bayeskit.target import Structure, Target
from bayeskit.target.density import run_trace
from bayeskit.xla.devices import gathered
from bayeskit.xla.miscompilation import safe_jit

if TYPE_CHECKING:
    import xarray as xr

    from bayeskit.inference.discrete import Discrete
    from bayeskit.inference.method import Method

Dims = Mapping[str, Sequence[str | None]]
Coords = Mapping[str, Sequence[object] | np.ndarray]


def labels(
    structure: Structure, dims: Dims | None, coords: Coords | None
) -> tuple[dict[str, list[str | None]], dict[str, Sequence[object] | np.ndarray]]:
    """Names of dimensions and their coordinates: from the plates, overridden by the user's.

    Raises:
        ModelError: ``dims`` names a site that the model lacks, or ``coords`` a dimension that no site has.
    """
    sites = {site.name for site in structure.sites}
    names = {site.name: site.dims(sites) for site in structure.sites}
    for site, given in (dims or {}).items():
        if site not in names:
            raise ModelError(f"dims: {site!r} is not a site of the model, which has {', '.join(names)}")
        if isinstance(given, str) or len(given) != len(names[site]):
            raise ModelError(f"dims: site {site!r} has {len(names[site])} dimensions, but the names are {given!r}")
        names[site] = list(given)
    known: set[str] = {dim for site_dims in names.values() for dim in site_dims if dim}
    for dim in coords or {}:
        if dim not in known:
            raise ModelError(
                f"coords: no site has a dimension {dim!r}; the model has {', '.join(sorted(known)) or 'none'}"
            )
    labelled: dict[str, Sequence[object] | np.ndarray] = {}
    for info in structure.sites:
        for name, size in zip(names[info.name], info.shape, strict=True):
            if name:
                labelled.setdefault(name, np.arange(size))
    return names, {**labelled, **(coords or {})}


@safe_jit
def _observed(target: Target) -> Values:
    sites = run_trace(target.program, target.structure.zeros(), seeded=True)
    return {site.name: jnp.asarray(sites[site.name]["value"]) for site in target.structure.of_kind("observed")}


def observed_values(target: Target) -> dict[str, np.ndarray]:
    """Values of the observed sites."""
    if not target.structure.of_kind("observed"):
        return {}
    return gathered(_observed(target))


def constants(program: Program, observed: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The data that are not themselves an observation: covariates, indices, sizes."""
    values = {n: gathered(v) for n, v in program.inputs.items() if _is_constant(n, v)}
    return {n: v for n, v in values.items() if not (n in observed and _equal(v, observed[n]))}


def same_inputs(first: Mapping[str, np.ndarray], second: Mapping[str, np.ndarray]) -> bool:
    """Whether two sets of inputs have the same names, and the same numbers in the lower of their precisions."""
    return first.keys() == second.keys() and all(_same(first[name], second[name]) for name in first)


def _same(first: np.ndarray, second: np.ndarray) -> bool:
    if first.dtype.kind == second.dtype.kind == "f":
        lower = min(first.dtype, second.dtype, key=lambda dtype: dtype.itemsize)
        first, second = first.astype(lower), second.astype(lower)
    return _equal(first, second)


def _equal(first: np.ndarray, second: np.ndarray) -> bool:
    """Whether two arrays hold the same; NaN, which stands for what a mask takes out, is the same as NaN."""
    return np.array_equal(first, second, equal_nan=first.dtype.kind == second.dtype.kind == "f")


def _is_constant(name: str, value: object) -> bool:
    return (
        isinstance(value, bool | int | float | str | jax.Array | np.ndarray)
        and not is_parameter(name)
        and not is_rows(name)
        and not is_given_discrete(name)
    )


def record(method: Method, target: Target, key: np.ndarray, thin: int) -> dict[str, str | int | float]:
    """What the attributes say about a run before it starts."""
    starts = method.num_starts_of_chains
    superchains = {"num_superchains": starts} if starts < method.num_chains else {}
    return {
        **provenance({method.library: method.library_version()}),
        "inference_library": method.library,
        "inference_library_version": method.library_version(),
        "method": type(method).__name__,
        "method_settings": json.dumps(method.settings()),
        "key": json.dumps(np.asarray(key).tolist()),
        "model": target.program.origin,
        "model_fingerprint": fingerprint(target.program),
        "num_chains": method.num_chains,
        **superchains,
        "num_warmup": method.num_warmup,
        "num_draws": method.num_draws,
        "thin": thin,
        **method.attributes(target),
    }


def assemble(
    target: Target,
    values: Mapping[str, np.ndarray],
    stats: Mapping[str, np.ndarray],
    log_likelihood: Mapping[str, np.ndarray] | None,
    attrs: Mapping[str, object],
    dims: Dims | None,
    coords: Coords | None,
    warmup_stats: Mapping[str, np.ndarray] | None = None,
    learned: Mapping[str, np.ndarray] | None = None,
    discrete: Discrete | None = None,
) -> xr.DataTree:
    """The DataTree of a run."""
    from bayeskit.storage import add_group, make_tree

    structure = reported(target)
    names, labelled = labels(structure, dims, coords)
    kinds = {site.name: site.kind for site in structure.of_kind("latent", "discrete", "deterministic")}
    if discrete is not None:
        names, labelled = {**names, **discrete.dims(names)}, {**labelled, **discrete.coords()}
        kinds |= dict.fromkeys(set(discrete.variables) - set(kinds), "deterministic")  # probabilities may well be zero
    tree = make_tree(
        {"posterior": values},
        dims={n: names[n] for n in values},
        coords=labelled,
        attrs=attrs,
        site_kinds=kinds,
        site_attrs=meanings(structure),
    )
    # dimensions group by group: a statistic or a covariate may have the name of a site, and another shape
    tree = add_group(tree, "sample_stats", stats)
    if warmup_stats:
        tree = add_group(tree, "warmup_sample_stats", warmup_stats)
    if learned:
        tree = add_group(tree, "model_parameters", learned, dims=dict.fromkeys(learned, ("fit",)))
    if log_likelihood is not None:
        batch = {n: batch_dims(structure, n, names, array.shape[2:]) for n, array in log_likelihood.items()}
        tree = add_group(tree, "log_likelihood", log_likelihood, dims=batch, coords=labelled)
    observed = observed_values(target)
    if observed:
        tree = add_group(tree, "observed_data", observed, dims={n: names[n] for n in observed}, coords=labelled)
    if constant := constants(target.program, observed):
        tree = add_group(tree, "constant_data", constant)
    return tree


def meanings(structure: Structure) -> dict[str, dict[str, str]]:
    """Attributes of the posterior's variables that say what their values mean, where that is not what numbers mean."""
    found: dict[str, dict[str, str]] = {site.name: {} for site in structure.sites}
    for site in structure.sites:
        if site.circular:
            found[site.name]["support"] = "circular"
        if site.auxiliary_of:
            found[site.name]["auxiliary_of"] = site.auxiliary_of
    return found


def batch_dims(
    structure: Structure, name: str, names: Mapping[str, Sequence[str | None]], shape: tuple[int, ...]
) -> Sequence[str | None]:
    """Dimensions of a site's log likelihood: those of its batch, or none where a mask has dropped elements."""
    return names[name][: len(shape)] if shape == structure[name].batch_shape else []


def site_record(structure: Structure, names: Mapping[str, Sequence[str | None]]) -> dict[str, dict[str, object]]:
    """What the store of a run says of its sites, so that the draws so far can be read without the model."""
    meaning = meanings(structure)
    return {
        site.name: {
            "kind": site.kind,
            "dims": list(names[site.name]),
            "batch_shape": list(site.batch_shape),
            "attrs": meaning[site.name],
        }
        for site in structure.of_kind("latent", "discrete", "deterministic", "observed")
    }
