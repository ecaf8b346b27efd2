"""Gaussian processes with learned spectra that solve differential equations."""
