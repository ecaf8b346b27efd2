"""Guides: the families that a posterior is approximated by; all are programs once their parameters are known."""

from bayeskit.inference.vi.guides.block import Block
from bayeskit.inference.vi.guides.custom import Custom
from bayeskit.inference.vi.guides.flow import Flow
from bayeskit.inference.vi.guides.full_rank import FullRank
from bayeskit.inference.vi.guides.guide import Guide, NormalGuide, Parameters, VectorGuide
from bayeskit.inference.vi.guides.laplace import Laplace
from bayeskit.inference.vi.guides.low_rank import LowRank
from bayeskit.inference.vi.guides.mean_field import MeanField
from bayeskit.inference.vi.guides.mixture import Mixture

__all__ = [
    "Block",
    "Custom",
    "Flow",
    "FullRank",
    "Guide",
    "Laplace",
    "LowRank",
    "MeanField",
    "Mixture",
    "NormalGuide",
    "Parameters",
    "VectorGuide",
]
