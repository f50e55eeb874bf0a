"""Ties: what must agree in a network, and the reason read off its program.

Layers whose outputs are added share which channels exist, never their bits. Layers that read one
tensor share the precision in which that tensor is kept.
"""

import dataclasses
from typing import Literal


@dataclasses.dataclass(frozen=True)
class Tie:
    """Things that agree, and why.

    Attributes:
      name: `stem/channels` for channels, `stem/input` for a tensor.
      kind: `channels` (the same channels exist) or `tensor` (one precision for all readers).
      members: Paths of the layers that are tied.
      reasons: In words, one per operation that ties them.
      searched: Whether a choice decides for all of them.
    """

    name: str
    kind: Literal["channels", "tensor"]
    members: tuple[str, ...]
    reasons: tuple[str, ...]
    searched: bool = False

    @property
    def why(self) -> str:
        """All reasons in one line."""
        return "; ".join(self.reasons)
