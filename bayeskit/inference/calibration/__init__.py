"""Whether a method is right about a model: simulated data, fitted, with the rank of the truth among the draws."""
