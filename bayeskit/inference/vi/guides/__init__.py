"""Guides: the families that a posterior is approximated by; all are programs once their parameters are known."""

from bayeskit.inference.vi.guides.block import Block, block
from bayeskit.inference.vi.guides.flow import Flow, flow
from bayeskit.inference.vi.guides.function import FunctionGuide
from bayeskit.inference.vi.guides.guide import Guide, Parameters, VectorGuide
from bayeskit.inference.vi.guides.laplace import LaplaceGuide, laplace_guide
from bayeskit.inference.vi.guides.mixture import Mixture, mixture
from bayeskit.inference.vi.guides.normal import (
    FullRank,
    LowRank,
    MeanField,
    NormalGuide,
    full_rank,
    low_rank,
    mean_field,
)

__all__ = [
    "Block",
    "Flow",
    "FullRank",
    "FunctionGuide",
    "Guide",
    "LaplaceGuide",
    "LowRank",
    "MeanField",
    "Mixture",
    "NormalGuide",
    "Parameters",
    "VectorGuide",
    "block",
    "flow",
    "full_rank",
    "laplace_guide",
    "low_rank",
    "mean_field",
    "mixture",
]
