"""NumPyro distributions that NumPyro lacks, or computes with too few digits."""

from bayeskit.distributions.burr import BurrXII
from bayeskit.distributions.generalized_normal import GeneralizedNormal
from bayeskit.distributions.histogram import Histogram
from bayeskit.distributions.multivariate_student_t import MultivariateStudentT

__all__ = ["BurrXII", "GeneralizedNormal", "Histogram", "MultivariateStudentT"]
