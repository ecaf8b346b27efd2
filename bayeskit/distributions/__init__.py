"""NumPyro distributions that NumPyro lacks, or computes with too few digits."""

# ArviZ leaves NumPyro lazy, and a part of a lazy package that is imported first is loaded twice: NumPyro as a whole
# comes before its distributions, or these would lack their own submodules
import numpyro  # noqa: F401

from bayeskit.distributions.burr import BurrXII
from bayeskit.distributions.generalized_normal import GeneralizedNormal
from bayeskit.distributions.histogram import Histogram
from bayeskit.distributions.multivariate_student_t import MultivariateStudentT
from bayeskit.distributions.ordered_normal import OrderedNormal

__all__ = ["BurrXII", "GeneralizedNormal", "Histogram", "MultivariateStudentT", "OrderedNormal"]
