"""Programs made from programs: marginal, normalised, and numbers that stay unbiased."""
