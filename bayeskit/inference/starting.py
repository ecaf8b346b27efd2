"""Where the chains of a run start."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np

from bayeskit._keys import host_fold_in, host_split
from bayeskit._typing import Array
from bayeskit.errors import InitError
from bayeskit.inference.method import OWN_START, Method
from bayeskit.target import Target, find_start, find_start_by
from bayeskit.target.start import Start, draw_prior, start_chains
from bayeskit.xla.miscompilation import safe_jit

if TYPE_CHECKING:
    import xarray as xr

    Init: TypeAlias = str | Mapping[str, object] | Callable[..., Any] | xr.DataTree | None


def start(target: Target, key: Array, method: Method, init: Init) -> Start:
    """Unconstrained values with a leading chain axis, superchains together; ``init`` is that of `bayeskit.infer`.

    Raises:
        InitError: no point with a finite density, or an ``init`` of another kind.
    """
    number = method.num_chains if starts_each_chain(target, method, init) else method.num_starts_of_chains
    found = _places(target, key, method, init, number)
    if method.starts_from == "ascent" and not (init is None or isinstance(init, str)):
        found = found._replace(modes=_modes(target, key, number))
    each = method.num_chains // number
    if each == 1:
        return found
    return found._replace(values={name: jnp.repeat(value, each, axis=0) for name, value in found.values.items()})


def starts_each_chain(target: Target, method: Method, init: Init) -> bool:
    """Whether ``init`` has a value for every chain, so that those of a superchain do not start together."""
    if not isinstance(init, Mapping) or hasattr(init, "children"):
        return False
    shapes = {site.name: (method.num_chains, *site.shape) for site in target.structure.of_kind("latent")}
    given: Mapping[str, Any] = init
    return any(np.shape(value) == shapes.get(name) for name, value in given.items())


def _modes(target: Target, key: Array, number: int) -> str:
    """Modes that chains do not know of which start where they were told."""
    try:
        return start_chains(target, jnp.asarray(host_fold_in(np.asarray(key), 1)), number, strategy="ascent").modes
    except InitError:
        return ""


def _places(target: Target, key: Array, method: Method, init: Init, num_chains: int) -> Start:
    if init is None or isinstance(init, str):
        strategy = method.starts_from if init in (None, "auto") else init
        if strategy == OWN_START and init in (None, "auto"):
            return Start(_prior_points(target, jax.device_put(host_split(np.asarray(key), num_chains))))
        return start_chains(target, key, num_chains, strategy=strategy)
    if isinstance(init, Mapping) and not hasattr(init, "children"):
        return Start(find_start(target, key, num_chains, given=init))
    if callable(init):
        return Start(find_start_by(init, target, key, num_chains))
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
    return Start(find_start(target, key, num_chains, given=chains))


_prior_points = safe_jit(jax.vmap(draw_prior, in_axes=(None, 0)))


def _spread(num_chains: int, earlier_chains: int, draws: int) -> tuple[np.ndarray, np.ndarray]:
    """Chain and draw at which each chain starts: the last draws, and where chains were fewer earlier ones as well."""
    index = np.arange(num_chains)
    rounds = -(-num_chains // earlier_chains)
    return index % earlier_chains, draws - 1 - (index // earlier_chains) * (draws // rounds)
