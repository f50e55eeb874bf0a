"""Lanes: which channel each entry of an array axis is, over the channel groups of a network.

Most axes are one whole group in order. A concatenation is several, a flattened image repeats each
channel once per position, and the heads of an attention share one row. Whatever is known per channel
(whether it exists) is laid along an axis by its lanes.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

import numpy as np


@dataclasses.dataclass(frozen=True)
class Lanes:
    """The channels of one axis, in the order of its entries.

    Attributes:
      runs: `(group, channel of each entry)`, one after another.
    """

    runs: tuple[tuple[str, tuple[int, ...]], ...]

    @classmethod
    def of(cls, group: str, size: int) -> "Lanes":
        """All channels of one group, in order."""
        return cls(((group, tuple(range(size))),))

    @classmethod
    def from_entries(cls, entries: Sequence[tuple[str, int]]) -> "Lanes":
        """From one `(group, channel)` per entry."""
        runs: list[tuple[str, list[int]]] = []
        for group, channel in entries:
            if not runs or runs[-1][0] != group:
                runs.append((group, []))
            runs[-1][1].append(channel)
        return cls(tuple((group, tuple(channels)) for group, channels in runs))

    @cached_property
    def groups(self) -> tuple[str, ...]:
        """The groups that it touches, each once, in order."""
        return tuple(dict.fromkeys(group for group, _ in self.runs))

    @cached_property
    def size(self) -> int:
        """Number of entries."""
        return sum(len(channels) for _, channels in self.runs)

    def is_whole(self, sizes: Mapping[str, int]) -> bool:
        """Whether this is one whole group, each channel once and in order; `sizes` by group."""
        return len(self.runs) == 1 and self.runs[0][1] == tuple(range(sizes[self.runs[0][0]]))

    def along(self, values: Mapping[str, Any]) -> Any:
        """Per entry what `values` says of its channel.

        Args:
          values: Group -> `(channels,)`, numpy or jax.

        Returns:
          `(size,)`, of the same kind.
        """
        parts = []
        for group, channels in self.runs:
            value = values[group]
            whole = len(channels) == value.shape[0] and channels == tuple(range(len(channels)))
            parts.append(value if whole else value[np.asarray(channels)])
        if len(parts) == 1:
            return parts[0]
        return parts[0].__array_namespace__().concatenate(parts)
