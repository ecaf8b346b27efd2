"""The progress bar, under the name by which it was first known."""

from bayeskit._progress import ProgressBar

__all__ = ["ProgressBar"]
