"""The models of NumPyro's gallery of examples, written anew from their published mathematics, on small data."""
