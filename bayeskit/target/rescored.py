"""A distribution with other log densities, for handlers that change what a site counts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
from numpyro.distributions import Distribution

from bayeskit._typing import Array

__all__ = ["Rescored"]


class Rescored(Distribution):
    """A distribution whose log densities are changed, and nothing else of it.

    Args:
        base: the distribution.
        change: from its log densities to those that count.
    """

    def __init__(self, base: Distribution, change: Callable[[Array], Array]):
        self._base, self._change = base, change
        super().__init__(base.batch_shape, base.event_shape)

    @property
    def support(self) -> Any:
        """Of the distribution."""
        return self._base.support

    @property
    def has_enumerate_support(self) -> bool:
        """Of the distribution."""
        return bool(self._base.has_enumerate_support)

    def enumerate_support(self, expand: bool = True) -> Array:
        """Of the distribution."""
        return self._base.enumerate_support(expand=expand)

    def sample(self, key: Array | None, sample_shape: tuple[int, ...] = ()) -> Array:
        """Of the distribution."""
        return self._base.sample(key, sample_shape)

    def log_prob(self, value: Array, intermediates: Any = None) -> Array:
        """The changed log density."""
        del intermediates
        return self._change(jnp.asarray(self._base.log_prob(value)))
