"""Latency of a device by its roofline: every layer waits for its arithmetic or for its memory."""

import dataclasses
import functools
import math
from collections.abc import Mapping
from typing import Any, ClassVar, Literal

import numpy as np

from mpnas.cost.base import NO_OVERHEAD, priced_macs, priced_products
from mpnas.cost.traffic import activation_traffic, weight_traffic
from mpnas.errors import ConfigError
from mpnas.space import Space, Usage


@dataclasses.dataclass(frozen=True, kw_only=True)
class Roofline:
    """Seconds per sample: `sum_layers max(MACs / peak(b_a, b_w), bytes / bandwidth)`.

    Arithmetic packs narrow operands into wide registers: `peak(b_a, b_w) = peak * 8 / max(b_a, b_w)`,
    no faster than at `narrowest` bits. Bytes are those of the weights, and of the input, written and
    read. A product of activations counts its arithmetic alone.

    The exact repair sees both terms of every layer: a row of two terms is a variable that is at least
    each of them.

    Source: Williams et al., Roofline, CACM 52(4), 2009, https://doi.org/10.1145/1498765.1498785.

    Attributes:
      peak: Multiply-accumulates per second of 8 by 8 bits; > 0.
      bandwidth: Bytes per second; > 0.
      narrowest: Width below which operands are no faster; in [1, 32].

    Raises:
      ConfigError: a number out of its range.
    """

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    name: ClassVar[str] = "roofline"
    unit: ClassVar[str] = "second"
    combine: ClassVar[Literal["sum", "max"]] = "sum"

    peak: float
    bandwidth: float
    narrowest: int = 8

    def __post_init__(self) -> None:
        if not (0 < self.peak < math.inf and 0 < self.bandwidth < math.inf and 1 <= self.narrowest <= 32):
            raise ConfigError(
                "a roofline needs peak > 0 and bandwidth > 0, both finite, and narrowest from 1 to 32, got "
                f"{self.peak}, {self.bandwidth} and {self.narrowest}."
            )

    @property
    def counts(self) -> Mapping[str, bool]:
        return {
            **NO_OVERHEAD,
            "elementwise": False,
            "activation_products": True,
            "activation_products_traffic": False,
            "repeated_calls_reads": False,
            "caches": False,
        }

    def rows(self, space: Space, use: Usage) -> list[Any]:
        rows: list[Any] = list(priced_products(space, use, self._seconds_per_mac))
        for layer in space.work.layers:
            moved = weight_traffic(use, layer) + activation_traffic(space, use, layer)
            arithmetic = priced_macs(space, use, layer, self._seconds_per_mac)
            rows.append((arithmetic, moved / (8 * self.bandwidth)))
        return rows

    def _seconds_per_mac(self, acts: Any, weights: Any, _: str) -> np.ndarray:
        widest = functools.reduce(np.maximum, (acts, weights, np.float64(self.narrowest)))
        return widest / (8 * self.peak)
