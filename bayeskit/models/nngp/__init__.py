"""Infinitely wide networks as Gaussian processes, and scale mixtures of them."""

from bayeskit.models.nngp.classification.classification_model import ClassificationModel, classification_model
from bayeskit.models.nngp.classification.classifier import SparseClassifier
from bayeskit.models.nngp.classification.fitted_classifier import FittedClassifier
from bayeskit.models.nngp.mixtures.ensembles import FullyTrainedEnsemble, ReadoutTrainedEnsemble
from bayeskit.models.nngp.mixtures.evidence import EvidenceFit, maximise_evidence
from bayeskit.models.nngp.mixtures.importance import ImportancePosterior
from bayeskit.models.nngp.mixtures.posterior import MixturePosterior
from bayeskit.models.nngp.mixtures.predictive import NormalScaleMixture, ScaleNodesMixture
from bayeskit.models.nngp.mixtures.prior import ScaleMixturePrior
from bayeskit.models.nngp.mixtures.quadrature_scale import QuadratureScale
from bayeskit.models.nngp.mixtures.scale_mixture import ScaleMixture
from bayeskit.models.nngp.networks.activations import absolute as abs
from bayeskit.models.nngp.networks.activations import erf, gelu, identity, leaky_relu, rbf, relu, sin
from bayeskit.models.nngp.networks.convolution import Conv, Flatten, GlobalPool
from bayeskit.models.nngp.networks.hermite import Activation
from bayeskit.models.nngp.networks.layers import Dense, LayerNorm
from bayeskit.models.nngp.networks.network import Kernels, Network, NtkKernel
from bayeskit.models.nngp.networks.serial import fully_connected, residual, serial

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
