"""Methods that come from the prior: tempered particles, nested sampling, parallel tempering, and the evidence."""
