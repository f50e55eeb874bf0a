"""Ageing evolution: children of good assignments, each brought back within the limits.

A tournament picks a parent among the living, crossover may mix it with a second one, mutation moves
decisions by one candidate; a child that is over a limit is moved down until it is within, and one that
has been seen is drawn again. The oldest dies first, however good it was, so that luck does not last.

Sources: Real et al., AAAI 2019, https://arxiv.org/abs/1802.01548, algorithm 1 (ageing); mutation by
neighbours until feasible and unseen: Chai et al., 2022, https://arxiv.org/abs/2209.12127, stage 1.
"""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import ClassVar

import numpy as np

from mpnas.control.ladder import Key, Ladder, Vector, key_of, unseen
from mpnas.control.random import Random
from mpnas.errors import ConfigError
from mpnas.space import Assignment, Gates, Space

WHOLE_SITES = 0.5  # share of mutations that move all decisions of one site together
FILLED = 0.5  # share of children that are moved up until their budget is spent


@dataclasses.dataclass(frozen=True)
class Population:
    """What evolution remembers.

    Attributes:
      ladder: The decisions in one vector.
      alive: `(candidate indices, loss, number of its evaluation)`, the oldest first.
      seen: Every assignment that was heard of.
    """

    ladder: Ladder
    alive: tuple[tuple[Vector, float, int], ...] = ()
    seen: frozenset[Key] = frozenset()


@dataclasses.dataclass(frozen=True, kw_only=True)
class Evolution:
    """Ageing evolution by the loss of each child.

    Attributes:
      evaluations: Children, the first random ones included; >= 1.
      population: How many are alive at most, and how many random ones begin; >= 2.
      parents: How many living ones a tournament compares; in [1, population].
      mutate: Probability that a decision moves, in (0, 1]; at least one always does.
      crossover: Probability of a second parent, in [0, 1]; each site then comes from either.
      age_limit: Evaluations after which one dies even where there is room; None: only for want of room.

    Raises:
      ConfigError: a number out of its range.
    """

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    evaluations: int = 200
    population: int = 24
    parents: int = 6
    mutate: float = 0.1
    crossover: float = 0.5
    age_limit: int | None = None

    def __post_init__(self) -> None:
        sound = self.evaluations >= 1 and 1 <= self.parents <= self.population and self.population >= 2
        if not (sound and 0 < self.mutate <= 1 and 0 <= self.crossover <= 1):
            raise ConfigError(
                "Evolution needs evaluations >= 1, population >= 2, 1 <= parents <= population, "
                f"0 < mutate <= 1 and 0 <= crossover <= 1, got {self}."
            )
        if self.age_limit is not None and self.age_limit < 1:
            raise ConfigError(f"Evolution needs age_limit >= 1, got {self.age_limit}.")

    def init(self, space: Space, scores: Gates | None = None) -> Population:
        return Population(Ladder(space))

    def ask(
        self,
        memory: Population,
        space: Space,
        rng: np.random.Generator,
        count: int,
        price: Callable[[Assignment], Mapping[str, float]],
        limits: Mapping[str, float],
    ) -> list[Assignment]:
        def draw() -> Assignment:
            if len(memory.seen) < self.population:
                (first,) = Random().ask(None, space, rng, 1, price, limits)
                # A loose budget leaves few random ones that just meet it.
                if not memory.alive or key_of(first) not in memory.seen:
                    return first
            child = memory.ladder.within(self._born(memory, rng), rng, price, limits)
            if rng.random() < FILLED:
                child = memory.ladder.filled(child, rng, price, limits)
            return memory.ladder.assignment(child)

        return unseen(draw, memory.seen, count)

    def tell(
        self, memory: Population, results: Sequence[tuple[Assignment, Mapping[str, float]]]
    ) -> Population:
        """The population with the newest in and the oldest out; a loss that is not a number is the worst."""
        heard = len(memory.seen)
        born = [
            (memory.ladder.vector(assignment), float(np.nan_to_num(metrics["loss"], nan=np.inf)), heard + k)
            for k, (assignment, metrics) in enumerate(results)
        ]
        seen = memory.seen | {key_of(assignment) for assignment, _ in results}
        oldest = -np.inf if self.age_limit is None else len(seen) - self.age_limit
        alive = [one for one in (*memory.alive, *born) if one[2] >= oldest][-self.population :]
        return Population(memory.ladder, tuple(alive), seen)

    def _born(self, memory: Population, rng: np.random.Generator) -> Vector:
        child = self._parent(memory, rng)
        if rng.random() < self.crossover:
            other = self._parent(memory, rng)
            for place in memory.ladder.places.values():
                if rng.random() < 0.5:
                    child[place] = other[place]
        moving = rng.random(len(child)) < self.mutate
        moving[rng.integers(len(child))] = True
        up = rng.random(len(child)) < 0.5
        if rng.random() < WHOLE_SITES:
            places = list(memory.ladder.places.values())
            place = places[rng.integers(len(places))]
            moving[:], up[place] = False, rng.random() < 0.5
            moving[place] = True
        return np.clip(child + np.where(moving, np.where(up, 1, -1), 0), 0, memory.ladder.tops)

    def _parent(self, memory: Population, rng: np.random.Generator) -> Vector:
        """The best of a few living ones, as a copy."""
        drawn = rng.choice(len(memory.alive), min(self.parents, len(memory.alive)), replace=False)
        return min((memory.alive[k] for k in drawn), key=lambda one: one[1])[0].copy()
