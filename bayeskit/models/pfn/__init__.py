"""Networks that are trained on data sets drawn from a prior, and predict in one pass."""

from bayeskit.distributions.histogram import Histogram
from bayeskit.models.pfn import priors
from bayeskit.models.pfn.amortised import Amortised
from bayeskit.models.pfn.by_nuts import conditioned
from bayeskit.models.pfn.checking import Calibration, check
from bayeskit.models.pfn.classifier import PFNClassifier
from bayeskit.models.pfn.net import Context, Net, load
from bayeskit.models.pfn.pretrained import pretrained
from bayeskit.models.pfn.regressor import PFNRegressor
from bayeskit.models.pfn.training import resume, train

__all__ = [
    "Amortised",
    "Calibration",
    "Context",
    "Histogram",
    "Net",
    "PFNClassifier",
    "PFNRegressor",
    "check",
    "conditioned",
    "load",
    "pretrained",
    "priors",
    "resume",
    "train",
]
