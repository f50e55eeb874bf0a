"""The uniform baseline: every decision at the same bit-width.

It answers with one fixed assignment, whatever the limits: the point that others are compared with.
"""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

import numpy as np

from mpnas.space import Assignment, Gates, Space


@dataclasses.dataclass(frozen=True)
class Uniform:
    """All weights and activations at the candidate nearest to `bits`; no channel removed.

    Attributes:
      bits: Wanted bit-width, >= 0; of two equally near candidates the higher one is taken.
    """

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    evaluations: ClassVar[int] = 1

    bits: int = 8

    def init(self, space: Space, scores: Gates | None = None) -> Any:
        return None

    def ask(
        self,
        memory: Any,
        space: Space,
        rng: np.random.Generator,
        count: int,
        price: Callable[[Assignment], Mapping[str, float]],
        limits: Mapping[str, float],
    ) -> list[Assignment]:
        return [space.uniform(self.bits)] * count

    def tell(self, memory: Any, results: Sequence[tuple[Assignment, Mapping[str, float]]]) -> Any:
        return memory
