"""Values from temporal-difference errors with a learned shape, and their two kinds of uncertainty."""

from bayeskit.models.td_error.agents import train
from bayeskit.models.td_error.curves import (
    interquartile_difference,
    interquartile_mean,
    performance_profile,
    plot_learning_curves,
)
from bayeskit.models.td_error.evaluation import Evaluation, evaluate
from bayeskit.models.td_error.heads import ValueHeads
from bayeskit.models.td_error.losses import gaussian, generalized_gaussian, squared_error, weighted
from bayeskit.models.td_error.markov_chain import MarkovChain, random_walk
from bayeskit.models.td_error.noise import excess_kurtosis, fit_noise, variance
from bayeskit.models.td_error.trajectories import Trajectories
from bayeskit.models.td_error.value_losses import (
    Gaussian,
    GeneralizedGaussian,
    InverseErrorVariance,
    SquaredError,
    ValueLoss,
    ValuePrediction,
)
from bayeskit.models.td_error.value_model import uncertainty, value_model
from bayeskit.models.td_error.weights import (
    effective_size,
    ensemble_variance,
    inverse_error_variance,
    risk_averse_weights,
)

__all__ = [
    "Evaluation",
    "Gaussian",
    "GeneralizedGaussian",
    "InverseErrorVariance",
    "MarkovChain",
    "SquaredError",
    "Trajectories",
    "ValueHeads",
    "ValueLoss",
    "ValuePrediction",
    "effective_size",
    "ensemble_variance",
    "evaluate",
    "excess_kurtosis",
    "fit_noise",
    "gaussian",
    "generalized_gaussian",
    "interquartile_difference",
    "interquartile_mean",
    "inverse_error_variance",
    "performance_profile",
    "plot_learning_curves",
    "random_walk",
    "risk_averse_weights",
    "squared_error",
    "train",
    "uncertainty",
    "value_model",
    "variance",
    "weighted",
]
