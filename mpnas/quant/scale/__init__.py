"""Where scale and clipping range come from: one estimator a file, behind one interface."""

from mpnas.quant.scale.base import SCALE_FLOOR, Params, Range, ScaleEstimator, Stats
from mpnas.quant.scale.dorefa import DoReFa
from mpnas.quant.scale.ends import Ends
from mpnas.quant.scale.entropy import Entropy
from mpnas.quant.scale.learned import LearnedStep
from mpnas.quant.scale.learned_range import LearnedRange
from mpnas.quant.scale.minmax import MinMax
from mpnas.quant.scale.moving import MovingAverage
from mpnas.quant.scale.mse import MSE
from mpnas.quant.scale.octav import Octav
from mpnas.quant.scale.pact import PACT
from mpnas.quant.scale.percentile import Percentile

__all__ = [
    "MSE",
    "PACT",
    "SCALE_FLOOR",
    "DoReFa",
    "Ends",
    "Entropy",
    "LearnedRange",
    "LearnedStep",
    "MinMax",
    "MovingAverage",
    "Octav",
    "Params",
    "Percentile",
    "Range",
    "ScaleEstimator",
    "Stats",
]
