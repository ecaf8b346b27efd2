r"""The posterior of discrete sites that were summed out.

Add a number $\epsilon_{ik}$ to the log probability that element $i$ of a discrete site takes its value $k$. The log
density with the site summed out, $\log \sum_z \pi(x, z) \exp \sum_i \epsilon_{i z_i}$, has at $\epsilon = 0$ the slope

$$\frac{\partial}{\partial \epsilon_{ik}} \log \pi(x) = p(z_i = k \mid x, y),$$

exactly. Where the log probability of a site depends on other discrete sites, the numbers are given to it for each of
their values, and the slopes are joint probabilities.

Draws are made site after site, those in fewer plates first, each given the sites before it (whose other values get
minus a billion): given what is outside a plate, its elements are independent. Along a scan, the joint probabilities
of neighbouring steps give those of a step given the one before, and the posterior of a chain is a chain.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from numpyro.primitives import Messenger

from bayeskit._settings import check_choice
from bayeskit._typing import Array, Values
from bayeskit.errors import ModelError
from bayeskit.target import Target
from bayeskit.target.density import enumerated_sites, run_trace, summed_log_density
from bayeskit.target.rescored import Rescored
from bayeskit.xla.miscompilation import safe_jit

__all__ = ["HOW", "Discrete", "check_discrete"]

HOW = ("sample", "probabilities")
NEVER = -1e9
PREVIOUS = "_PREV_"


class _Factor(NamedTuple):
    """The log probability of a discrete site, or of its first step in a scan.

    Attributes:
        name: in the enumerated trace; of the first step in a scan with a mark before it.
        shape: of the log probability.
        own: the axis (negative) of its own values.
        before: that of the values at the step before, in a scan.
        time: that of the steps.
    """

    name: str
    shape: tuple[int, ...]
    own: int
    before: int | None
    time: int | None


class _Tilt(Messenger):
    """Adds numbers to the log probabilities of discrete sites."""

    def __init__(self, fn: Any, tilts: Mapping[str, Array]):
        super().__init__(fn)
        self._tilts = tilts

    def process_message(self, msg: dict[str, Any]) -> None:
        """NumPyro's hook, called at every site; after a scan once for all of its steps."""
        if msg["type"] == "sample" and msg["name"] in self._tilts:
            tilt = self._tilts[msg["name"]]
            msg["fn"] = Rescored(msg["fn"], lambda log_prob: log_prob + tilt)


def check_discrete(how: str | None) -> None:
    """Refuse an unknown value of the argument ``discrete``.

    Raises:
        MethodError: naming the values there are.
    """
    if how is not None:
        check_choice("discrete", how, HOW)


class Discrete:
    """Draws, or probabilities, of the summed-out discrete sites of a target, given its continuous ones.

    Args:
        target: the target.
        how: ``"sample"`` or ``"probabilities"``.

    Raises:
        ModelError: the target has no discrete site, or draws are asked of several that follow each other in a scan.
    """

    def __init__(self, target: Target, how: str):
        self._target, self._how = target, how
        structure = target.structure
        sites = structure.of_kind("discrete")
        if not sites:
            raise ModelError(f"discrete={how!r}: model {target.program.name!r} has no discrete latent site")
        self._factors = _factors(target)
        self._support = _supports(target)
        self._order = sorted((site.name for site in sites), key=lambda name: (self._in_scan(name), self._plates(name)))
        if how == "sample":
            self._check_scans()

    def __call__(self, positions: Array | np.ndarray, keys: Array) -> dict[str, np.ndarray]:
        """Arrays of shape ``(chain, draw, *shape)``, of probabilities with one more axis over the values.

        Args:
            positions: unconstrained values, shape ``(chain, draw, size)``.
            keys: a raw key for each draw.
        """
        values = _evaluate(self._key, self._target, positions, keys)
        return {self.variable(name): np.asarray(value) for name, value in values.items()}

    @property
    def variables(self) -> list[str]:
        """Names of what is computed."""
        return [self.variable(name) for name in self._order]

    def variable(self, site: str) -> str:
        """The name under which a site is reported."""
        return site if self._how == "sample" else f"{site}_probs"

    def dims(self, names: Mapping[str, Sequence[str | None]]) -> dict[str, list[str | None]]:
        """Dimensions of what is computed, from those of the sites."""
        if self._how == "sample":
            return {n: list(names[n]) for n in self._order}
        return {self.variable(n): [*names[n], f"{n}_value"] for n in self._order}

    def coords(self) -> dict[str, np.ndarray]:
        """The values that the probabilities are of."""
        return {} if self._how == "sample" else {f"{n}_value": self._support[n] for n in self._order}

    @property
    def _key(self) -> _Plan:
        support = tuple((name, tuple(values.tolist())) for name, values in self._support.items())
        return _Plan(self._how, tuple(self._order), tuple(self._factors), support)

    def _plates(self, name: str) -> int:
        return len(self._target.structure[name].plates)

    def _in_scan(self, name: str) -> bool:
        return any(f.name.startswith(PREVIOUS) for f in self._factors if _plain(f.name) == name)

    def _check_scans(self) -> None:
        scanned = [name for name in self._order if self._in_scan(name)]
        chained = [f for f in self._factors if f.time is not None]
        if len(scanned) > 1 or any(f.before is None for f in chained) or len(self._factors) > len(self._order) + 1:
            raise ModelError(
                f"discrete='sample': the sites {scanned} follow each other in a scan in a way whose joint draws are "
                "not known here (several sites, no dependence on the step before, or on more than one); use "
                "discrete='probabilities'"
            )


class _Plan(NamedTuple):
    """What is static in a computation: see `Discrete`."""

    how: str
    order: tuple[str, ...]
    factors: tuple[_Factor, ...]
    support: tuple[tuple[str, tuple[int, ...]], ...]


def _plain(name: str) -> str:
    return name.replace(PREVIOUS, "")


def _factors(target: Target) -> list[_Factor]:
    """The log probabilities of discrete sites, earlier steps first."""
    found: list[_Factor] = []
    discrete = {site.name for site in target.structure.of_kind("discrete")}

    def run() -> None:
        for name, site in enumerated_sites(target.program, target.structure, target.structure.zeros()).items():
            if site["type"] != "sample" or _plain(name) not in discrete:
                continue
            axes = {lane: dim for dim, lane in site["infer"]["dim_to_name"].items()}
            time = next((dim for lane, dim in axes.items() if lane.startswith("_time")), None)
            shape = jnp.shape(site["fn"].log_prob(site["value"]))
            found.append(_Factor(name, shape, axes[name], axes.get(PREVIOUS + name), time))

    jax.eval_shape(run)
    return sorted(found, key=lambda factor: -len(factor.name))


def _supports(target: Target) -> dict[str, np.ndarray]:
    """The values of each discrete site."""
    sites = run_trace(target.program, target.structure.zeros(), seeded=True)
    names = [site.name for site in target.structure.of_kind("discrete")]
    return {n: np.asarray(sites[n]["fn"].enumerate_support(expand=False)).reshape(-1) for n in names}


@partial(safe_jit, static_argnums=0)
def _evaluate(plan: _Plan, target: Target, positions: Array | np.ndarray, keys: Array) -> Values:
    return jax.vmap(jax.vmap(lambda position, key: _one(plan, target, position, key)))(positions, keys)


def _one(plan: _Plan, target: Target, position: Array, key: Array) -> Values:
    values = target.unravel(position)

    def density(tilts: dict[str, Array]) -> Array:
        tilted = _Tilt(target.program, tilts)
        return summed_log_density(target.program, target.structure, target.moving, values, model=tilted)

    tilts = {factor.name: jnp.zeros(factor.shape) for factor in plan.factors}
    support = {name: jnp.asarray(numbers) for name, numbers in plan.support}
    slopes = jax.grad(density)
    if plan.how == "probabilities":
        found = slopes(tilts)
        return {name: _marginals(plan, target, found, name) for name in plan.order}
    out = {}
    for number, name in enumerate(plan.order):
        shape, own = target.structure[name].shape, jax.random.fold_in(key, number)
        first, *later = (factor for factor in plan.factors if _plain(factor.name) == name)
        found = slopes(tilts)
        index = jax.random.categorical(own, _log(_joint(first, found, target)))
        if later:
            joint = _joint(later[0], found, target, with_before=True)
            index = _chain(own, index, joint if later[0].time is not None else joint[None])
        else:
            tilts[first.name] = _clamp(index, first, target)
        out[name] = support[name][index.reshape(shape)]
    return out


def _marginals(plan: _Plan, target: Target, found: Values, name: str) -> Array:
    """Probabilities of the values of each element of a site, on a last axis."""
    parts = [_joint(factor, found, target) for factor in plan.factors if _plain(factor.name) == name]
    nesting = target.structure.max_plate_nesting
    together = jnp.concatenate([part if part.ndim > nesting + 1 else part[None] for part in parts])
    # a scale on the site multiplies its slopes
    together = together / jnp.sum(together, -1, keepdims=True)
    return together.reshape(*target.structure[name].shape, -1)


def _joint(factor: _Factor, found: Values, target: Target, *, with_before: bool = False) -> Array:
    """Probabilities with axes (time, if there are steps), plates, values before (if asked for), and values."""
    ndim, nesting = len(factor.shape), target.structure.max_plate_nesting
    last = [axis for axis in ((factor.before if with_before else None), factor.own) if axis is not None]
    kept = [*([] if factor.time is None else [factor.time]), *range(-nesting, 0), *last]
    others = [axis for axis in range(-ndim, 0) if axis not in kept]
    slopes = jnp.sum(found[factor.name], axis=tuple(others), keepdims=True)
    return jnp.transpose(slopes, [axis % ndim for axis in (*others, *kept)]).reshape([factor.shape[a] for a in kept])


def _log(probabilities: Array) -> Array:
    """Logarithms, where rounding may have left what is just below zero."""
    return jnp.log(jnp.maximum(probabilities, 0.0))


def _chain(key: Array, first: Array, joint: Array) -> Array:
    """Indices of all steps, each given the one before."""

    def step(before: Array, given: tuple[Array, Array]) -> tuple[Array, Array]:
        key, joint = given
        row = jnp.take_along_axis(joint, before[..., None, None], axis=-2)[..., 0, :]
        index = jax.random.categorical(key, _log(row))
        return index, index

    keys = jax.random.split(jax.random.fold_in(key, 1), len(joint))
    return jnp.concatenate([first[None], jax.lax.scan(step, first, (keys, joint))[1]])


def _clamp(index: Array, factor: _Factor, target: Target) -> Array:
    """What to add to a log probability so that its site has these values."""
    lanes = len(factor.shape) - target.structure.max_plate_nesting
    size = [1] * lanes
    size[factor.own + len(factor.shape)] = factor.shape[factor.own]
    chosen = jax.nn.one_hot(index, factor.shape[factor.own], axis=0)
    return jnp.broadcast_to(jnp.where(chosen > 0, 0.0, NEVER).reshape(*size, *index.shape), factor.shape)
