"""Expectations and their gradients against closed forms, for every estimator."""
