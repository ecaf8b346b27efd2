"""Networks that are trained on data sets drawn from a prior, and predict in one pass."""

from bayeskit.distributions.histogram import Histogram
from bayeskit.models.pfn import priors
from bayeskit.models.pfn.classifier import PFNClassifier
from bayeskit.models.pfn.net import Context, Net, load
from bayeskit.models.pfn.training import resume, train

__all__ = ["Context", "Histogram", "Net", "PFNClassifier", "load", "priors", "resume", "train"]
