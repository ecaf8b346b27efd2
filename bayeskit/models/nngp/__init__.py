"""Kernels of infinitely wide networks, and scale mixtures of Gaussian processes."""

from bayeskit.models.nngp.classification import ClassificationModel, classification_model
from bayeskit.models.nngp.classifier import SparseClassifier
from bayeskit.models.nngp.fitted_classifier import FittedClassifier

__all__ = ["ClassificationModel", "FittedClassifier", "SparseClassifier", "classification_model"]
