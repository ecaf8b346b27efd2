"""Infinitely wide networks, and scale mixtures of them."""

from bayeskit.models.nngp.mixture_posterior import MixturePosterior
from bayeskit.models.nngp.scale_mixture import ScaleMixture

__all__ = ["MixturePosterior", "ScaleMixture"]
