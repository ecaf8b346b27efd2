"""Gaussian processes with a random scale: their evidence, posteriors, predictions and trained ensembles."""
