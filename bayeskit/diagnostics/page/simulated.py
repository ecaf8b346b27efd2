"""Draws that a report makes by itself: of the prior, and of data like those observed.

One draw after another, in a loop of XLA: a batch of factorisations would wait on XLA's own workers.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from numpyro import handlers
from numpyro.primitives import Messenger

from bayeskit._typing import Array
from bayeskit.errors import ModelError
from bayeskit.program import Program
from bayeskit.storage import site_values
from bayeskit.xla.miscompilation import safe_jit

NUM_PRIOR = 1000
NUM_REPLICATED = 400
_KEY = 20_240_229
"""Of what a report draws: the same result gives the same page."""


class _Anew(Messenger):
    """Observed sites are drawn anew."""

    def process_message(self, msg: Any) -> None:
        """NumPyro's hook, called at every site."""
        if msg["type"] == "sample" and msg["is_observed"] and not msg["infer"].get("is_auxiliary"):
            msg["value"], msg["is_observed"] = None, False


def prior_draws(program: Program, names: Sequence[str]) -> dict[str, np.ndarray]:
    """Draws of sites from the prior, shape ``(draw, *event)``."""

    def one(program: Program, key: Array, _: dict[str, Array]) -> dict[str, Array]:
        sites = handlers.trace(handlers.seed(_Anew(program), key)).get_trace()
        return {name: jnp.asarray(sites[name]["value"]) for name in names}

    return _mapped(one, program, NUM_PRIOR, {})


def replicated(program: Program, post: xr.DataTree, names: Sequence[str]) -> xr.Dataset:
    """Data like those observed, drawn from the posterior predictive, dimensions ``(chain, draw, ...)``.

    Raises:
        ModelError: the result lacks a site that they depend on.
    """
    values = site_values(post)
    chains, draws = next(iter(values.values())).shape[:2]
    kept = np.unique(np.linspace(0, draws - 1, max(1, NUM_REPLICATED // chains)).astype(int))
    given = {n: v[:, kept].reshape(-1, *v.shape[2:]) for n, v in values.items()}
    observed = post["observed_data"].to_dataset()

    def one(program: Program, key: Array, latent: dict[str, Array]) -> dict[str, Array]:
        model = handlers.substitute(_Anew(program), data=latent)
        sites = handlers.trace(handlers.seed(model, key)).get_trace()
        drawn = [n for n, s in sites.items() if s["type"] == "sample" and n not in latent and n not in observed]
        if drawn:
            raise ModelError(f"the result has no draws of the site {drawn[0]!r}; bayeskit.predict may know more")
        return {name: jnp.asarray(sites[name]["value"]) for name in names}

    found = _mapped(one, program, chains * len(kept), {n: jnp.asarray(v) for n, v in given.items()})
    return xr.Dataset(
        {
            n: (("chain", "draw", *observed[n].dims), v.reshape(chains, len(kept), *v.shape[1:]))
            for n, v in found.items()
        }
    )


def _mapped(one: Callable[..., dict[str, Array]], program: Program, num: int, given: dict[str, Array]) -> Any:
    keys = jax.random.split(jax.random.PRNGKey(_KEY), num)

    def every(program: Program, keys: Array, given: dict[str, Array]) -> Any:
        return jax.lax.map(lambda pair: one(program, *pair), (keys, given))

    return {name: np.asarray(value) for name, value in safe_jit(every)(program, keys, given).items()}
