"""Infinitely wide networks as Gaussian processes, and scale mixtures of them."""

from bayeskit.models.nngp.activations import absolute as abs
from bayeskit.models.nngp.activations import erf, gelu, identity, leaky_relu, rbf, relu, sin
from bayeskit.models.nngp.classification import ClassificationModel, classification_model
from bayeskit.models.nngp.classifier import SparseClassifier
from bayeskit.models.nngp.fitted_classifier import FittedClassifier
from bayeskit.models.nngp.layers import Dense, LayerNorm
from bayeskit.models.nngp.network import Kernels, Network, fully_connected, serial

__all__ = [
    "ClassificationModel",
    "Dense",
    "FittedClassifier",
    "Kernels",
    "LayerNorm",
    "Network",
    "SparseClassifier",
    "abs",
    "classification_model",
    "erf",
    "fully_connected",
    "gelu",
    "identity",
    "leaky_relu",
    "rbf",
    "relu",
    "serial",
    "sin",
]
