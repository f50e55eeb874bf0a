"""What rounding and clipping pretend their derivatives are: one interface, five members."""

from mpnas.quant.gradient.base import BOUND_SLACK, Gradient, grad_scale
from mpnas.quant.gradient.clipping import Clipped, MagnitudeAware, StraightThrough
from mpnas.quant.gradient.scaled import EWGS, InverseTanh

__all__ = [
    "BOUND_SLACK",
    "EWGS",
    "Clipped",
    "Gradient",
    "InverseTanh",
    "MagnitudeAware",
    "StraightThrough",
    "grad_scale",
]
