"""A program seen as a log density over unconstrained values."""

from __future__ import annotations

from collections.abc import Mapping

import equinox as eqx
import jax.numpy as jnp
import numpy as np

from bayeskit._typing import Array, Values
from bayeskit.errors import ModelError
from bayeskit.program import Program
from bayeskit.program.constants import settle
from bayeskit.program.sites import read
from bayeskit.target.density import (
    Terms,
    behind_discrete,
    moving_supports,
    run_trace,
    split,
    summed_log_density,
    summed_terms,
    total,
)
from bayeskit.target.enumeration import check_enumeration
from bayeskit.target.given import check_given, pull_back
from bayeskit.target.sites import Structure, learn_structure
from bayeskit.xla.devices import gathered
from bayeskit.xla.miscompilation import safe_jit
from bayeskit.xla.once import traced_once


class Target(eqx.Module):
    r"""The log density :math:`\log\pi(z)` of a program over unconstrained values :math:`z`, split into prior and
    likelihood.

    With :math:`x = T(z)` the latent sites,

    .. math:: \log\pi(z) = \sum_s c_s \log p(x_s \mid x_{<s}) + \sum_s c_s \log|\det J_{T_s}(z_s)|
              + \sum_o c_o \log p(y_o \mid x).

    A pytree whose leaves are the data, so that one compiled function serves all data of the same shapes. Unconstrained
    values are dictionaries from site name to array.

    Args:
        program: the bound model, from :func:`bayeskit.bind`.
        allow_unobserved: accept a model with no observation and no factor (its prior is then the target).

    Raises:
        ModelError: no latent site, no observation, a shape that broadcasts, an observation outside its support, a
            ``numpyro.param``, or another construct that a density cannot have; the message names the site.

    Example:
        >>> import numpyro, numpyro.distributions as dist, jax.numpy as jnp
        >>> import bayeskit as bk
        >>> def model(y):
        ...     scale = numpyro.sample("scale", dist.HalfNormal(1.0))
        ...     numpyro.sample("y", dist.Normal(0.0, scale), obs=y)
        >>> target = bk.Target(bk.bind(model, {"y": [0.5, -0.5]}))
        >>> z = {"scale": jnp.array(0.0)}
        >>> float(target.constrain(z)["scale"])
        1.0
        >>> bool(jnp.isclose(target.log_density(z), target.log_prior(z) + target.log_likelihood(z)))
        True
    """

    program: Program
    structure: Structure = eqx.field(static=True)
    moving: frozenset[str] = eqx.field(static=True)
    hidden: frozenset[str] = eqx.field(static=True)

    def __init__(self, program: Program, *, allow_unobserved: bool = False):
        self.program, (self.structure, self.moving) = settle(program, _trace)
        if not self.structure.of_kind("latent"):
            raise ModelError(f"model {program.name!r} has no continuous latent site; there is nothing to infer")
        if not allow_unobserved and not self.structure.of_kind("observed", "factor"):
            raise ModelError(
                f"model {program.name!r} observes nothing: no site has obs=, and there is no factor. Bind the "
                "observation, draw from the prior with bayeskit.predict(model, data, key=...), or pass Target(..., "
                "allow_unobserved=True)"
            )
        self.hidden = behind_discrete(self.program, self.structure)
        self._check_supports()

    def _check_supports(self) -> None:
        if not any(site.guarded for site in self.structure.of_kind("observed")):
            return
        for name, (value, inside) in gathered(_supports(self)).items():
            if name in self.moving or bool(np.all(inside)):
                continue
            first = tuple(int(i) for i in np.argwhere(~inside)[0])
            at = f" at {list(first)}" if first else ""
            raise ModelError(
                f"observed site {name!r}: the value {value[first]}{at} lies outside the support of "
                f"{self.structure[name].distribution}"
            )

    @property
    def latent_names(self) -> tuple[str, ...]:
        """Names of the continuous latent sites, in the model's order."""
        return tuple(site.name for site in self.structure.of_kind("latent"))

    @property
    def _constrained_names(self) -> list[str]:
        return [s.name for s in self.structure.of_kind("latent", "deterministic") if s.name not in self.hidden]

    @property
    def size(self) -> int:
        """Number of unconstrained coordinates."""
        return sum(int(np.prod(site.unconstrained_shape)) for site in self.structure.of_kind("latent"))

    def ravel(self, values: Values) -> Array:
        """The unconstrained values as one vector of shape ``(size,)``, site after site in the model's order."""
        return jnp.concatenate([jnp.ravel(values[name]) for name in self.latent_names])

    def unravel(self, vector: Array) -> Values:
        """The inverse of :meth:`ravel`."""
        shapes = {site.name: site.unconstrained_shape for site in self.structure.of_kind("latent")}
        parts = jnp.split(vector, np.cumsum([int(np.prod(shape)) for shape in shapes.values()])[:-1])
        return {name: part.reshape(shape) for part, (name, shape) in zip(parts, shapes.items(), strict=True)}

    def log_density(self, values: Values) -> Array:
        r"""The scalar :math:`\log\pi(z)`, discrete latent sites summed out."""
        return _log_density(self, values)

    def log_prior(self, values: Values) -> Array:
        r"""The prior part of :math:`\log\pi(z)`, Jacobians included."""
        terms = self.terms(values)
        return total(terms.prior) + total(terms.jacobian)

    def log_likelihood(self, values: Values) -> Array:
        r"""The likelihood part of :math:`\log\pi(z)`."""
        return total(self.terms(values).likelihood)

    def terms(self, values: Values) -> Terms:
        """Log densities by site and by plate element, unscaled beside their scales, from one trace.

        Raises:
            ModelError: a discrete latent site makes the elements inseparable.
        """
        if self.structure.of_kind("discrete"):
            return summed_terms(self.program, self.structure, self.moving, values)
        return split(run_trace(self.program, values), self.moving)

    def constrain(self, values: Values) -> Values:
        """Latent and deterministic sites in the model's own coordinates.

        Deterministic sites that depend on a discrete latent site, which is summed out, have no single value; they are
        left out, and building the target says so.
        """
        found = _constrained(self, values)
        return {name: found[name] for name in self._constrained_names}

    def unconstrain(self, constrained: Mapping[str, object]) -> Values:
        """Unconstrained values of the latent sites given in the model's own coordinates; needs all of them.

        Raises:
            ModelError: an unknown or missing site, a wrong shape, NaN, or a value outside the site's support.
        """
        given = check_given(self.structure, constrained)
        missing = [name for name in self.latent_names if name not in given]
        if missing:
            raise ModelError(f"values for the latent sites {', '.join(missing)} are missing")
        values, inside = pull_back(self.program, {}, given)
        for name, ok in inside.items():
            if not bool(ok):
                raise ModelError(f"the value {np.asarray(given[name])} of site {name!r} is outside its support")
        return values


@traced_once
def _log_density(target: Target, values: Values) -> Array:
    if target.structure.of_kind("discrete"):
        return summed_log_density(target.program, target.structure, target.moving, values)
    terms = target.terms(values)
    return total(terms.prior) + total(terms.jacobian) + total(terms.likelihood)


@traced_once
def _constrained(target: Target, values: Values) -> Values:
    sites = run_trace(target.program, values, seeded=bool(target.structure.of_kind("discrete")))
    return {name: jnp.asarray(sites[name]["value"]) for name in target._constrained_names}


def _trace(program: Program) -> tuple[Structure, frozenset[str]]:
    """The structure, and what supports move: found with the data as they are, and with the data traced."""
    structure = learn_structure(program)
    moving = moving_supports(program, structure)
    if structure.of_kind("discrete"):
        structure = check_enumeration(program, structure, moving)
    return structure, moving


@safe_jit
def _supports(target: Target) -> dict[str, tuple[Array, Array]]:
    """Of each observed site its value, and whether each element lies in its support or is masked."""
    found = {}
    # discrete sites have some value here: a support that moves with them is not looked at
    sites = run_trace(target.program, target.structure.zeros(), seeded=True)
    for name in (site.name for site in target.structure.of_kind("observed")):
        reading, value = read(sites[name]["fn"]), jnp.asarray(sites[name]["value"])
        inside = reading.inside(value)
        event = value.shape[value.ndim - reading.elements.event_dim :]
        found[name] = jnp.broadcast_to(value, (*inside.shape, *event)), inside
    return found
