"""Storage: what the counted section of a packed file keeps of each layer, and in how many bits.

The cost of memory (`mpnas.cost.WeightBytes`) counts it from a space and an assignment; here the same is
said of the arrays of a graph, channel by channel, so that a file can be laid out. A graph without a
space has a width and a scale for every channel.
"""

import dataclasses
from collections.abc import Mapping

import numpy as np
from jaxtyping import Int

from mpnas.cost.memory import BIAS_BITS, SCALE_BITS, WIDTH_BITS, ZERO_POINT_BITS
from mpnas.errors import PackError
from mpnas.export.graph import IntegerGraph
from mpnas.export.ops import Contraction
from mpnas.quant import IntFormat, Quantizer
from mpnas.quant.format import FLOAT_BITS
from mpnas.space import Assignment, Choice, Layer, Space, Usage, usage

WIDTHS = (*range(9), 16, 32)


@dataclasses.dataclass(frozen=True, eq=False)
class Shelf:
    """What is counted of one layer.

    Attributes:
      site: Path of the layer.
      widths: Bits of each decision, 0 where it removes channels, int `(decisions,)`.
      decision: Which decision each channel of the kernel belongs to, int `(out,)`.
      slot: Which scale each channel has, int `(out,)`.
      slots: Number of scales that are counted; more than are used where channels that share a scale
        could have had other widths.
      folded: Whether there is a scale per channel because a normalisation is folded into it.
      shifted: Whether a zero point goes with each scale.
      bias: Whether there is a bias per channel.
    """

    site: str
    widths: Int[np.ndarray, "decisions"]
    decision: Int[np.ndarray, "out"]
    slot: Int[np.ndarray, "out"]
    slots: int
    folded: bool
    shifted: bool
    bias: bool

    def bits(self, per_channel: int) -> int:
        """Bits of the layer, with `per_channel` weights in each channel."""
        scales = self.slots * (SCALE_BITS + ZERO_POINT_BITS * self.shifted)
        biases = BIAS_BITS * len(self.decision) * self.bias
        return WIDTH_BITS * len(self.widths) + scales + biases + per_channel * int(self.channel_bits.sum())

    @property
    def channel_bits(self) -> Int[np.ndarray, "out"]:
        """Width of each channel of the kernel."""
        return self.widths[self.decision]


@dataclasses.dataclass(frozen=True)
class ActShelf:
    """What is counted of the input of one or several layers: its width, its scale, perhaps a zero point.

    Attributes:
      sites: Paths of the layers that read it.
      shifted: Whether a zero point goes with the scale.
    """

    sites: tuple[str, ...]
    shifted: bool

    @property
    def bits(self) -> int:
        """Its length."""
        return WIDTH_BITS + SCALE_BITS + ZERO_POINT_BITS * self.shifted


@dataclasses.dataclass(frozen=True)
class Storage:
    """What is counted of a network.

    Attributes:
      layers: By path, in the order of the file.
      acts: In the order of the file.
      loose: Parameters that fold into no layer, in float32.
    """

    layers: Mapping[str, Shelf]
    acts: tuple[ActShelf, ...]
    loose: int = 0


def storage_of(space: Space, assignment: Assignment) -> Storage:
    """What the cost of memory counts of an assignment.

    Raises:
      SearchSpaceError: the assignment is not one of this space.
      PackError: a layer keeps its weights or its input in float.
    """
    space.check(assignment)
    use = usage(space, space.one_hot(assignment))
    layers = {layer.path: _shelf(space, assignment, use, layer) for layer in space.work.layers}
    readers: dict[str, list[str]] = {}
    for path in layers:
        site = space.act_site.get(path)
        if site is None or FLOAT_BITS in assignment.bits[site]:
            raise _in_float(path, "input")
        readers.setdefault(site, []).append(path)
    acts = tuple(ActShelf(tuple(paths), _shifted(space.choices[site])) for site, paths in readers.items())
    return Storage(layers, acts, space.work.loose_parameters)


def own_storage(graph: IntegerGraph) -> Storage:
    """What is counted of a graph that no space describes: a width and a scale per channel."""
    kernels, layer_of = kernels_of(graph)
    layers = {}
    for path, op in kernels.items():
        shifted, bias = bool(np.any(op.zero_point)), bool(np.any(op.bias))
        each = np.arange(op.out_channels)
        layers[path] = Shelf(
            path, op.bits.astype(np.int64), each, each, len(each), False, shifted, bias
        )
    readers: dict[str, list[str]] = {}
    for op in graph.contractions:
        readers.setdefault(op.input, []).append(layer_of[op.name])
    acts = (ActShelf(tuple(paths), bool(graph.tensors[name].zero_point)) for name, paths in readers.items())
    return Storage(layers, tuple(acts))


def kernels_of(graph: IntegerGraph) -> tuple[dict[str, Contraction], dict[str, str]]:
    """Layer -> the first contraction with its kernel, and contraction -> layer.

    A layer is called by its site; `#2`, `#3`, ... follow where other kernels have the same site.
    """
    kernels: dict[str, Contraction] = {}
    layer_of: dict[str, str] = {}
    for op in graph.contractions:
        number, path = 1, op.site
        while path in kernels and not _same_kernel(kernels[path], op):
            number += 1
            path = f"{op.site}#{number}"
        kernels.setdefault(path, op)
        layer_of[op.name] = path
    return kernels, layer_of


def _same_kernel(one: Contraction, other: Contraction) -> bool:
    return (one.site, one.signed) == (other.site, other.signed) and all(
        np.array_equal(getattr(one, name), getattr(other, name)) for name in ("codes", "bits", "midrise")
    )


def _shelf(space: Space, assignment: Assignment, use: Usage, layer: Layer) -> Shelf:
    site = space.weight_site.get(layer.path)
    if site is None or FLOAT_BITS in assignment.bits[site]:
        raise _in_float(layer.path, "weights")
    choice = space.choices[site]
    alive = np.flatnonzero(layer.writes.along(use.out_alive) > 0)
    widths = np.array(assignment.bits[site], np.int64)
    decision = space.channel_decision[site]
    slots, slot = len(alive), np.arange(len(alive))
    if not layer.multiplier:
        slots, slot = _shared_slots(choice, decision, widths, alive, layer.out_channels)
    return Shelf(
        layer.path, widths, decision[alive], slot, slots, layer.multiplier, _shifted(choice), layer.bias
    )


def _shared_slots(
    choice: Choice, decision: np.ndarray, widths: np.ndarray, alive: np.ndarray, channels: int
) -> tuple[int, np.ndarray]:
    """Number of scales, and which of them each existing channel has: one per group and width in it."""
    candidate = choice.candidates[-1]
    assert isinstance(candidate, Quantizer)
    group = np.asarray(candidate.granularity.index(channels))
    slot, slots = np.zeros(len(alive), np.int64), 0
    for one in np.unique(group[alive]):
        mine = group[alive] == one
        used, which = np.unique(widths[decision[alive[mine]]], return_inverse=True)
        slot[mine] = slots + which
        room = min(len(np.unique(decision[group == one])), len(_integers(choice)))
        assert room >= len(used), "a group has no more widths than decisions, nor than candidates"
        slots += room
    return slots, slot


def _integers(choice: Choice) -> list[IntFormat]:
    formats = (candidate.format for candidate in choice.candidates if isinstance(candidate, Quantizer))
    return [fmt for fmt in formats if isinstance(fmt, IntFormat)]


def _shifted(choice: Choice) -> bool:
    return any(fmt.has_zero_point for fmt in _integers(choice))


def _in_float(path: str, what: str) -> PackError:
    return PackError(
        f"layer '{path}' keeps its {what} in float, and a packed file holds integers. Give it bits from 1 "
        "to 8 or 16 by a rule."
    )


def fitted(storage: Storage, kernels: Mapping[str, Contraction]) -> Storage:
    """The storage with its channels in the order in which the kernels of a graph have them.

    Lowering sorts channels by width, and those of equal width keep their order; so the n-th channel of a
    width is the n-th of the assignment. Where layers share an order that may be another one of the same
    width, which changes no length.

    Raises:
      PackError: another layer, number of channels or width, or a layer with two kernels; names the layer.
    """
    for path, op in kernels.items():
        if path not in storage.layers and op.site in storage.layers:
            raise PackError(
                f"layer '{op.site}' is called more than once, with its kernel in different orders or codes, "
                "so it cannot be stored once, as the memory cost counts it. Keep its channels in one order."
            )
    if odd := sorted(kernels.keys() ^ storage.layers.keys()):
        where = "the graph" if odd[0] in kernels else "the assignment"
        raise PackError(f"layer '{odd[0]}' is in {where} only: the assignment is of another network.")
    layers = {path: _in_order(shelf, kernels[path]) for path, shelf in storage.layers.items()}
    return dataclasses.replace(storage, layers=layers)


def _in_order(shelf: Shelf, op: Contraction) -> Shelf:
    given, wanted = shelf.channel_bits, op.bits
    if sorted(given.tolist()) != sorted(wanted.tolist()):
        raise PackError(
            f"the kernel of layer '{shelf.site}' has {op.out_channels} channels of "
            f"{sorted(set(wanted.tolist()))} bits, the assignment {len(given)} of "
            f"{sorted(set(given.tolist()))}: it is of another network."
        )
    place = np.zeros(len(given), np.int64)
    place[np.argsort(wanted, kind="stable")] = np.argsort(given, kind="stable")
    return dataclasses.replace(shelf, decision=shelf.decision[place], slot=shelf.slot[place])
