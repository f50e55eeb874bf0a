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
    Multiply,
    Op,
    Pool,
    Quantise,
    Requantise,
    Reshape,
    Rounding,
    Table,
)

__all__ = [
    "ROUNDINGS",
    "Add",
    "Concat",
    "Contraction",
    "Dequantise",
    "IntegerGraph",
    "Multiply",
    "Op",
    "Pool",
    "Quantise",
    "Requantise",
    "Reshape",
    "Rounding",
    "Table",
    "Tensor",
    "float_ops",
    "lower",
]
