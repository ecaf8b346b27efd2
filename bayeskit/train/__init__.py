"""One optimisation loop for every learned model, and one rule for whether its loss still falls."""

from bayeskit.train.checkpoint import Checkpoint
from bayeskit.train.loop import Block, Trained, minimise
from bayeskit.train.training import Stopped, Training, no_training

__all__ = ["Block", "Checkpoint", "Stopped", "Trained", "Training", "minimise", "no_training"]
