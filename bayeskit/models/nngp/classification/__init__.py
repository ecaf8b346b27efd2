"""Classification with latent Gaussian processes, one a class, that share a random scale."""
