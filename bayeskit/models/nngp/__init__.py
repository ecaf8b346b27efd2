"""Infinitely wide networks as Gaussian processes, and scale mixtures of them."""

from bayeskit.models.nngp.activations import absolute as abs
from bayeskit.models.nngp.activations import erf, gelu, identity, leaky_relu, rbf, relu, sin
from bayeskit.models.nngp.convolution import Conv, Flatten, GlobalPool
from bayeskit.models.nngp.hermite import Activation
from bayeskit.models.nngp.layers import Dense, LayerNorm
from bayeskit.models.nngp.network import Kernels, Network, NtkKernel
from bayeskit.models.nngp.serial import fully_connected, residual, serial

__all__ = [
    "Activation",
    "Conv",
    "Dense",
    "Flatten",
    "GlobalPool",
    "Kernels",
    "LayerNorm",
    "Network",
    "NtkKernel",
    "abs",
    "erf",
    "fully_connected",
    "gelu",
    "identity",
    "leaky_relu",
    "rbf",
    "relu",
    "residual",
    "serial",
    "sin",
]
