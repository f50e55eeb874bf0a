"""Bit operations: multiply-accumulates times the widths of both operands."""

import dataclasses
from collections.abc import Mapping
from typing import Any, Literal

from mpnas.cost.base import NO_OVERHEAD, alive_pairs
from mpnas.space import Space, Usage


@dataclasses.dataclass(frozen=True)
class Bops:
    """`sum_layers MACs * weight bits * activation bits`, per sample and per output channel.

    Float operands count as 32 bits. Of a product of activations both operands count at their bits.

    Source: the simple form used by Baskin et al., UNIQ, 2018, https://arxiv.org/abs/1804.10969,
    without the accumulator term.
    """

    name: str = "bops"
    unit: str = "bitop"
    combine: Literal["sum", "max"] = "sum"

    @property
    def counts(self) -> Mapping[str, bool]:
        return {**NO_OVERHEAD, **{"accumulator": False, "elementwise": False, "activation_products": True}}

    def rows(self, space: Space, use: Usage) -> list[Any]:
        rows: list[Any] = []
        for product in space.work.products:
            left, right = use.product_bits[product.path]
            rows.append(product.macs * (left * right))
        for layer in space.work.layers:
            _, pairs = alive_pairs(use, layer)
            per_pair = layer.macs / (layer.out_channels * layer.in_channels)
            bits = use.weight_bits[layer.path].sum() * use.act_bits[layer.path]
            rows.append(per_pair * (bits * pairs))
        return rows
