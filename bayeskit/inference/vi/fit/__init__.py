"""`VI`: the optimisation of a guide, when it stops, natural gradients."""
