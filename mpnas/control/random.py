"""The random baseline at equal cost: a draw from the space, tilted until it just meets the budget.

As a point of reference it is drawn once (`Random`); as a search it is the best of many draws
(`RandomSearch`), which every proposer has to beat at the same number of evaluations.
"""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

import numpy as np

from mpnas.control.ladder import Key, impossible, key_of, met, unseen
from mpnas.errors import ConfigError
from mpnas.space import Assignment, Gates, Space

# At these every decision is at its highest, or its lowest, candidate: neighbours differ by a factor of
# exp(-1e5 / 32) at least, which is 0 in floating point.
TILTS = (-1e5, 1e5)
BISECTIONS = 60  # to 2e-13, far closer than two decisions change apart


@dataclasses.dataclass(frozen=True, kw_only=True)
class Random:
    """Candidate k of a decision with probability proportional to `exp(-tilt * bits_k / bits_widest)`.

    The random numbers are drawn once per assignment; a larger tilt then only lowers decisions, so the
    cost falls monotonically with it and the smallest tilt within the budget is found by bisection. In
    each group one decision, drawn at random, is never removed.

    Attributes:
      spread: Standard deviation of the tilt between sites, so that layers differ, and not only
        channels; in units of the tilt, >= 0.

    Raises:
      ConfigError: a negative spread.
    """

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    evaluations: ClassVar[int] = 1

    spread: float = 0.5

    def __post_init__(self) -> None:
        if not self.spread >= 0:
            raise ConfigError(f"Random needs spread >= 0, got {self.spread}.")

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
        return [self._draw(space, rng, price, limits) for _ in range(count)]

    def tell(self, memory: Any, results: Sequence[tuple[Assignment, Mapping[str, float]]]) -> Any:
        return memory

    def _draw(
        self,
        space: Space,
        rng: np.random.Generator,
        price: Callable[[Assignment], Mapping[str, float]],
        limits: Mapping[str, float],
    ) -> Assignment:
        draws = {site: rng.random(choice.decisions) for site, choice in space.choices.items()}
        offsets = {site: self.spread * rng.standard_normal() for site in space.choices}
        keeps = {site: int(rng.integers(space.reach[group])) for group, site in space.remover.items()}

        def at(tilt: float) -> Assignment:
            return _tilted(space, draws, {site: tilt + offset for site, offset in offsets.items()}, keeps)

        def fits(assignment: Assignment) -> bool:
            return met(price(assignment), limits)

        low, high = TILTS
        best = at(high)
        if not fits(best):
            # Of unequal subgroups the shortest is the cheapest to keep.
            keeps |= {site: space.fewest[group][0] for group, site in space.remover.items()}
            best = at(high)
        if not fits(best):
            raise impossible("random assignment", price(best), limits)
        for _ in range(BISECTIONS):
            middle = (low + high) / 2
            candidate = at(middle)
            if fits(candidate):
                best, high = candidate, middle
            else:
                low = middle
        return best


@dataclasses.dataclass(frozen=True, kw_only=True)
class RandomSearch:
    """The best of many different random assignments at equal cost.

    Attributes:
      evaluations: How many are drawn; >= 1.
      spread: As in `Random`.

    Raises:
      ConfigError: a number out of its range.
    """

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    evaluations: int = 200
    spread: float = 0.5

    def __post_init__(self) -> None:
        if not (self.evaluations >= 1 and self.spread >= 0):
            raise ConfigError(f"RandomSearch needs evaluations >= 1 and spread >= 0, got {self}.")

    def init(self, space: Space, scores: Gates | None = None) -> frozenset[Key]:
        """Keys of the assignments that were heard of."""
        return frozenset()

    def ask(
        self,
        memory: frozenset[Key],
        space: Space,
        rng: np.random.Generator,
        count: int,
        price: Callable[[Assignment], Mapping[str, float]],
        limits: Mapping[str, float],
    ) -> list[Assignment]:
        drawer = Random(spread=self.spread)
        return unseen(lambda: drawer.ask(None, space, rng, 1, price, limits)[0], memory, count)

    def tell(
        self, memory: frozenset[Key], results: Sequence[tuple[Assignment, Mapping[str, float]]]
    ) -> frozenset[Key]:
        return memory | {key_of(assignment) for assignment, _ in results}


def _tilted(
    space: Space, draws: Mapping[str, np.ndarray], tilts: Mapping[str, float], keeps: Mapping[str, int]
) -> Assignment:
    """The candidates that uniform draws in [0, 1) pick under the tilt of each site."""
    indices = {}
    for site, choice in space.choices.items():
        # Relative to the widest: a channel is as easily lost by a mask as by 0 bits of a weight.
        weights = -tilts[site] * np.asarray(choice.bits) / max(*choice.bits, 1)
        weights = np.exp(weights - weights.max())
        above = np.cumsum(weights[::-1] / weights.sum())  # from the highest candidate down
        rank = np.searchsorted(above, draws[site] * above[-1], side="right")
        indices[site] = len(choice.bits) - 1 - np.minimum(rank, len(choice.bits) - 1)
    for site, keep in keeps.items():
        indices[site][keep] = max(indices[site][keep], 1)
    return space.from_indices(indices)
