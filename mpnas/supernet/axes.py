"""Axes that must have the same channels: a union-find over every array axis of a program.

Two axes are joined when the program lines them up (an addition, a contraction); an axis is frozen
when a channel of it cannot be removed, with the reason in words. What was joined first is the
network's structure; which layers write an axis tells who is tied to whom.
"""

from collections.abc import Iterable


class Axis:
    """One axis of one array; compare groups by `root`, never by identity."""

    __slots__ = ("size", "_parent", "_frozen", "_writers", "_reasons")

    def __init__(self, size: int) -> None:
        self.size = size
        self._parent: Axis = self
        self._frozen: str | None = None
        self._writers: list[str] = []
        self._reasons: list[str] = []

    @property
    def root(self) -> "Axis":
        """The representative of all axes joined with this one."""
        axis = self
        while axis._parent is not axis:
            axis._parent = axis._parent._parent
            axis = axis._parent
        return axis

    @property
    def frozen(self) -> str | None:
        """Why no channel of this axis can be removed, or None."""
        return self.root._frozen

    @property
    def writers(self) -> tuple[str, ...]:
        """Layers whose outputs have this axis, in program order."""
        return tuple(self.root._writers)

    @property
    def reasons(self) -> tuple[str, ...]:
        """What joined layers that were apart before, in words."""
        return tuple(dict.fromkeys(self.root._reasons))

    def freeze(self, reason: str) -> None:
        """No channel can be removed from here on; the first reason stays."""
        self.root._frozen = self.root._frozen or reason

    def written_by(self, layer: str) -> None:
        """Note that `layer` writes this axis."""
        if layer not in self.root._writers:
            self.root._writers.append(layer)

    def join(self, other: "Axis", reason: str) -> None:
        """Line the two axes up. Axes of different sizes are not joined but both frozen."""
        mine, theirs = self.root, other.root
        if mine is theirs:
            return
        if mine.size != theirs.size:
            for axis in (mine, theirs):
                axis.freeze(f"lined up with an axis of another size, {reason}")
            return
        if mine._writers and theirs._writers:
            mine._reasons.append(reason)
        theirs._parent = mine
        mine._frozen = mine._frozen or theirs._frozen
        mine._writers = list(dict.fromkeys([*mine._writers, *theirs._writers]))
        mine._reasons += theirs._reasons


def fresh(shape: Iterable[int]) -> tuple[Axis, ...]:
    """New axes, joined with nothing, for an array of this shape."""
    return tuple(Axis(size) for size in shape)


def join_all(left: Iterable[Axis], right: Iterable[Axis], reason: str) -> None:
    """Join two equally long rows of axes, one by one."""
    for one, other in zip(left, right, strict=True):
        one.join(other, reason)


def freeze_all(axes: Iterable[Axis], reason: str) -> None:
    """Freeze every axis of a row."""
    for axis in axes:
        axis.freeze(reason)


def reshaped(axes: tuple[Axis, ...], shape: tuple[int, ...], reason: str) -> tuple[Axis, ...]:
    """Axes of a reshaped array: kept where sizes pass through, frozen where they merge or split."""
    before = [axis.size for axis in axes]
    if 0 in before:
        freeze_all(axes, reason)
        return fresh(shape)
    result: list[Axis] = []
    i = j = 0
    while i < len(before) or j < len(shape):
        if i < len(before) and j < len(shape) and before[i] == shape[j]:
            result.append(axes[i])
            i, j = i + 1, j + 1
        elif i < len(before) and before[i] == 1:
            i += 1
        elif j < len(shape) and shape[j] == 1:
            result.append(Axis(1))
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
            freeze_all(axes[first_i:i], reason)
            merged = fresh(shape[first_j:j])
            freeze_all(merged, reason)
            result += merged
    return tuple(result)
