"""Infinitely wide networks as Gaussian processes, and scale mixtures of them."""

from bayeskit.models.nngp.activations import absolute as abs
from bayeskit.models.nngp.activations import erf, gelu, identity, leaky_relu, rbf, relu, sin
from bayeskit.models.nngp.ensembles import FullyTrainedEnsemble, ReadoutTrainedEnsemble
from bayeskit.models.nngp.evidence import EvidenceFit, maximise_evidence
from bayeskit.models.nngp.importance import ImportancePosterior
from bayeskit.models.nngp.layers import Dense, LayerNorm
from bayeskit.models.nngp.mixture_posterior import MixturePosterior
from bayeskit.models.nngp.mixture_predictive import NormalScaleMixture, ScaleNodesMixture
from bayeskit.models.nngp.mixture_prior import ScaleMixturePrior
from bayeskit.models.nngp.network import Kernels, Network, fully_connected, serial
from bayeskit.models.nngp.scale_mixture import ScaleMixture
from bayeskit.models.nngp.scale_posterior import QuadratureScale

__all__ = [
    "Dense",
    "EvidenceFit",
    "FullyTrainedEnsemble",
    "ImportancePosterior",
    "Kernels",
    "LayerNorm",
    "MixturePosterior",
    "Network",
    "NormalScaleMixture",
    "QuadratureScale",
    "ReadoutTrainedEnsemble",
    "ScaleMixture",
    "ScaleMixturePrior",
    "ScaleNodesMixture",
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
