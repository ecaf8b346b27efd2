"""The log likelihood of each observation after the fact."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np

from bayeskit._typing import Array, Data, Model, Values
from bayeskit.errors import DataError, ModelError
from bayeskit.inference.assemble import batch_dims, labels
from bayeskit.inference.pointwise import Pointwise
from bayeskit.program import Program, bind
from bayeskit.program.tables import Given, given
from bayeskit.storage.provenance import MASKS
from bayeskit.target import Target, index_check
from bayeskit.target.given import pull_back
from bayeskit.xla.miscompilation import safe_jit

if TYPE_CHECKING:
    import xarray as xr

__all__ = ["given_as_fitted", "latent_draws", "log_likelihood", "positions_of", "target_as_fitted"]

BATCH = 250


def log_likelihood(model: Model | Program | Target, data: Data | None, post: xr.DataTree) -> xr.DataTree:
    r"""The log likelihood of each observation at each draw, :math:`\log p(y_i \mid x)`, for :func:`bayeskit.loo`.

    What ``infer(..., log_likelihood=True)`` stores, for a fit that was made without; or that of other data under the
    fit.

    Args:
        model: the model that was fitted.
        data: its arguments, with the observations.
        post: the fit.

    Returns:
        A new tree: ``post`` with the group ``log_likelihood``, dimensions ``(chain, draw, ...)``.

    Raises:
        ModelError: the fit lacks a latent site of the model or has it with another shape; or there is no likelihood of
            each observation.
        DataError: as for :func:`bayeskit.bind`; or ``post`` is not a fit, or holds draws that the model cannot have.

    Example:
        >>> import numpyro, numpyro.distributions as dist
        >>> import bayeskit as bk
        >>> def model(y):
        ...     mu = numpyro.sample("mu", dist.Normal(0.0, 1.0))
        ...     numpyro.sample("y", dist.Normal(mu, 1.0), obs=y)
        >>> data = {"y": [0.3, -0.2, 0.9]}
        >>> post = bk.infer(model, data, bk.HMC(num_chains=2, num_warmup=100, num_draws=50), key=0, progress=False)
        >>> bk.log_likelihood(model, data, post)["log_likelihood/y"].shape
        (2, 50, 3)
    """
    if not hasattr(post, "children") or "posterior" not in post.children:
        raise DataError(f"post must be a fit, the DataTree that bayeskit.infer returned, got {type(post).__name__}")
    target = target_as_fitted(model, data, post)
    pointwise = Pointwise(target)
    check_indices = index_check(target)
    latent, (chains, draws) = latent_draws(target, post)
    parts = []
    for start in range(0, chains * draws, BATCH):
        positions = positions_of(target, {n: v[start : start + BATCH] for n, v in latent.items()})
        if start == 0:
            check_indices({n: v[None] for n, v in target.unravel(positions[0]).items()})
        parts.append(pointwise(positions[None]))
    found = {n: np.concatenate([part[n][0] for part in parts]) for n in parts[0]}
    found = {n: v.reshape(chains, draws, *v.shape[1:]) for n, v in found.items()}
    for name, value in found.items():
        if (missing := np.isnan(value)).any():
            chain, draw = (int(i) for i in np.argwhere(missing)[0][:2])
            raise DataError(
                f"the log likelihood of {name!r} is NaN at draw {draw} of chain {chain}: the fit holds draws there "
                "that are NaN or outside the support of their site"
            )
    from bayeskit.storage import add_group

    names, labelled = labels(target.structure, None, None)
    observed = post["observed_data"].to_dataset() if "observed_data" in post.children else {}
    same = [n for n in found if n in observed and observed[n].shape == target.structure[n].shape]
    names |= {n: [str(d) for d in observed[n].dims] for n in same}
    labelled |= {str(d): c.values for n in same for d, c in observed[n].coords.items()}
    dims = {n: batch_dims(target.structure, n, names, v.shape[2:]) for n, v in found.items()}
    used = {d for given in dims.values() for d in given}
    coords = {d: c for d, c in labelled.items() if d in used}
    tree = add_group(post, "log_likelihood", found, dims=dims, coords=coords)
    tree.attrs = {name: value for name, value in tree.attrs.items() if name != MASKS}
    if pointwise.masks:
        tree.attrs[MASKS] = json.dumps(pointwise.masks)
    return tree


def given_as_fitted(
    model: Model | Program, data: Data | None, post: xr.DataTree | None, new_levels: str = "error"
) -> Given:
    """A model and its data; a table is encoded as that of the fit was, by its record."""
    if isinstance(model, Program):
        return Given(model, data)
    record = None if post is None else {str(name): value for name, value in post.attrs.items()}
    return given(model, data, record, new_levels=new_levels)


def target_as_fitted(model: Model | Program | Target, data: Data | None, post: xr.DataTree) -> Target:
    """The target of a model; a table is encoded as that of the fit was."""
    if isinstance(model, Target):
        return model
    table = given_as_fitted(model, data, post)
    return Target(bind(table.model, table.data))


def latent_draws(target: Target, post: xr.DataTree) -> tuple[Values, tuple[int, int]]:
    """The latent sites of a fit with one leading axis over all draws, and how many chains and draws there are."""
    from bayeskit.storage import site_values

    values, out, lead = site_values(post), {}, (0, 0)
    for site in target.structure.of_kind("latent"):
        if site.name not in values:
            raise ModelError(
                f"the fit lacks the latent site {site.name!r}; is it a fit of this model? Fit again without keep=, or "
                "keep that site"
            )
        value = values[site.name]
        if value.shape[2:] != site.shape:
            raise ModelError(
                f"site {site.name!r} has shape {site.shape} under these data, but {value.shape[2:]} in the fit"
            )
        lead = (value.shape[0], value.shape[1])
        out[site.name] = jnp.asarray(value.reshape(-1, *site.shape))
    return out, lead


@safe_jit
def positions_of(target: Target, latent: Values) -> Array:
    """Unconstrained vectors, shape ``(draw, size)``, of latent sites in the model's coordinates."""
    return jax.vmap(lambda values: target.ravel(pull_back(target.program, {}, values)[0]))(latent)
