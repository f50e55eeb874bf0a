"""The random baseline at equal cost: a draw from the space, tilted until it just meets the budget."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

import numpy as np

from mpnas.errors import BudgetError, ConfigError
from mpnas.space import Assignment, Space

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

    spread: float = 0.5

    def __post_init__(self) -> None:
        if not self.spread >= 0:
            raise ConfigError(f"Random needs spread >= 0, got {self.spread}.")

    def init(self, space: Space) -> Any:
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
        keeps = {site: int(rng.integers(_reached(space, site))) for site in space.remover.values()}

        def at(tilt: float) -> Assignment:
            return _tilted(space, draws, {site: tilt + offset for site, offset in offsets.items()}, keeps)

        def fits(assignment: Assignment) -> bool:
            costs = price(assignment)
            return all(costs[name] <= limit for name, limit in limits.items())

        low, high = TILTS
        best = at(high)
        if not fits(best):
            # Of unequal subgroups the shortest is the cheapest to keep.
            keeps |= {site: space.fewest[group][0] for group, site in space.remover.items()}
            best = at(high)
        if not fits(best):
            lowest = price(best)
            asked = ", ".join(f"{name} <= {limit:,.6g}" for name, limit in limits.items())
            reach = ", ".join(f"{name} = {lowest[name]:,.6g}" for name in limits)
            raise BudgetError(
                f"no random assignment meets {asked}; the cheapest has {reach}. Raise the budget."
            )
        for _ in range(BISECTIONS):
            middle = (low + high) / 2
            candidate = at(middle)
            if fits(candidate):
                best, high = candidate, middle
            else:
                low = middle
        return best


def _reached(space: Space, site: str) -> int:
    """How many decisions of a remover lie within the least width of its group: one of them stays."""
    group = next(group for group, remover in space.remover.items() if remover == site)
    width = space.width_site.get(group)
    if width is None:
        return space.choices[site].decisions
    return int(space.channel_decision[site][: space.choices[width].bits[0]].max()) + 1


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
