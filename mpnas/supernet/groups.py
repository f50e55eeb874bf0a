"""Channel groups: the channels of a program, sorted by who writes them and whether they must stay.

A group is called after its first writer in program order, else after its first reader. Channels that
the same layers write, and that can or cannot be removed for the same reason, are one group; a layer
whose channels are partly tied to another's therefore writes two.
"""

from collections.abc import Mapping, Sequence

from mpnas.space import ChannelGroup, Lanes, Layer
from mpnas.supernet.axes import Axis
from mpnas.supernet.program import Reader


class Groups:
    """Every channel of a program by group and number.

    Attributes:
      place: Representative of a channel -> `(group, number in it)`.
      frozen: Group -> why its channels must stay, or None.
    """

    def __init__(self, reader: Reader, image: Sequence[Axis]) -> None:
        self.reader = reader
        self.place: dict[int, tuple[str, int]] = {}
        self.frozen: dict[str, str | None] = {}
        self._writers = reader.channels.writers()
        self._images = {root for axis in image for root in axis.roots.tolist()}
        self._sizes: dict[str, int] = {}
        self._freeze_partial_axes()
        names: dict[tuple[object, ...], str] = {}
        for c in reader.contractions:
            for axis in (c.out_axis, c.in_axis) if c.in_axis is None else (c.in_axis, c.out_axis):
                if axis is not None:
                    self._add(axis, reader.layer_of(c.kernel), names)

    def _freeze_partial_axes(self) -> None:
        """An array of which only a part of an axis is channels cannot lose them."""
        contracted = [a for c in self.reader.contractions for a in (c.in_axis, c.out_axis) if a is not None]
        known = {root for axis in contracted for root in axis.roots.tolist()}
        for leaf, axes in self.reader.leaf_axes.items():
            for axis in axes:
                inside = [root in known for root in axis.roots.tolist()]
                if any(inside) and not all(inside):
                    axis.freeze(f"only a part of an axis of '{leaf}'")

    def _add(self, axis: Axis, reader: str, names: dict[tuple[object, ...], str]) -> None:
        frozen = self.reader.channels.frozen(axis.ids)
        for number, root in enumerate(axis.roots.tolist()):
            if root in self.place:
                continue
            writers = self._writers.get(root, ())
            key: tuple[object, ...]
            if writers:
                base, key = f"{writers[0]}/channels", (writers, frozen[number])
            elif root in self._images:
                base, key = "input/channels", ("input", frozen[number])
            else:
                base, key = f"{reader}/input_channels", (axis, frozen[number])
            if key not in names:
                # By ordinal: a network that was made wider has groups of the same names.
                again = sum(name == base or name.startswith(f"{base}@") for name in self._sizes)
                names[key] = f"{base}@{again + 1}" if again else base
                self.frozen[names[key]] = frozen[number]
                self._sizes[names[key]] = 0
            name = names[key]
            self.place[root] = (name, self._sizes[name])
            self._sizes[name] += 1

    def knows(self, axis: Axis) -> bool:
        """Whether all entries of an axis are channels of groups."""
        return all(root in self.place for root in axis.roots.tolist())

    def lanes(self, axis: Axis) -> Lanes:
        """Which channels the entries of an axis are."""
        return Lanes.from_entries([self.place[root] for root in axis.roots.tolist()])

    def leaf_lanes(self, leaf_axes: Mapping[str, Sequence[Axis]]) -> dict[tuple[str, int], Lanes]:
        """`(leaf, axis)` -> its channels, for every array axis that has some."""
        return {
            (leaf, k): self.lanes(axis)
            for leaf, axes in leaf_axes.items()
            for k, axis in enumerate(axes)
            if axis.size and self.knows(axis)
        }

    def described(self, layers: Sequence[Layer]) -> dict[str, ChannelGroup]:
        """Plain data of every group, by name."""
        reasons = self.reader.channels.reasons()
        why: dict[str, dict[str, None]] = {name: {} for name in self._sizes}
        for root, (name, _) in self.place.items():
            why[name] |= dict.fromkeys(reasons.get(root, ()))
        return {
            name: ChannelGroup(
                name=name,
                size=size,
                producers=tuple(layer.path for layer in layers if name in layer.writes.groups),
                consumers=tuple(
                    layer.path for layer in layers if layer.reads is not None and name in layer.reads.groups
                ),
                frozen=self.frozen[name],
                reasons=tuple(why[name]),
            )
            for name, size in self._sizes.items()
        }
