"""Array mathematics with no idea of models."""
