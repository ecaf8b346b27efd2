"""Dictionaries of arrays in, an ArviZ `DataTree` out, and back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import cast

import numpy as np
import xarray as xr
from xarray.core.indexing import LazilyIndexedArray

from bayeskit._notebook import show_verdicts
from bayeskit.errors import DataError, StorageError

SAMPLE_DIMS = ("chain", "draw")
SAMPLE_GROUPS = frozenset(
    {
        "posterior",
        "sample_stats",
        "log_likelihood",
        "log_prior",
        "posterior_predictive",
        "predictions",
        "prior",
        "prior_predictive",
        "sample_stats_prior",
        "warmup_posterior",
        "warmup_sample_stats",
    }
)
DATA_GROUPS = frozenset({"observed_data", "constant_data", "predictions_constant_data", "model_parameters", "training"})


def make_tree(
    groups: Mapping[str, Mapping[str, np.ndarray]],
    *,
    dims: Mapping[str, Sequence[str | None]] | None = None,
    coords: Mapping[str, np.ndarray | Sequence[object]] | None = None,
    attrs: Mapping[str, object] | None = None,
    site_kinds: Mapping[str, str] | None = None,
    site_attrs: Mapping[str, Mapping[str, str]] | None = None,
) -> xr.DataTree:
    """The result of a run as one ArviZ tree.

    Args:
        groups: arrays by group and by name. Arrays of ``posterior``, ``sample_stats``, ``log_likelihood`` and the other
            groups of draws have shape ``(chain, draw, *event)``; those of ``observed_data`` and ``constant_data`` have
            the shape of the data, and those of ``training`` that of the trace.
        dims: names of the event dimensions of a variable, from the left; ``None`` and those left out are called
            ``{variable}_dim_{i}``, and so is a name that another variable of the group uses for another size.
        coords: labels of a dimension; the length must be its size.
        attrs: the record of the run, strings and numbers, kept at the root.
        site_kinds: ``"latent"`` or ``"deterministic"`` by site, kept as the attribute ``site_kind``.
        site_attrs: further attributes by site, such as ``{"theta": {"support": "circular"}}`` for an angle.

    Returns:
        A tree with the groups in the order given. A site name that a tree cannot hold (``"scope/x"``) is stored under
        a near one (``"scope.x"``) with the original in the attribute ``site_name``; `site_values` undoes that.

    Raises:
        DataError: coordinates whose length is not the size of the dimension, or more names than dimensions.
        StorageError: an unknown group, an array without the leading axes ``(chain, draw)`` of its group, an array that
            is not of numbers, booleans or strings, or an attribute that is not a string or a number.

    Example:
        >>> import numpy as np
        >>> post = make_tree(
        ...     {"posterior": {"theta": np.zeros((4, 100, 2))}, "observed_data": {"y": np.array([1.0, 2.0])}},
        ...     dims={"theta": ("school",)},
        ...     coords={"school": ["A", "B"]},
        ...     attrs={"method": "NUTS"},
        ... )
        >>> post["posterior/theta"].dims
        ('chain', 'draw', 'school')
    """
    root = xr.Dataset(attrs=_plain_attrs(attrs or {}))
    datasets = {"/": root}
    described = {site: {"site_kind": kind} for site, kind in (site_kinds or {}).items()}
    for site, more in (site_attrs or {}).items():
        described[site] = {**described.get(site, {}), **more}
    for group, variables in groups.items():
        datasets[f"/{group}"] = _dataset(group, variables, dims or {}, coords or {}, described)
    show_verdicts()
    return xr.DataTree.from_dict(datasets)


def add_group(
    post: xr.DataTree,
    name: str,
    variables: Mapping[str, np.ndarray],
    dims: Mapping[str, Sequence[str | None]] | None = None,
    coords: Mapping[str, np.ndarray | Sequence[object]] | None = None,
) -> xr.DataTree:
    """A new tree with one more group (or with that group replaced); `post` is left as it was.

    Shapes, names and errors are those of `make_tree`.

    Example:
        >>> import numpy as np
        >>> post = make_tree({"posterior": {"mu": np.zeros((2, 10))}})
        >>> sorted(add_group(post, "posterior_predictive", {"y": np.ones((2, 10, 3))}).children)
        ['posterior', 'posterior_predictive']
    """
    datasets = {node.path: node.to_dataset(inherit=False) for node in post.subtree}
    datasets[f"/{name}"] = _dataset(name, variables, dims or {}, coords or {}, {})
    show_verdicts()
    return xr.DataTree.from_dict(datasets)


def site_values(post: xr.DataTree, group: str = "posterior", *, optional: bool = False) -> dict[str, np.ndarray]:
    """The arrays of a group under the names that the model gave its sites.

    Args:
        post: a tree made by `make_tree`.
        group: which group.
        optional: nothing, and no error, if there is no such group.

    Returns:
        Arrays by site name, with the leading axes ``(chain, draw)`` where the group has them.

    Raises:
        StorageError: the tree has no such group.

    Example:
        >>> import numpy as np
        >>> post = make_tree({"posterior": {"scope/mu": np.zeros((2, 10))}})
        >>> list(post["posterior"].data_vars), list(site_values(post))
        (['scope.mu'], ['scope/mu'])
    """
    if optional and group not in post.children:
        return {}
    if group not in post.children:
        raise StorageError(f"the result has no group {group!r}; it has {', '.join(post.children) or 'no group'}")
    dataset = post[group].to_dataset()
    return {
        str(variable.attrs.get("site_name", name)): np.asarray(variable.values)
        for name, variable in dataset.data_vars.items()
    }


def _dataset(
    group: str,
    variables: Mapping[str, np.ndarray],
    dims: Mapping[str, Sequence[str | None]],
    coords: Mapping[str, np.ndarray | Sequence[object]],
    described: Mapping[str, Mapping[str, str]],
) -> xr.Dataset:
    if group not in SAMPLE_GROUPS | DATA_GROUPS:
        known = ", ".join(sorted(SAMPLE_GROUPS | DATA_GROUPS))
        raise StorageError(f"there is no group {group!r}; the groups of a result are {known}")
    arrays = {site: _array(group, site, value) for site, value in variables.items()}
    lead = SAMPLE_DIMS if group in SAMPLE_GROUPS else ()
    sizes = _sample_sizes(group, arrays) if lead else {}
    names = _storable_names(arrays)
    content: dict[str, xr.Variable] = {}
    for site, array in arrays.items():
        axes = _event_dims(site, names, array.shape[len(lead) :], dims.get(site, ()), sizes)
        attrs = {"site_name": site} if names[site] != site else {}
        attrs |= described.get(site, {})
        content[names[site]] = xr.Variable((*lead, *axes), array, attrs)
    labels = {dim: np.arange(sizes[dim]) for dim in lead if dim in sizes}
    for dim, values in coords.items():
        stored = dim.replace("/", ".")
        if stored in sizes:
            labels[stored] = _labels(group, dim, values, sizes[stored])
    return xr.Dataset(content, coords=labels)


def _array(group: str, name: str, value: object) -> np.ndarray:
    array = cast(np.ndarray, value) if isinstance(value, LazilyIndexedArray) else np.asarray(value)
    if array.dtype.kind not in "biufcU":
        raise StorageError(
            f"{group} variable {name!r} has dtype {array.dtype}; only numbers, booleans and strings can be kept"
        )
    return array


def _sample_sizes(group: str, arrays: Mapping[str, np.ndarray]) -> dict[str, int]:
    """Sizes of ``(chain, draw)``, after a check that every variable of the group has them in front."""
    sizes: dict[str, int] = {}
    for name, array in arrays.items():
        if array.ndim < len(SAMPLE_DIMS):
            raise StorageError(f"{group} variable {name!r} has shape {array.shape}; it needs (chain, draw, ...)")
        found = dict(zip(SAMPLE_DIMS, array.shape, strict=False))
        if sizes and found != sizes:
            raise StorageError(f"{group} variable {name!r} has (chain, draw) {found}, the others have {sizes}")
        sizes = found
    return sizes


def _storable_names(arrays: Mapping[str, np.ndarray]) -> dict[str, str]:
    """A distinct name without slashes for each site; sites whose name needs no change keep it."""
    easy = {site for site in arrays if site and "/" not in site and site[0] != "." and site not in SAMPLE_DIMS}
    names = {site: site for site in easy}
    taken = set(easy)
    for site in arrays:
        if site in easy:
            continue
        name = site.replace("/", ".").lstrip(".") or "_"
        while name in taken or name in SAMPLE_DIMS:
            name += "_"
        names[site] = name
        taken.add(name)
    return names


def _event_dims(
    site: str,
    names: Mapping[str, str],
    shape: tuple[int, ...],
    wanted: Sequence[str | None],
    sizes: dict[str, int],
) -> list[str]:
    """Names of the event axes of one variable; adds them to `sizes`, the dimensions of the group so far."""
    if len(wanted) > len(shape):
        raise DataError(f"{site!r} has {len(shape)} dimensions beside chain and draw, but dims names {tuple(wanted)}")
    stored = set(names.values())
    axes: list[str] = []
    for i, size in enumerate(shape):
        dim = (wanted[i] if i < len(wanted) else None) or f"{names[site]}_dim_{i}"
        dim = dim.replace("/", ".")
        if dim in stored:  # xarray would take the variable of that name for the labels of the dimension
            dim = f"{dim}_dim"
        if dim in axes or dim in SAMPLE_DIMS or sizes.get(dim, size) != size:
            dim = f"{names[site]}_dim_{i}"
        axes.append(dim)
        sizes[dim] = size
    return axes


def _labels(group: str, dim: str, values: np.ndarray | Sequence[object], size: int) -> np.ndarray:
    labels = np.asarray(values)
    if labels.shape != (size,):
        raise DataError(f"coords {dim!r} has shape {labels.shape}, but the dimension of {group} has size {size}")
    if labels.dtype.kind not in "biufU":
        raise DataError(f"coords {dim!r} has dtype {labels.dtype}; labels are numbers or strings of one kind")
    return labels


def _plain_attrs(attrs: Mapping[str, object]) -> dict[str, str | int | float]:
    plain: dict[str, str | int | float] = {}
    for name, value in attrs.items():
        item = value.item() if isinstance(value, np.generic) else value
        if not isinstance(item, str | int | float):
            raise StorageError(f"attribute {name!r} is a {type(value).__name__}; attributes are strings and numbers")
        plain[name] = int(item) if isinstance(item, bool) else item
    return plain
