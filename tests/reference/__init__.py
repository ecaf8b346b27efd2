"""Published posteriors, written as NumPyro models and compared with their reference values."""
