"""Affine values: what lowering knows of a float in the program while it is not yet an integer.

Between two quantizers a network computes clipped affine functions of integers: a normalisation scales
and shifts an accumulator per channel, an activation clips it. `Value` keeps that function exactly, in
float64, so that it becomes one requantisation in the end.
"""

import dataclasses

import numpy as np

from mpnas.export.interval import Bounds


@dataclasses.dataclass(frozen=True, eq=False)
class Value:
    """`clip(scale * q + bias, low, high)` of an integer tensor q, viewed in another shape.

    Attributes:
      tensor: Name of q; the input's name while nothing is quantised yet.
      scale, bias, low, high: float64 `(channels of q,)`; scales may be negative or 0.
      shape: Of one sample, after the view; the numbers keep their row-major order.
      channels: Length of the last axis of q.
    """

    tensor: str
    scale: np.ndarray
    bias: np.ndarray
    low: np.ndarray
    high: np.ndarray
    shape: tuple[int, ...]

    @property
    def channels(self) -> int:
        """Length of the last axis of the tensor."""
        return len(self.scale)

    @property
    def is_plain(self) -> bool:
        """Whether it is the scale times q, neither shifted nor clipped."""
        return not (np.any(self.bias) or np.any(np.isfinite(self.low)) or np.any(np.isfinite(self.high)))

    def times(self, factor: np.ndarray) -> "Value":
        """The product with one factor per channel."""
        ends = [_times_bound(end, factor) for end in (self.low, self.high)]
        low, high = np.where(factor < 0, ends[1], ends[0]), np.where(factor < 0, ends[0], ends[1])
        return dataclasses.replace(
            self, scale=self.scale * factor, bias=self.bias * factor, low=low, high=high
        )

    def plus(self, term: np.ndarray) -> "Value":
        """The sum with one term per channel."""
        return dataclasses.replace(
            self, bias=self.bias + term, low=self.low + term, high=self.high + term
        )

    def at_least(self, bound: np.ndarray) -> "Value":
        """The larger of the value and a bound per channel."""
        low, high = np.maximum(self.low, bound), np.maximum(self.high, bound)
        return dataclasses.replace(self, low=low, high=high)

    def at_most(self, bound: np.ndarray) -> "Value":
        """The smaller of the value and a bound per channel."""
        low, high = np.minimum(self.low, bound), np.minimum(self.high, bound)
        return dataclasses.replace(self, low=low, high=high)

    def viewed(self, shape: tuple[int, ...]) -> "Value":
        """The same numbers in another shape."""
        return dataclasses.replace(self, shape=shape)

    def interval(self, bounds: Bounds) -> tuple[np.ndarray, np.ndarray]:
        """Smallest and largest real per channel, from those of the integers."""
        ends = np.stack([self.scale * end.astype(np.float64) + self.bias for end in bounds])
        ends = np.clip(ends, self.low, self.high)
        return ends.min(axis=0), ends.max(axis=0)


def plain(tensor: str, scale: np.ndarray, shape: tuple[int, ...]) -> Value:
    """The value `scale * q` of a tensor with this shape."""
    channels = shape[-1] if shape else 1
    every = np.broadcast_to(np.asarray(scale, np.float64), (channels,)).copy()
    zeros, endless = np.zeros(channels), np.full(channels, np.inf)
    return Value(tensor, every, zeros, -endless, endless, shape)


def _times_bound(bound: np.ndarray, factor: np.ndarray) -> np.ndarray:
    """The product, with 0 for a bound at infinity times 0."""
    return np.where(factor == 0, 0.0, np.where(factor == 0, 1.0, factor) * bound)
