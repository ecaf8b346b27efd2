"""Infinitely wide networks as Gaussian processes, and scale mixtures of them."""

from bayeskit.models.nngp.activations import absolute as abs
from bayeskit.models.nngp.activations import erf, gelu, identity, leaky_relu, rbf, relu, sin
from bayeskit.models.nngp.classification import ClassificationModel, classification_model
from bayeskit.models.nngp.classifier import SparseClassifier
from bayeskit.models.nngp.fitted_classifier import FittedClassifier
from bayeskit.models.nngp.layers import Dense, LayerNorm
from bayeskit.models.nngp.mixture_posterior import MixturePosterior
from bayeskit.models.nngp.network import Kernels, Network, fully_connected, serial
from bayeskit.models.nngp.scale_mixture import ScaleMixture

__all__ = [
    "ClassificationModel",
    "Dense",
    "FittedClassifier",
    "Kernels",
    "LayerNorm",
    "MixturePosterior",
    "Network",
    "ScaleMixture",
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
