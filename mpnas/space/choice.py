"""What can be chosen at one place of a network: a site, its candidates, and who decides together.

A choice has `decisions x candidates` gates. One decision belongs to a whole layer, to each channel
or to each subgroup of channels; every decision picks among the same ordered candidates.
"""

import dataclasses
from typing import Literal

from mpnas.quant import Granularity, PerChannel, PerTensor, Quantizer, Subgroup

SiteKind = Literal["weight", "act", "mask", "width"]
GRANULARITY_NAMES = {PerTensor: "layer", PerChannel: "channel", Subgroup: "subgroup"}


@dataclasses.dataclass(frozen=True)
class Presence:
    """Candidate of a mask site: the channels are there (bits 1) or removed (bits 0)."""

    bits: int


@dataclasses.dataclass(frozen=True)
class Width:
    """Candidate of a width site: how many channels of a tie group there are, the first ones.

    Attributes:
      channels: Their number, >= 1.
      share: The same as a share of the channels of the network as it was given; 1 is that network.
      interpolated: Whether a mixture of widths stretches the channels of the narrower ones over the
        widest in it, instead of leaving the rest at zero. One width alone is the same either way.
    """

    channels: int
    share: float
    interpolated: bool = False

    @property
    def bits(self) -> int:
        """What files and gates call the candidate by: the number of channels."""
        return self.channels


Candidate = Quantizer | Presence | Width


@dataclasses.dataclass(frozen=True)
class Choice:
    """One site with its candidates.

    Attributes:
      site: `stack1/conv2/kernel` (weight), `stack1/conv2/input` (act), `stem/channels` (mask),
        `stem/width` (width).
      kind: What is chosen: the precision of weights or activations, which channels exist, or how many.
      layers: Paths of the layers that it steers; several for tensors and channels that are shared. An
        operand of a product of activations is a place of its own, `attention/scores/query`.
      candidates: Ordered by bits, lowest first; all distinct.
      granularity: Which channels decide together; its axis refers to `shape`.
      shape: Shape of what is chosen: the kernel's, `(1,)` for activations, `(channels,)` for masks and
        widths.
      parameters: Weights that the site holds (0 for all but kernels).
      macs: Multiply-accumulates that the site takes part in, per sample.
    """

    site: str
    kind: SiteKind
    layers: tuple[str, ...]
    candidates: tuple[Candidate, ...]
    granularity: Granularity
    shape: tuple[int, ...]
    parameters: int = 0
    macs: int = 0

    @property
    def bits(self) -> tuple[int, ...]:
        """Bit-width of each candidate, ascending; of widths the number of channels."""
        return tuple(candidate.bits for candidate in self.candidates)

    @property
    def decisions(self) -> int:
        """How many times the choice is made: once per group of `granularity`."""
        return self.granularity.groups(self.shape)

    @property
    def removes(self) -> bool:
        """Whether the lowest candidate removes channels (0 bits)."""
        return self.kind in ("weight", "mask") and self.bits[0] == 0

    @property
    def granularity_name(self) -> str:
        """`layer`, `channel` or `subgroup`, as in files; `group` for the width of a tie group."""
        return "group" if self.kind == "width" else GRANULARITY_NAMES[type(self.granularity)]

    def describe(self) -> dict[str, object]:
        """Plain data for files and tables."""
        described: dict[str, object] = {
            "kind": "activation" if self.kind == "act" else self.kind,
            "layers": list(self.layers),
            "granularity": self.granularity_name,
            "decisions": self.decisions,
            "candidates": list(self.bits),
            "parameters": self.parameters,
            "macs": self.macs,
        }
        if isinstance(self.granularity, Subgroup):
            described["group_size"] = self.granularity.size
        return described
