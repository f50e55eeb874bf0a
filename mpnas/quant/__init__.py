"""Numbers: formats, who shares a scale, where scales come from, and codes that decode exactly.

Floor 0: arrays in, arrays out; nothing here knows of networks or searches.
"""

from mpnas.quant.fake_quantize import fake_quantize
from mpnas.quant.format import FloatFormat, Format, IntFormat, Pruned, format_of
from mpnas.quant.gradient import (
    EWGS,
    Clipped,
    Gradient,
    InverseTanh,
    MagnitudeAware,
    StraightThrough,
    grad_scale,
)
from mpnas.quant.granularity import Granularity, PerChannel, PerTensor, Subgroup
from mpnas.quant.qtensor import QTensor, decode
from mpnas.quant.quantizer import Quantizer
from mpnas.quant.scale import (
    MSE,
    PACT,
    DoReFa,
    Entropy,
    LearnedRange,
    LearnedStep,
    MinMax,
    MovingAverage,
    Octav,
    Percentile,
    Range,
    ScaleEstimator,
)

__all__ = [
    "EWGS",
    "MSE",
    "PACT",
    "Clipped",
    "DoReFa",
    "Entropy",
    "FloatFormat",
    "Format",
    "Gradient",
    "Granularity",
    "IntFormat",
    "InverseTanh",
    "LearnedRange",
    "LearnedStep",
    "MagnitudeAware",
    "MinMax",
    "MovingAverage",
    "Octav",
    "PerChannel",
    "PerTensor",
    "Percentile",
    "Pruned",
    "QTensor",
    "Quantizer",
    "Range",
    "ScaleEstimator",
    "StraightThrough",
    "Subgroup",
    "decode",
    "fake_quantize",
    "format_of",
    "grad_scale",
]
