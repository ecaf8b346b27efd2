"""Inference methods and the verbs that run them."""

from __future__ import annotations

from bayeskit.inference.mcmc.blackjax_chees import ChEES
from bayeskit.inference.mcmc.blackjax_mclmc import MCLMC
from bayeskit.inference.mcmc.blackjax_meads import MEADS
from bayeskit.inference.mcmc.hamiltonian import HMC, NUTS
from bayeskit.inference.method import Draws, Method
from bayeskit.inference.predictive import predict
from bayeskit.inference.run import infer, resume

METHODS: dict[str, type[Method]] = {"nuts": NUTS, "hmc": HMC, "mclmc": MCLMC, "chees": ChEES, "meads": MEADS}

__all__ = ["HMC", "MCLMC", "MEADS", "METHODS", "NUTS", "ChEES", "Draws", "Method", "infer", "predict", "resume"]
