"""Where scale and clipping range come from: one estimator a file, behind one interface."""

from mpnas.quant.scale.base import SCALE_FLOOR, Params, Range, ScaleEstimator, Stats
from mpnas.quant.scale.learned import LearnedStep
from mpnas.quant.scale.minmax import MinMax
from mpnas.quant.scale.moving import MovingAverage

__all__ = [
    "SCALE_FLOOR",
    "LearnedStep",
    "MinMax",
    "MovingAverage",
    "Params",
    "Range",
    "ScaleEstimator",
    "Stats",
]
