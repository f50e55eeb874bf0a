"""Energy of operations and of memory at 45 nm."""

import dataclasses
import math
from collections.abc import Mapping
from typing import Any, ClassVar, Literal, get_args

import numpy as np

from mpnas.cost.base import NO_OVERHEAD, priced_macs, priced_products
from mpnas.cost.traffic import activation_traffic, weight_traffic
from mpnas.errors import ConfigError, nearest
from mpnas.quant.format import FLOAT_BITS
from mpnas.space import Space, Usage

# Horowitz, ISSCC 2014, 45 nm at 0.9 V, in picojoule.
MULTIPLY_INT8, MULTIPLY_INT32, MULTIPLY_FLOAT32 = 0.2, 3.1, 3.7
ADD_INT8, ADD_INT32, ADD_FLOAT32 = 0.03, 0.1, 0.9
READ_32_BITS = {"sram": 5.0, "dram": 640.0}  # SRAM of 8 KB
PICO = 1e-12

Level = Literal["sram", "dram"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Energy45nm:
    """Joule per sample: multiplications, additions, and bits moved to and from memory.

    Between the widths that were measured a multiplication of b_a by b_w bits is taken to cost
    `0.2 pJ * (b_a b_w / 64)^0.989`, the power that also meets int32, and an addition of b bits lies on
    the line through int8 and int32. A float operand makes both float32. Every weight is read once per
    sample from `weights`; every activation that a layer reads is written and read in `activations`.

    Source: Horowitz, ISSCC 2014, https://doi.org/10.1109/ISSCC.2014.6757323, figure 1.1.9; the laws in
    between are assumptions.

    Attributes:
      weights, activations: Where they are kept: `sram` (8 KB blocks) or `dram`.
      accumulator_bits: Width of the additions of integers; in [8, 32].

    Raises:
      ConfigError: another level, or an accumulator out of its range.
    """

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    name: ClassVar[str] = "energy_45nm"
    unit: ClassVar[str] = "joule"
    combine: ClassVar[Literal["sum", "max"]] = "sum"

    weights: Level = "dram"
    activations: Level = "sram"
    accumulator_bits: int = 32

    def __post_init__(self) -> None:
        for key in ("weights", "activations"):
            if (level := getattr(self, key)) not in get_args(Level):
                raise ConfigError(
                    f"{key} are in no memory '{level}'; nearest: {nearest(level, get_args(Level))}."
                )
        if not 8 <= self.accumulator_bits <= 32:
            raise ConfigError(
                f"energy_45nm needs accumulator_bits from 8 to 32, got {self.accumulator_bits}."
            )

    @property
    def counts(self) -> Mapping[str, bool]:
        return {
            **NO_OVERHEAD,
            "multiplications": True,
            "additions": True,
            "weight_reads": True,
            "activation_reads": True,
            "activation_writes": True,
            "repeated_calls_reads": False,
            "activation_products": True,
            "activation_products_traffic": False,
            "elementwise": False,
            "control": False,
        }

    def rows(self, space: Space, use: Usage) -> list[Any]:
        weight_bit = PICO * READ_32_BITS[self.weights] / 32
        act_bit = PICO * READ_32_BITS[self.activations] / 32
        rows = priced_products(space, use, self._per_mac)
        for layer in space.work.layers:
            moved = weight_bit * weight_traffic(use, layer) + act_bit * activation_traffic(space, use, layer)
            rows.append(priced_macs(space, use, layer, self._per_mac) + moved)
        return rows

    def _per_mac(self, acts: Any, weights: Any, _: str) -> np.ndarray:
        integer = multiply_picojoule(acts * weights) + add_picojoule(self.accumulator_bits)
        floats = (acts == FLOAT_BITS) | (weights == FLOAT_BITS)
        return PICO * np.where(floats, MULTIPLY_FLOAT32 + ADD_FLOAT32, integer)


def multiply_picojoule(product_bits: Any) -> Any:
    """Energy of an integer multiplication whose operands' widths have this product; a power law."""
    power = math.log(MULTIPLY_INT32 / MULTIPLY_INT8) / math.log(32**2 / 8**2)
    return MULTIPLY_INT8 * (product_bits / 8**2) ** power


def add_picojoule(bits: float) -> float:
    """Energy of an integer addition; linear in its width."""
    return ADD_INT8 + (ADD_INT32 - ADD_INT8) * (bits - 8) / (32 - 8)
