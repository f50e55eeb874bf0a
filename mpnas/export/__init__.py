"""What ships: a network as integers, executed as such, and in the formats of other people's runtimes."""

from mpnas.export.float_ops import float_ops
from mpnas.export.graph import IntegerGraph, Tensor
from mpnas.export.lower import lower
from mpnas.export.ops import (
    ROUNDINGS,
    Add,
    Concat,
    Contraction,
    Dequantise,
    Op,
    Pool,
    Quantise,
    Requantise,
    Reshape,
    Rounding,
)

__all__ = [
    "ROUNDINGS",
    "Add",
    "Concat",
    "Contraction",
    "Dequantise",
    "IntegerGraph",
    "Op",
    "Pool",
    "Quantise",
    "Requantise",
    "Reshape",
    "Rounding",
    "Tensor",
    "float_ops",
    "lower",
]
