"""The log prior at each draw, site by site."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import jax
import numpy as np
from numpyro import handlers

from bayeskit._typing import Data, Model, Values
from bayeskit.errors import DataError, ModelError
from bayeskit.inference.assemble import batch_dims, labels
from bayeskit.inference.likelihoods import latent_draws, target_as_fitted
from bayeskit.program import Program
from bayeskit.program.sites import site_term
from bayeskit.target import Target
from bayeskit.xla.jaxprs import Reading, look, read
from bayeskit.xla.miscompilation import safe_jit

if TYPE_CHECKING:
    import xarray as xr

__all__ = ["log_prior"]


def log_prior(model: Model | Program | Target, data: Data | None, post: xr.DataTree) -> xr.DataTree:
    r"""The log prior of each latent site at each draw, :math:`\log p(x_s \mid x_{<s})`, for
    :func:`bayeskit.power_scale` and :func:`bayeskit.reweight`.

    It is the density over the model's own coordinates: no Jacobian is in it. What a site is scaled by
    (``handlers.scale``) is.

    Args:
        model: the model that was fitted.
        data: its arguments, with the observations.
        post: the fit.

    Returns:
        A new tree: ``post`` with the group ``log_prior``, a variable for each latent site (and each
        :func:`bayeskit.prior_factor`), dimensions ``(chain, draw, ...)``. That of a site has the attribute
        ``depends_on``, which names the latent sites that its prior depends on, and is empty at the top of a hierarchy.

    Raises:
        ModelError: the fit lacks a latent site of the model or has it with another shape; or discrete sites are summed
            out.
        DataError: as for :func:`bayeskit.bind`; or ``post`` is not a fit, or holds draws that the model cannot have.

    Example:
        >>> import numpy as np, numpyro, numpyro.distributions as dist
        >>> import bayeskit as bk
        >>> from bayeskit.storage import make_tree
        >>> def model(y):
        ...     tau = numpyro.sample("tau", dist.HalfNormal(1.0))
        ...     with numpyro.plate("row", 3):
        ...         mu = numpyro.sample("mu", dist.Normal(0.0, tau))
        ...         numpyro.sample("y", dist.Normal(mu, 1.0), obs=y)
        >>> post = make_tree({"posterior": {"tau": np.ones((2, 50)), "mu": np.zeros((2, 50, 3))}})  # or of bk.infer
        >>> prior = bk.log_prior(model, {"y": [0.3, -0.2, 0.9]}, post)["log_prior"]
        >>> prior["mu"].shape, prior["mu"].attrs["depends_on"]
        ((2, 50, 3), 'tau')
    """
    if not hasattr(post, "children") or "posterior" not in post.children:
        raise DataError(f"post must be a fit, the DataTree that bayeskit.infer returned, got {type(post).__name__}")
    target = target_as_fitted(model, data, post)
    if discrete := target.structure.of_kind("discrete"):
        raise ModelError(f"site {discrete[0].name!r} is discrete and summed out, so the prior has no value at a draw")
    latent, (chains, draws) = latent_draws(target, post)
    found = {n: np.asarray(v).reshape(chains, draws, *v.shape[1:]) for n, v in _evaluate(target, latent).items()}
    for name, value in found.items():
        if np.isnan(value).any():
            raise DataError(f"the log prior of {name!r} is NaN: the fit holds draws that are outside the support")
    from bayeskit.storage import add_group

    names, labelled = labels(target.structure, None, None)
    dims = {n: batch_dims(target.structure, n, names, v.shape[2:]) for n, v in found.items()}
    used = {d for given in dims.values() for d in given}
    tree = add_group(post, "log_prior", found, dims=dims, coords={d: c for d, c in labelled.items() if d in used})
    parents = _parents(target, latent)
    for variable, name in zip(tree["log_prior"].data_vars.values(), found, strict=True):
        if name in latent:
            variable.attrs["depends_on"] = ", ".join(parents[name])
    return tree


def _terms(target: Target, latent: Values) -> Values:
    """Scaled log priors by site, shape of the batch, at values in the model's coordinates."""
    model = handlers.substitute(target.program, data=latent)
    trace: Any = handlers.trace(handlers.seed(model, rng_seed=0)).get_trace()
    priors = [s.name for s in target.structure.sites if s.kind == "latent" or (s.kind == "factor" and s.is_prior)]
    return {name: site_term(trace[name], guarded=True).scaled() for name in priors}


@safe_jit
def _evaluate(target: Target, latent: Values) -> Values:
    # one after another: a batch of factorisations would wait on XLA's own workers
    return jax.lax.map(lambda one: _terms(target, one), latent)


class _Sites(Reading[frozenset[str]]):
    """The latent sites that a value is made of."""

    nothing = frozenset()

    def join(self, facts: Sequence[frozenset[str]]) -> frozenset[str]:
        return frozenset().union(*facts)

    def through(self, equation: Any, facts: list[frozenset[str]]) -> list[frozenset[str]]:
        return [self.join(facts)] * len(equation.outvars)

    def decides(self, fact: frozenset[str]) -> frozenset[str]:
        return fact


def _parents(target: Target, latent: Values) -> dict[str, list[str]]:
    """The other sites that each prior is computed from, by the traced program: also those that it takes steps in."""
    one = {name: jax.ShapeDtypeStruct(value.shape[1:], value.dtype) for name, value in latent.items()}
    program, shapes = jax.make_jaxpr(lambda values: _terms(target, values), return_shape=True)(one)
    # as JAX flattens dictionaries, by name
    known = read(program.jaxpr, [frozenset({name}) for name in sorted(one)], reading := _Sites())
    made = {n: look(known, atom, reading) for n, atom in zip(sorted(shapes), program.jaxpr.outvars, strict=True)}
    return {name: [p for p in latent if p != name and p in of] for name, of in made.items()}
