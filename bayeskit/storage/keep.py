"""`save` and `load`: results, and what was fitted, by their path."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import xarray as xr

from bayeskit._keepable import KEPT
from bayeskit.errors import StorageError
from bayeskit.storage.files import check_replaceable, read_tree, write_tree
from bayeskit.storage.run_folder import partial_folder
from bayeskit.storage.unfinished import is_unfinished, read_unfinished

__all__ = ["load", "save"]


def save(thing: object, path: str | os.PathLike[str]) -> Path:
    """Write a result, or what was fitted, to a zarr folder (``.zarr``, or no suffix) or a NetCDF file (``.nc``).

    A result is the DataTree of a run. What was fitted is a Schrödinger bridge, an infinitely wide network, a scale
    mixture, a classifier, and what :func:`bayeskit.storage.keepable` names. Nothing is pickled: a file holds the
    numbers, and names of classes and functions of bayeskit, NumPyro, tinygp and JAX.

    The content is written beside `path` under a temporary name and renamed when it is complete, so that `path` never
    holds half of it, and what was there stays until then.

    Args:
        thing: the tree that `bayeskit.infer` returned, or what was fitted.
        path: where to; the suffix chooses the format. An older result there is replaced.

    Returns:
        The path.

    Raises:
        StorageError: unknown suffix, no such folder, something there that is not a result, or a value that cannot be
            written, such as a function of your own; with the field that holds it.

    Example:
        >>> import tempfile, numpy as np
        >>> from bayeskit.storage import load, make_tree
        >>> post = make_tree({"posterior": {"mu": np.ones((2, 5))}}, attrs={"method": "NUTS"})
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     load(save(post, f"{folder}/posterior.zarr")).identical(post)
        True
    """
    path = Path(path)
    check_replaceable(path)
    if not isinstance(thing, xr.DataTree):
        from bayeskit.storage.fitted import as_tree

        thing = as_tree(thing, path)
    return write_tree(thing, path)


def load(path: str | os.PathLike[str]) -> Any:
    """Read what `save` has written; the file says itself what it holds.

    All of it is read into memory, but for draws that a run has streamed to a zarr folder (``store=``): these are read
    when they are used, each time anew, and ``tree.load()`` reads them for good.

    The folder ``<path>.partial`` of a run that has not ended gives the draws that it has so far, with the attributes
    ``unfinished``, ``num_draws`` and ``num_draws_wanted``. A run that goes on meanwhile is not disturbed.

    Args:
        path: a zarr folder or a NetCDF file, written by `save` or, if it is a result, by ArviZ; or the folder of a run
            that was given ``store``.

    Returns:
        The tree, identical to the one that was saved; or what was fitted, an object of the same class whose
        predictions are equal to the last bit. Its arrays have the dtypes that they had. Where they are of 64 bits and
        JAX is set to 32, they are kept by classes that compute in float64 by themselves (scale mixtures, and what they
        become given data) and refused for all others, as JAX would cut them.

    Raises:
        StorageError: nothing there; neither a result nor what was fitted; a run without draws yet; truncated or
            damaged (`save` leaves checksums); another version of the format; a class or function that is not known
            here, or not the same; or numbers that JAX would cut.

    Example:
        >>> import tempfile, numpy as np, jax.numpy as jnp
        >>> import bayeskit as bk
        >>> from bayeskit.models import nngp
        >>> network = nngp.fully_connected(2, 1.4, 0.3, nngp.Activation(jnp.tanh))
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     again = bk.load(bk.save(network, f"{folder}/network.zarr"))
        >>> x = np.eye(3)
        >>> type(again).__name__, bool((again.nngp(x) == network.nngp(x)).all())
        ('Network', True)
    """
    path = Path(path)
    if not path.exists():
        partial = partial_folder(path)
        hint = f"; {partial} holds the draws of a run that has not ended" if is_unfinished(partial) else ""
        raise StorageError(f"there is no result at {path}{hint}")
    if is_unfinished(path):
        return read_unfinished(path)
    tree = read_tree(path)
    if KEPT not in tree.attrs:
        return tree
    from bayeskit.storage.fitted import made_again

    return made_again(tree, path)
