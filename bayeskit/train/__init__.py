"""One optimisation loop for every learned model."""

from bayeskit.train.loop import Trained, minimise

__all__ = ["Trained", "minimise"]
