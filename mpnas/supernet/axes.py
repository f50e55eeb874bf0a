"""Channels that must agree: a union-find over every entry of every array axis of a program.

An axis is a row of channels. Two axes are joined entry by entry when the program lines them up (an
addition, a contraction); a concatenation is a longer row of the same channels, a flattened image
repeats each of them, and the heads of an attention or the groups of a convolution share one row. A
channel is frozen when it cannot be removed, with the reason in words. Which layers write a channel
tells who is tied to whom.
"""

from collections.abc import Iterable, Sequence

import numpy as np

NEVER = np.iinfo(np.int32).max  # the reason's number of a channel that is not frozen


class Channels:
    """All channels of one program; numbered in the order in which they come up."""

    def __init__(self) -> None:
        self._parent = np.zeros(0, np.int64)
        self._frozen = np.zeros(0, np.int32)
        self._written = np.zeros(0, bool)
        self._why: list[str] = []
        self._writers: list[tuple[str, np.ndarray]] = []
        self._joins: list[tuple[str, np.ndarray]] = []

    def axis(self, size: int) -> "Axis":
        """A row of new channels, joined with nothing."""
        first = len(self._parent)
        self._parent = np.concatenate([self._parent, np.arange(first, first + size)])
        self._frozen = np.concatenate([self._frozen, np.full(size, NEVER, np.int32)])
        self._written = np.concatenate([self._written, np.zeros(size, bool)])
        return Axis(self, np.arange(first, first + size))

    def fresh(self, shape: Iterable[int]) -> tuple["Axis", ...]:
        """New axes for an array of this shape."""
        return tuple(self.axis(size) for size in shape)

    def roots(self, ids: np.ndarray) -> np.ndarray:
        """The representative of each channel: the first of all that are joined with it."""
        found = self._parent[ids]
        while np.any((above := self._parent[found]) != found):
            found = above
        self._parent[ids] = found
        return found

    def join(self, left: np.ndarray, right: np.ndarray, reason: str) -> None:
        """Make two equally long rows one, entry by entry."""
        while np.any(apart := (one := self.roots(left)) != (other := self.roots(right))):
            one, other = one[apart], other[apart]
            if np.any(both := self._written[one] & self._written[other]):
                self._joins.append((reason, one[both]))
            # Always to the lower number: a simultaneous assignment then makes no circle. Of a channel
            # that is joined twice at once one link is kept; the next turn finds the rest.
            low, high = np.minimum(one, other), np.maximum(one, other)
            self._parent[high] = low
            kept = self._parent[high] == low
            low, high = low[kept], high[kept]
            np.minimum.at(self._frozen, low, self._frozen[high])
            np.logical_or.at(self._written, low, self._written[high])

    def freeze(self, ids: np.ndarray, reason: str) -> None:
        """None of these can be removed from here on; the first reason stays."""
        self._why.append(reason)
        roots = self.roots(ids)
        self._frozen[roots] = np.minimum(self._frozen[roots], len(self._why) - 1)

    def write(self, ids: np.ndarray, layer: str) -> None:
        """Note that `layer` writes these channels."""
        self._writers.append((layer, ids))
        self._written[self.roots(ids)] = True

    def written(self, ids: np.ndarray) -> bool:
        """Whether a layer writes any of them."""
        return bool(np.any(self._written[self.roots(ids)]))

    def frozen(self, ids: np.ndarray) -> list[str | None]:
        """For each channel why it cannot be removed, or None."""
        return [None if code == NEVER else self._why[code] for code in self._frozen[self.roots(ids)]]

    def writers(self) -> dict[int, tuple[str, ...]]:
        """Representative -> the layers that write it, in program order."""
        return self._by_root(self._writers)

    def reasons(self) -> dict[int, tuple[str, ...]]:
        """Representative -> what joined layers that were apart before, in words."""
        return self._by_root(self._joins)

    def _by_root(self, notes: Sequence[tuple[str, np.ndarray]]) -> dict[int, tuple[str, ...]]:
        found: dict[int, dict[str, None]] = {}
        for word, ids in notes:
            for root in self.roots(ids).tolist():
                found.setdefault(root, {})[word] = None
        return {root: tuple(words) for root, words in found.items()}


class Axis:
    """One axis of one array: for each entry, which channel it is."""

    __slots__ = ("channels", "ids")

    def __init__(self, channels: Channels, ids: np.ndarray) -> None:
        self.channels = channels
        self.ids = ids

    @property
    def size(self) -> int:
        """Number of entries."""
        return len(self.ids)

    @property
    def roots(self) -> np.ndarray:
        """Representative of each entry's channel, `(size,)`."""
        return self.channels.roots(self.ids)

    @property
    def written(self) -> bool:
        """Whether a layer writes any of its channels."""
        return self.channels.written(self.ids)

    @property
    def frozen(self) -> str | None:
        """Why some channel of it cannot be removed, or None."""
        return next((reason for reason in self.channels.frozen(self.ids) if reason), None)

    def freeze(self, reason: str) -> None:
        """No channel of it can be removed from here on; the first reason stays."""
        self.channels.freeze(self.ids, reason)

    def written_by(self, layer: str) -> None:
        """Note that `layer` writes it."""
        self.channels.write(self.ids, layer)

    def join(self, other: "Axis", reason: str) -> None:
        """Line the two axes up. Axes of different sizes are not joined but both frozen."""
        if self.size == other.size:
            self.channels.join(self.ids, other.ids, reason)
        else:
            for axis in (self, other):
                axis.freeze(f"lined up with an axis of another size, {reason}")

    def tied(self, rows: int, reason: str) -> "Axis":
        """Cut into `rows` equal rows that agree with each other; the first of them."""
        table = self.ids.reshape(rows, -1)
        self.channels.join(np.tile(table[0], rows - 1), table[1:].ravel(), reason)
        return Axis(self.channels, table[0])


def join_all(left: Iterable[Axis], right: Iterable[Axis], reason: str) -> None:
    """Join two equally long rows of axes, one by one."""
    for one, other in zip(left, right, strict=True):
        one.join(other, reason)


def freeze_all(axes: Iterable[Axis], reason: str) -> None:
    """Freeze every axis of a row."""
    for axis in axes:
        axis.freeze(reason)


def reshaped(
    channels: Channels, axes: tuple[Axis, ...], shape: tuple[int, ...], place: str
) -> tuple[Axis, ...]:
    """Axes of a reshaped array: kept where sizes pass through, carried on where they merge or split.

    Where axes merge, the one that a layer writes goes on, each of its channels once per entry of the
    others. Where an axis splits, its innermost factor goes on, and the outer ones (heads, groups) stay
    as many as they are: each of them keeps the same channels.
    """
    reason = f"flattened or split by a reshape{place}"
    before = [axis.size for axis in axes]
    if 0 in before:
        freeze_all(axes, reason)
        return channels.fresh(shape)
    result: list[Axis] = []
    i = j = 0
    while i < len(before) or j < len(shape):
        if i < len(before) and j < len(shape) and before[i] == shape[j]:
            result.append(axes[i])
            i, j = i + 1, j + 1
        elif i < len(before) and before[i] == 1:
            i += 1
        elif j < len(shape) and shape[j] == 1:
            result.append(channels.axis(1))
            j += 1
        else:
            first_i, first_j = i, j
            left, right = before[i], shape[j]
            i, j = i + 1, j + 1
            while left != right:
                if left < right:
                    left, i = left * before[i], i + 1
                else:
                    right, j = right * shape[j], j + 1
            result += _split(_merged(axes[first_i:i], reason), shape[first_j:j], reason, place)
    return tuple(result)


def _merged(axes: tuple[Axis, ...], reason: str) -> Axis:
    """One axis for several: the channels of the only one that is written, repeated; else frozen."""
    if len(axes) == 1:
        return axes[0]
    channels = axes[0].channels
    written = [k for k, axis in enumerate(axes) if axis.written]
    freeze_all((axis for k, axis in enumerate(axes) if written != [k]), reason)
    sizes = [axis.size for axis in axes]
    if len(written) != 1:
        merged = channels.axis(int(np.prod(sizes)))
        merged.freeze(reason)
        return merged
    place = [-1 if k == written[0] else 1 for k in range(len(axes))]
    return Axis(channels, np.broadcast_to(axes[written[0]].ids.reshape(place), sizes).ravel())


def _split(axis: Axis, sizes: tuple[int, ...], reason: str, place: str) -> list[Axis]:
    if len(sizes) == 1:
        return [axis]
    if not axis.written:
        axis.freeze(reason)
    inner = axis.tied(axis.size // sizes[-1], f"split into equal parts by a reshape{place}")
    outer = axis.channels.fresh(sizes[:-1])
    freeze_all(outer, reason)
    return [*outer, inner]
