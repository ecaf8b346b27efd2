"""Guides: the families that a posterior is approximated by; all are programs once their parameters are known."""

from bayeskit.inference.vi.guides.block import Block as Block
from bayeskit.inference.vi.guides.custom import Custom as Custom
from bayeskit.inference.vi.guides.flow import Flow as Flow
from bayeskit.inference.vi.guides.full_rank import FullRank as FullRank
from bayeskit.inference.vi.guides.guide import Guide as Guide
from bayeskit.inference.vi.guides.guide import NormalGuide as NormalGuide
from bayeskit.inference.vi.guides.guide import Parameters as Parameters
from bayeskit.inference.vi.guides.guide import VectorGuide as VectorGuide
from bayeskit.inference.vi.guides.laplace import Laplace as Laplace
from bayeskit.inference.vi.guides.low_rank import LowRank as LowRank
from bayeskit.inference.vi.guides.mean_field import MeanField as MeanField
from bayeskit.inference.vi.guides.mixture import Mixture as Mixture
