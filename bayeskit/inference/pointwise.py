"""The log likelihood of each observation at each draw, for leave-one-out."""

from __future__ import annotations

import hashlib
import math

import jax
import numpy as np

from bayeskit._typing import Array, Values
from bayeskit.errors import ModelError
from bayeskit.program.sites import read
from bayeskit.target import Target
from bayeskit.target.density import run_trace
from bayeskit.xla.miscompilation import safe_jit


class Pointwise:
    """Evaluates per-observation log likelihoods; refuses models that have none.

    Args:
        target: the target.

    Raises:
        ModelError: an observed site is one multivariate draw, a scalar factor enters the likelihood, or discrete sites
            make the observations inseparable.
    """

    def __init__(self, target: Target):
        self.target = target
        for site in target.structure.of_kind("observed", "factor"):
            batch, event = math.prod(site.batch_shape), math.prod(site.shape[len(site.batch_shape) :])
            if site.kind == "factor" and not site.is_prior and not site.batch_shape:
                raise ModelError(
                    f"factor {site.name!r} enters the likelihood as one number, so there is no log likelihood of each "
                    "observation; write it as numpyro.sample(..., obs=...), or as bayeskit.prior_factor if it "
                    "belongs to the prior"
                )
            if site.kind == "observed" and batch == 1 and event > 1:
                raise ModelError(
                    f"observed site {site.name!r} ({site.distribution}) is one event of {event} numbers, so there "
                    "is no log likelihood of each; put independent observations in a plate"
                )
        zeros = target.structure.zeros()
        jax.eval_shape(lambda z: _elements(target, target.ravel(z)), zeros)
        self._kept = {name: keep for name, keep in _kept(target, zeros).items() if not keep.all()}

    def __call__(self, positions: Array | np.ndarray) -> dict[str, np.ndarray]:
        """Arrays of shape ``(chain, draw, *batch)``; a masked site has one axis over the elements that count."""
        out = {name: np.asarray(value) for name, value in _evaluate(self.target, positions).items()}
        for name, keep in self._kept.items():
            shape = out[name].shape
            flat = out[name].reshape(*shape[:2], -1)
            out[name] = flat[:, :, np.broadcast_to(keep, shape[2:]).reshape(-1)]
        return out

    @property
    def masks(self) -> dict[str, str]:
        """Of each masked site, what tells its mask from others."""
        shapes = {name: self.target.structure[name].batch_shape for name in self._kept}
        kept = {name: np.broadcast_to(keep, shapes[name]) for name, keep in self._kept.items()}
        return {
            name: f"{int(keep.sum())} of {keep.size}, {hashlib.sha256(np.packbits(keep).tobytes()).hexdigest()[:16]}"
            for name, keep in kept.items()
        }

    def is_masked(self, name: str) -> bool:
        """Whether some elements of the site are masked, so that its dimensions are gone."""
        return name in self._kept


def _elements(target: Target, position: Array) -> Values:
    return {name: term.value for name, term in target.terms(target.unravel(position)).likelihood.items()}


@safe_jit
def _evaluate(target: Target, positions: Array | np.ndarray) -> Values:
    return jax.vmap(jax.vmap(lambda position: _elements(target, position)))(positions)


def _kept(target: Target, values: Values) -> dict[str, np.ndarray]:
    """For each site with a mask, which elements of its batch count, at least in part."""
    sites = run_trace(target.program, values, seeded=True)
    readings = {site.name: read(sites[site.name]["fn"]) for site in target.structure.of_kind("observed")}
    return {name: np.asarray(reading.kept_events()) for name, reading in readings.items() if reading.mask is not True}
