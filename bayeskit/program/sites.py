"""How a site is read: its independent elements, which of them count, where they may lie, and their log densities.

NumPyro wraps distributions: plates and `expand` repeat them, `to_event` makes batch dimensions part of an event,
`handlers.mask` and `mask` take some out. What a nest of these means is decided here, and nowhere else.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from numpyro.distributions import Distribution, ExpandedDistribution, Independent, MaskedDistribution, constraints

from bayeskit._typing import Array, ArrayLike
from bayeskit.program.execution import Estimator


class Term(NamedTuple):
    """The log density of one site.

    Attributes:
        value: one number for each element of the site's batch shape, unscaled; zero where masked.
        scale: what ``handlers.scale`` and subsampling plates multiply it by.
    """

    value: Array
    scale: Array | float = 1.0

    @property
    def is_scaled(self) -> bool:
        """Whether something scales it, if only by an array of ones."""
        return not (isinstance(self.scale, int | float) and self.scale == 1.0)

    def scaled(self) -> Array:
        """One number for each element of the batch, as it enters the log density."""
        return self.scale * self.value if self.is_scaled else self.value

    def total(self) -> Array:
        """The scaled sum over elements."""
        return jnp.sum(self.scaled())


@dataclasses.dataclass(frozen=True)
class Reading:
    """A distribution without its wrappers.

    Attributes:
        elements: the independent elements: its batch shape is that of the site, and the dimensions `within` events.
        mask: which elements count; broadcasts to the batch shape of `elements`, ``True`` where nothing is masked.
        within: how many trailing batch dimensions of `elements` belong to one event of the site.
    """

    elements: Distribution
    mask: Array | bool = True
    within: int = 0

    def inside(self, value: ArrayLike) -> Array:
        """Whether each element lies in its support; masked elements count as inside."""
        return jnp.logical_not(self.mask) | jnp.asarray(self.elements.support(jnp.asarray(value)))

    def log_prob(self, value: ArrayLike, guarded: bool) -> Array:
        """The log density of each element, unscaled, zero where masked; `guarded`, minus infinity outside the support
        (where many distributions of NumPyro return some finite number).
        """
        support, value = self.elements.support, jnp.asarray(value)  # NumPyro's constraints compare numbers in NumPy
        guarded = guarded and not is_everywhere(support)
        batch = jnp.shape(value)[: jnp.ndim(value) - self.elements.event_dim]
        shape = jnp.broadcast_shapes(batch, self.elements.batch_shape)
        if self.mask is True and not guarded:
            return jnp.broadcast_to(self.elements.log_prob(value), shape)
        # A number that does not count is replaced before the density is taken, not only after it: the slope of what
        # `where` discards is multiplied by zero, and zero times infinity is NaN.
        inside = jnp.asarray(support(value)) if guarded else jnp.asarray(True)
        used = jnp.broadcast_to(inside & self.mask, shape)
        event = tuple(self.elements.event_shape)
        dtype = jnp.result_type(value) if support.is_discrete else jnp.result_type(value, float)
        value = jnp.broadcast_to(jnp.asarray(value, dtype), (*shape, *event))
        try:
            point = jnp.asarray(support.feasible_like(value), dtype)
        except NotImplementedError:  # a constraint of the user's own
            point = value
        replaced = jnp.where(used.reshape((*shape, *[1] * len(event))), value, point)
        log_prob = jnp.broadcast_to(self.elements.log_prob(replaced), shape)
        if guarded:
            log_prob = jnp.where(inside, log_prob, -jnp.inf)
        return log_prob if self.mask is True else jnp.where(self.mask, log_prob, 0.0)

    def to_events(self, numbers: Array) -> Array:
        """Sums over the elements of each event."""
        return jnp.sum(numbers, axis=tuple(range(-self.within, 0))) if self.within else numbers

    def kept_events(self) -> Array:
        """Whether any element of each event counts; broadcasts to the batch shape of the site."""
        mask = jnp.asarray(self.mask)
        return jnp.any(mask, axis=tuple(range(-min(self.within, mask.ndim), 0)))


def read(distribution: Distribution) -> Reading:
    """Take a distribution out of its wrappers.

    A mask is put on the events of what it wraps, so it holds for all elements of such an event, and stays the same
    under an `expand` further out, against whose leading dimensions it broadcasts.
    """
    if isinstance(distribution, Independent):
        inner = read(distribution.base_dist)
        return dataclasses.replace(inner, within=inner.within + distribution.reinterpreted_batch_ndims)
    if isinstance(distribution, MaskedDistribution):
        inner, mask = read(distribution.base_dist), distribution._mask
        if not isinstance(mask, bool):
            mask = jnp.asarray(mask).reshape((*jnp.shape(mask), *[1] * inner.within))
        return dataclasses.replace(inner, mask=mask if inner.mask is True else mask & inner.mask)
    if isinstance(distribution, ExpandedDistribution):
        inner = read(distribution.base_dist)
        if inner.elements is distribution.base_dist:
            return Reading(distribution)
        shape = (*distribution.batch_shape, *distribution.event_shape)
        repeated = inner.elements.expand(shape[: len(shape) - inner.elements.event_dim])
        return dataclasses.replace(inner, elements=repeated)
    return Reading(distribution)


def site_term(site: Mapping[str, Any], *, guarded: bool) -> Term:
    """The log density of a site of a trace, one number for each element of its batch.

    Args:
        site: a sample site, of a trace or under way.
        guarded: compare its value with its support; a value that was made inside needs no comparison.
    """
    reading = read(site["fn"])
    log_prob = reading.log_prob(site["value"], guarded and not site["infer"].get("is_auxiliary"))
    return Term(reading.to_events(log_prob), 1.0 if site["scale"] is None else site["scale"])


def site_log_prob(site: Mapping[str, Any]) -> Array:
    """The scaled log density of each element of a site's batch; minus infinity outside the support."""
    return site_term(site, guarded=True).scaled()


def elements(distribution: Distribution) -> Distribution:
    """The distribution with its independent elements as batch dimensions, and without a mask."""
    return read(distribution).elements


def innermost(distribution: Distribution) -> Distribution:
    """The distribution of one element, neither repeated nor masked."""
    single = elements(distribution)
    while isinstance(single, ExpandedDistribution):
        single = single.base_dist
    return single


def describe(distribution: Distribution) -> str:
    """The name of a distribution under its wrappers, for messages."""
    return type(innermost(distribution)).__name__


def is_everywhere(support: object) -> bool:
    """Whether a support is the whole space."""
    while isinstance(support, constraints.independent):
        support = support.base_constraint
    return isinstance(support, type(constraints.real))


def finite_support(distribution: Distribution, estimator: Estimator) -> tuple[float, ...] | None:
    """The support of one element, for the estimators that need it."""
    if not estimator.needs_support or not distribution.has_enumerate_support:
        return None
    with jax.ensure_compile_time_eval():
        support = np.asarray(elements(distribution).enumerate_support(expand=False))
    return tuple(float(v) for v in support.reshape(-1))
