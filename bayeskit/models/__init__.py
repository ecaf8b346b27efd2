"""Model families, one sub-package each; a family never imports another."""

import numpyro  # noqa: F401  whole, before its distributions: see bayeskit/distributions/__init__.py
