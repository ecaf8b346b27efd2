"""Infinitely wide networks as Gaussian processes, and scale mixtures of them."""

from bayeskit.models.nngp.activations import absolute as abs
from bayeskit.models.nngp.activations import erf, gelu, identity, leaky_relu, rbf, relu, sin
from bayeskit.models.nngp.classification import ClassificationModel, classification_model
from bayeskit.models.nngp.classifier import SparseClassifier
from bayeskit.models.nngp.convolution import Conv, Flatten, GlobalPool
from bayeskit.models.nngp.ensembles import FullyTrainedEnsemble, ReadoutTrainedEnsemble
from bayeskit.models.nngp.evidence import EvidenceFit, maximise_evidence
from bayeskit.models.nngp.fitted_classifier import FittedClassifier
from bayeskit.models.nngp.hermite import Activation
from bayeskit.models.nngp.importance import ImportancePosterior
from bayeskit.models.nngp.layers import Dense, LayerNorm
from bayeskit.models.nngp.mixture_posterior import MixturePosterior
from bayeskit.models.nngp.mixture_predictive import NormalScaleMixture, ScaleNodesMixture
from bayeskit.models.nngp.mixture_prior import ScaleMixturePrior
from bayeskit.models.nngp.network import Kernels, Network, NtkKernel
from bayeskit.models.nngp.scale_mixture import ScaleMixture
from bayeskit.models.nngp.scale_posterior import QuadratureScale
from bayeskit.models.nngp.serial import fully_connected, residual, serial

__all__ = [
    "Activation",
    "ClassificationModel",
    "Conv",
    "Dense",
    "EvidenceFit",
    "FittedClassifier",
    "Flatten",
    "FullyTrainedEnsemble",
    "GlobalPool",
    "ImportancePosterior",
    "Kernels",
    "LayerNorm",
    "MixturePosterior",
    "Network",
    "NormalScaleMixture",
    "NtkKernel",
    "QuadratureScale",
    "ReadoutTrainedEnsemble",
    "ScaleMixture",
    "ScaleMixturePrior",
    "ScaleNodesMixture",
    "SparseClassifier",
    "abs",
    "classification_model",
    "erf",
    "fully_connected",
    "gelu",
    "identity",
    "leaky_relu",
    "maximise_evidence",
    "rbf",
    "relu",
    "residual",
    "serial",
    "sin",
]
