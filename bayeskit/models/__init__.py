"""Model families, one sub-package each; a family never imports another."""
