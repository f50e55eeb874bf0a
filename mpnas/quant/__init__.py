"""Numbers: formats, who shares a scale, where scales come from, and codes that decode exactly.

Floor 0: arrays in, arrays out; nothing here knows of networks or searches.
"""

from mpnas.quant.format import FloatFormat, Format, IntFormat, Pruned, format_of
from mpnas.quant.gradient import RoundFn, StraightThrough, grad_scale
from mpnas.quant.granularity import Granularity, PerChannel, PerTensor, Subgroup
from mpnas.quant.qtensor import QTensor, decode
from mpnas.quant.quantizer import Quantizer, fake_quantize
from mpnas.quant.scale import LearnedStep, MinMax, MovingAverage, Range, ScaleEstimator

__all__ = [
    "FloatFormat",
    "Format",
    "Granularity",
    "IntFormat",
    "LearnedStep",
    "MinMax",
    "MovingAverage",
    "PerChannel",
    "PerTensor",
    "Pruned",
    "QTensor",
    "Quantizer",
    "Range",
    "RoundFn",
    "ScaleEstimator",
    "StraightThrough",
    "Subgroup",
    "decode",
    "fake_quantize",
    "format_of",
    "grad_scale",
]
