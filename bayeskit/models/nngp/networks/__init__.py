"""Infinitely wide networks, layer by layer: their covariances and tangent kernels."""
