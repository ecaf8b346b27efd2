"""Markov chain Monte Carlo, one file a backend."""
