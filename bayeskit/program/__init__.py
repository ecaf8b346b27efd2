"""A *program* is a NumPyro function with its data bound; `draw` and `log_density` are what objectives do with it."""

from bayeskit.program.bind import Program, bind
from bayeskit.program.control_flow import average, cond, log_average_exp, replicate, scan
from bayeskit.program.density import log_density
from bayeskit.program.draw import draw
from bayeskit.program.execution import Estimator
from bayeskit.program.factors import is_prior_factor, prior_factor
from bayeskit.program.minibatch import minibatch
from bayeskit.program.runnable import Runnable, detach
from bayeskit.program.sharding import sharded
from bayeskit.program.weights import LogWeight
from bayeskit.program.with_estimators import with_estimators

__all__ = [
    "Estimator",
    "LogWeight",
    "Program",
    "Runnable",
    "average",
    "bind",
    "cond",
    "detach",
    "draw",
    "is_prior_factor",
    "log_average_exp",
    "log_density",
    "minibatch",
    "prior_factor",
    "replicate",
    "scan",
    "sharded",
    "with_estimators",
]
