"""Inference methods and the verbs that run them."""

from __future__ import annotations

from bayeskit.inference.mcmc.chees import ChEES
from bayeskit.inference.mcmc.hmc import HMC
from bayeskit.inference.mcmc.mclmc import MCLMC
from bayeskit.inference.mcmc.meads import MEADS
from bayeskit.inference.mcmc.nuts import NUTS
from bayeskit.inference.method import Draws, Method
from bayeskit.inference.predictive import predict
from bayeskit.inference.run import infer, resume
from bayeskit.inference.vi.fit.method import VI

__all__ = ["HMC", "MCLMC", "MEADS", "NUTS", "VI", "ChEES", "Draws", "Method", "infer", "predict", "resume"]
