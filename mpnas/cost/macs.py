"""Multiply-accumulates per sample, of the channels that exist."""

import dataclasses
from collections.abc import Mapping
from typing import Any, Literal

from mpnas.cost.base import NO_OVERHEAD, alive_pairs
from mpnas.space import Space, Usage


@dataclasses.dataclass(frozen=True)
class Macs:
    """Multiply-accumulates of every convolution and product; elementwise work is not counted.

    A layer with O of its O0 output and I of its I0 input channels left does O/O0 * I/I0 of its work;
    a depthwise one O/O0.
    """

    name: str = "macs"
    unit: str = "mac"
    combine: Literal["sum", "max"] = "sum"

    @property
    def counts(self) -> Mapping[str, bool]:
        return {**NO_OVERHEAD, **{"elementwise": False, "activation_products": True}}

    def rows(self, space: Space, use: Usage) -> list[Any]:
        rows: list[Any] = [float(product.macs) for product in space.work.products]
        for layer in space.work.layers:
            out, pairs = alive_pairs(use, layer)
            rows.append(layer.macs / (layer.out_channels * layer.in_channels) * (out * pairs))
        return rows
