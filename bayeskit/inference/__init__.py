"""Inference methods and the verbs that run them."""

from __future__ import annotations

from bayeskit.inference.mcmc.blackjax_chees import ChEES
from bayeskit.inference.mcmc.blackjax_mclmc import MCLMC
from bayeskit.inference.mcmc.blackjax_meads import MEADS
from bayeskit.inference.mcmc.hamiltonian import HMC, NUTS
from bayeskit.inference.method import Draws, Method
from bayeskit.inference.predictive import predict
from bayeskit.inference.run import infer, resume
from bayeskit.inference.vi.method import VI

METHODS: dict[str, type[Method]] = {"nuts": NUTS, "hmc": HMC, "mclmc": MCLMC, "chees": ChEES, "meads": MEADS, "vi": VI}

__all__ = ["HMC", "MCLMC", "MEADS", "METHODS", "NUTS", "VI", "ChEES", "Draws", "Method", "infer", "predict", "resume"]
