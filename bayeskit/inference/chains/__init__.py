"""The chain axis: independent chains, ensembles, threads."""
