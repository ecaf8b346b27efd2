"""Infinitely wide networks, and scale mixtures of them."""

from bayeskit.models.nngp.ensembles import FullyTrainedEnsemble, ReadoutTrainedEnsemble
from bayeskit.models.nngp.importance import ImportancePosterior
from bayeskit.models.nngp.mixture_posterior import MixturePosterior
from bayeskit.models.nngp.mixture_predictive import NormalScaleMixture, ScaleNodesMixture
from bayeskit.models.nngp.mixture_prior import ScaleMixturePrior
from bayeskit.models.nngp.scale_mixture import ScaleMixture
from bayeskit.models.nngp.scale_posterior import QuadratureScale

__all__ = [
    "FullyTrainedEnsemble",
    "ImportancePosterior",
    "MixturePosterior",
    "NormalScaleMixture",
    "QuadratureScale",
    "ReadoutTrainedEnsemble",
    "ScaleMixture",
    "ScaleMixturePrior",
    "ScaleNodesMixture",
]
