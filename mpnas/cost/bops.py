"""Bit operations: multiply-accumulates times the widths of both operands."""

import dataclasses
from collections.abc import Mapping
from typing import Any, ClassVar, Literal

import numpy as np

from mpnas.cost.base import NO_OVERHEAD, alive_pairs, priced_macs, priced_products
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


@dataclasses.dataclass(frozen=True)
class BopsBaskin:
    """`sum_layers MACs * (b_w b_a + b_w + b_a + log2(n k^2))`: multiplier and accumulator, per sample.

    An accumulator of n k^2 products of b_w times b_a bits has `b_w + b_a + log2(n k^2)` bits; n are the
    input channels that exist, so their logarithm is constant where the repair holds them fixed, and the
    repair treats the cost exactly. Float operands count as 32 bits. How long the sums of a product of
    activations are is not recorded; their logarithm is left out.

    Source: Baskin et al., UNIQ, 2018, https://arxiv.org/abs/1804.10969, complexity metric.
    """

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    name: ClassVar[str] = "bops_baskin"
    unit: ClassVar[str] = "bitop"
    combine: ClassVar[Literal["sum", "max"]] = "sum"

    @property
    def counts(self) -> Mapping[str, bool]:
        return {**NO_OVERHEAD, **{"accumulator": True, "elementwise": False, "activation_products": True}}

    def rows(self, space: Space, use: Usage) -> list[Any]:
        rows = priced_products(space, use, _operand_bits)
        for layer in space.work.layers:
            _, pairs = alive_pairs(use, layer)
            area = layer.parameters / (layer.out_channels * layer.in_channels)
            terms = area * pairs
            xp = terms.__array_namespace__() if hasattr(terms, "__array_namespace__") else np
            # Never the logarithm of 0: a mixture may have next to no input channel for a moment.
            growth = xp.log2(xp.maximum(terms, 1.0))
            work = priced_macs(space, use, layer, _operand_bits)
            rows.append(work + growth * priced_macs(space, use, layer, _once))
        return rows


def _operand_bits(acts: Any, weights: Any, _: str) -> np.ndarray:
    return acts * weights + acts + weights


def _once(acts: Any, weights: Any, _: str) -> np.ndarray:
    return np.ones(np.broadcast_shapes(acts.shape, weights.shape))
