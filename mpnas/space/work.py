"""The work of one network, read off its program: layers, channel groups, live tensors.

Plain data, made by `mpnas.supernet.trace` and read by everybody who needs to know what a network
does without seeing it: the rules attach choices to layers, the costs count, the discretiser slices.
All counts are per sample (batch size 1).
"""

import dataclasses
import math
from collections.abc import Mapping
from functools import cached_property
from typing import Literal

from mpnas.space.lanes import Lanes

LayerKind = Literal["dense", "depthwise", "grouped", "lookup"]


@dataclasses.dataclass(frozen=True)
class Layer:
    """One module that contracts its input with a kernel; a module called twice is one layer.

    Attributes:
      path: Module path, `stack1/conv2`; the leaf's for a parameter that is multiplied with directly.
      kernel: Path of the kernel's leaf, `stack1/conv2/kernel`.
      kernel_shape: Shape of that leaf.
      in_axis: Kernel axis contracted with the input's channels; None for depthwise kernels and lookups.
        In grouped kernels it is shorter than the input's channels: all groups keep the same ones.
      out_axis: Kernel axis that becomes the output's channels.
      kind: `dense` (every input channel meets every output channel), `depthwise` (each channel
        alone), `grouped`, or `lookup` (rows are picked, nothing is multiplied).
      macs: Multiply-accumulates per sample, over all calls.
      reads: Which channels the entries of `in_axis` are; None without that axis.
      writes: Which channels the entries of `out_axis` are.
      tensor: Name of the tensor that its (first) call reads.
      signed: Whether that tensor can hold negative values.
      bias: Whether a vector per output channel is added (its own bias, or a folded normalisation).
      multiplier: Whether its output is multiplied per channel by a folded normalisation.
      module: Class name of its module, for messages.
      obstacle: Why no choice can be attached to it, in words; empty where one can.
      looped: Whether it is called inside a loop of the program.
    """

    path: str
    kernel: str
    kernel_shape: tuple[int, ...]
    in_axis: int | None
    out_axis: int
    kind: LayerKind
    macs: int
    reads: Lanes | None
    writes: Lanes
    tensor: str
    signed: bool
    bias: bool
    multiplier: bool
    module: str = "Conv"
    obstacle: str = ""
    looped: bool = False

    @property
    def hookable(self) -> bool:
        """Whether choices can be attached to it."""
        return not self.obstacle

    @property
    def parameters(self) -> int:
        """Number of weights of the kernel."""
        return math.prod(self.kernel_shape)

    @property
    def out_channels(self) -> int:
        """Length of the kernel's output axis."""
        return self.kernel_shape[self.out_axis]

    @property
    def in_channels(self) -> int:
        """Length of the kernel's input axis; 1 for kernels without one."""
        return 1 if self.in_axis is None else self.kernel_shape[self.in_axis]


@dataclasses.dataclass(frozen=True)
class ChannelGroup:
    """Channels that exist together: outputs of every layer in `producers`.

    Attributes:
      name: `<first producer>/channels` (its further groups with `@2`, `@3`, ...); without producers
        `input/channels` for the model's input, else `<first consumer>/input_channels`.
      size: Number of channels.
      producers: Paths of the layers that write these channels, in program order.
      consumers: Paths of the layers that read them.
      frozen: Why no channel can be removed, in words that follow "they must stay:"; None if they can be.
      reasons: What ties the producers to each other, in words, one entry per operation.
    """

    name: str
    size: int
    producers: tuple[str, ...]
    consumers: tuple[str, ...]
    frozen: str | None = None
    reasons: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True)
class Tensor:
    """One activation that is kept in memory between two operations.

    Attributes:
      name: Names it by its place in the program.
      elements: Numbers that it holds, per sample.
      lanes: Which channels the entries of its channel axis are, if it has one.
      readers: Layers that read it, directly or through elementwise operations only; the width of
        their input quantizer is the width at which it is kept. None: it is kept in float32.
    """

    name: str
    elements: int
    lanes: Lanes | None
    readers: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class Product:
    """A product of two values of which neither is a kernel, such as the two of an attention.

    Attributes:
      path: `encoder/attention/scores`; where nothing can be attached, a place in the program.
      macs: Multiply-accumulates per sample.
      operands: Names of what is multiplied, `("query", "key")`; () where nothing can be attached.
      signed: Whether each operand can be negative.
    """

    path: str
    macs: int
    operands: tuple[str, ...] = ()
    signed: tuple[bool, ...] = ()


@dataclasses.dataclass(frozen=True)
class Work:
    """Everything that a network does for one sample.

    Attributes:
      layers: In program order.
      groups: Channel groups by name.
      tensors: Activations by name.
      timeline: For each moment of the program the names of the tensors alive; moments whose
        tensors are a subset of another moment's are left out.
      products: Contractions without a kernel of their own (two activations, or a kernel that is computed
        from parameters).
      loose_parameters: Numbers in leaves that belong to no layer and fold into none, kept in float32.
      notes: What was found that a reader should know, in sentences.
      axes: `(leaf path, axis)` -> its channels, for every array axis that has channels of a group.
    """

    layers: tuple[Layer, ...]
    groups: Mapping[str, ChannelGroup]
    tensors: Mapping[str, Tensor]
    timeline: tuple[tuple[str, ...], ...]
    products: tuple[Product, ...] = ()
    loose_parameters: int = 0
    notes: tuple[str, ...] = ()
    axes: Mapping[tuple[str, int], Lanes] = dataclasses.field(default_factory=dict)

    @cached_property
    def layer(self) -> Mapping[str, Layer]:
        """Layers by path."""
        return {layer.path: layer for layer in self.layers}

    @cached_property
    def group_sizes(self) -> Mapping[str, int]:
        """Number of channels by group."""
        return {name: group.size for name, group in self.groups.items()}

    @property
    def macs(self) -> int:
        """Multiply-accumulates of the whole network per sample."""
        return sum(layer.macs for layer in self.layers) + sum(product.macs for product in self.products)

    @property
    def parameters(self) -> int:
        """Kernel weights, biases of layers and loose parameters of the whole network."""
        kernels = sum(layer.parameters for layer in self.layers)
        biases = sum(layer.out_channels for layer in self.layers if layer.bias)
        return kernels + biases + self.loose_parameters
