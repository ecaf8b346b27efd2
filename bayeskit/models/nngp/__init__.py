"""Infinitely wide networks as Gaussian processes, and scale mixtures of them."""

from bayeskit.models.nngp.activations import absolute as abs
from bayeskit.models.nngp.activations import erf, gelu, identity, leaky_relu, rbf, relu, sin
from bayeskit.models.nngp.evidence import EvidenceFit, maximise_evidence
from bayeskit.models.nngp.layers import Dense, LayerNorm
from bayeskit.models.nngp.mixture_posterior import MixturePosterior
from bayeskit.models.nngp.network import Kernels, Network, fully_connected, serial
from bayeskit.models.nngp.scale_mixture import ScaleMixture

__all__ = [
    "Dense",
    "EvidenceFit",
    "Kernels",
    "LayerNorm",
    "MixturePosterior",
    "Network",
    "ScaleMixture",
    "abs",
    "erf",
    "fully_connected",
    "gelu",
    "identity",
    "leaky_relu",
    "maximise_evidence",
    "rbf",
    "relu",
    "serial",
    "sin",
]
