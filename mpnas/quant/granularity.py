"""Granularity: which elements of a tensor share one value, be it a scale or a decision.

A granularity cuts a tensor into groups: the whole tensor, each channel, or runs of consecutive
channels. It is independent of any one tensor; every method takes the shape it is applied to.
"""

import dataclasses
import math
from collections.abc import Callable

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from mpnas.errors import ConfigError

# jnp.max, jnp.min, jnp.sum, jnp.mean or alike: called as fn(x, axis=...), dropping those axes.
Reduction = Callable[..., Array]


@dataclasses.dataclass(frozen=True)
class PerTensor:
    """All elements share: one group."""

    def groups(self, shape: tuple[int, ...]) -> int:
        """Number of groups in a tensor of this shape: always 1."""
        return 1

    def group_sizes(self, shape: tuple[int, ...]) -> Int[np.ndarray, "groups"]:
        """Number of elements in each group."""
        return np.array([math.prod(shape)])

    def reduce(self, x: Float[Array, "..."], fn: Reduction) -> Float[Array, "groups"]:
        """`fn` (`jnp.max`, `jnp.mean`, ...) over the elements of each group."""
        return fn(x, axis=tuple(range(x.ndim))).reshape(1)

    def expand(
        self, values: Float[Array, "groups"], shape: tuple[int, ...]
    ) -> Float[Array, "..."]:
        """One value per group, with the rank of `shape`; size 1 along every axis.

        Raises:
          ValueError: `values` does not have exactly one entry per group.
        """
        _check_one_per_group(values, 1, shape)
        return values.reshape((1,) * len(shape))

    def index(self, channels: int) -> Int[np.ndarray, "channels"]:
        """Group that each channel belongs to: all 0."""
        return np.zeros(channels, dtype=int)


@dataclasses.dataclass(frozen=True)
class PerChannel:
    """The elements of a channel share: one group per entry of `axis`.

    Attributes:
      axis: Channel axis; negative counts from the end.
    """

    axis: int = -1

    def groups(self, shape: tuple[int, ...]) -> int:
        """Number of groups in a tensor of this shape: its number of channels."""
        return shape[_channel_axis(shape, self.axis)]

    def group_sizes(self, shape: tuple[int, ...]) -> Int[np.ndarray, "groups"]:
        """Number of elements in each group."""
        axis = _channel_axis(shape, self.axis)
        return np.full(shape[axis], math.prod(shape[:axis] + shape[axis + 1:]))

    def reduce(self, x: Float[Array, "..."], fn: Reduction) -> Float[Array, "groups"]:
        """`fn` (`jnp.max`, `jnp.mean`, ...) over the elements of each group."""
        kept = _channel_axis(x.shape, self.axis)
        return fn(x, axis=tuple(axis for axis in range(x.ndim) if axis != kept))

    def expand(
        self, values: Float[Array, "groups"], shape: tuple[int, ...]
    ) -> Float[Array, "..."]:
        """One value per channel along `axis`, with the rank of `shape`; size 1 elsewhere.

        Raises:
          ValueError: `values` does not have exactly one entry per group.
        """
        _check_one_per_group(values, self.groups(shape), shape)
        return _along(values, shape, self.axis)

    def index(self, channels: int) -> Int[np.ndarray, "channels"]:
        """Group that each channel belongs to: its own."""
        return np.arange(channels)


@dataclasses.dataclass(frozen=True)
class Subgroup:
    """Runs of `size` consecutive channels share; the last run is shorter if they do not divide.

    Attributes:
      size: Channels in a group; at least 1.
      axis: Channel axis; negative counts from the end.

    Raises:
      ConfigError: `size` is below 1.

    >>> Subgroup(4).index(10).tolist()
    [0, 0, 0, 0, 1, 1, 1, 1, 2, 2]
    """

    size: int
    axis: int = -1

    def __post_init__(self) -> None:
        if self.size < 1:
            raise ConfigError(f"a subgroup needs at least 1 channel, got size {self.size}.")

    def groups(self, shape: tuple[int, ...]) -> int:
        """Number of groups in a tensor of this shape: channels / size, rounded up."""
        return -(-shape[_channel_axis(shape, self.axis)] // self.size)

    def group_sizes(self, shape: tuple[int, ...]) -> Int[np.ndarray, "groups"]:
        """Number of elements in each group."""
        axis = _channel_axis(shape, self.axis)
        channels_per_group = np.bincount(self.index(shape[axis]), minlength=self.groups(shape))
        return channels_per_group * math.prod(shape[:axis] + shape[axis + 1:])

    def reduce(self, x: Float[Array, "..."], fn: Reduction) -> Float[Array, "groups"]:
        """`fn` (`jnp.max`, `jnp.mean`, ...) over the elements of each group."""
        by_channel = jnp.moveaxis(x, _channel_axis(x.shape, self.axis), 0)
        channels = by_channel.shape[0]
        # The short last group is reduced apart: padding it would change a mean.
        in_full_groups = channels - channels % self.size
        parts = []
        if in_full_groups:
            full_groups = in_full_groups // self.size
            parts.append(fn(by_channel[:in_full_groups].reshape(full_groups, -1), axis=1))
        if in_full_groups < channels:
            parts.append(fn(by_channel[in_full_groups:].reshape(1, -1), axis=1))
        return jnp.concatenate(parts)

    def expand(
        self, values: Float[Array, "groups"], shape: tuple[int, ...]
    ) -> Float[Array, "..."]:
        """The value of each channel's group along `axis`, rank of `shape`; size 1 elsewhere.

        Raises:
          ValueError: `values` does not have exactly one entry per group.
        """
        _check_one_per_group(values, self.groups(shape), shape)
        channels = shape[_channel_axis(shape, self.axis)]
        return _along(values[self.index(channels)], shape, self.axis)

    def index(self, channels: int) -> Int[np.ndarray, "channels"]:
        """Group that each channel belongs to."""
        return np.arange(channels) // self.size


Granularity = PerTensor | PerChannel | Subgroup


def _channel_axis(shape: tuple[int, ...], axis: int) -> int:
    """`axis` counted from the front."""
    if not -len(shape) <= axis < len(shape):
        raise ValueError(
            f"shape {tuple(shape)} has no channel axis {axis}. "
            "Name an axis of the tensor, or share with PerTensor()."
        )
    return axis % len(shape)


def _along(values: Float[Array, "channels"], shape: tuple[int, ...], axis: int) -> Array:
    """`values` along `axis` of a tensor with the rank of `shape`, size 1 elsewhere."""
    front = _channel_axis(shape, axis)
    return values.reshape((1,) * front + values.shape + (1,) * (len(shape) - front - 1))


def _check_one_per_group(values: Array, groups: int, shape: tuple[int, ...]) -> None:
    if values.shape != (groups,):
        raise ValueError(
            f"a tensor of shape {tuple(shape)} has {groups} groups, but the values to expand have "
            f"shape {values.shape}. Give one value per group: shape ({groups},)."
        )
