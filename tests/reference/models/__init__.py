"""The reference posteriors as plain NumPyro functions, one file a family."""
