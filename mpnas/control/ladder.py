"""Ladders: all decisions of a space in one vector, moved up and down rung by rung, and back within limits.

What the proposers that vary assignments share. A rung is one candidate: since no cost falls with more
bits or channels, going down in any order reaches the limits, and bisection finds the first point that
does. At least one decision of every removable group always stays.
"""

import dataclasses
from collections.abc import Callable, Container, Mapping
from functools import cached_property

import numpy as np
from jaxtyping import Int

from mpnas.errors import BudgetError
from mpnas.space import Assignment, Space

Vector = Int[np.ndarray, "decisions"]
Price = Callable[[Assignment], Mapping[str, float]]
Key = tuple[tuple[str, tuple[int, ...]], ...]
TRIES = 32  # draws in a row that have been seen, before a space counts as exhausted


def key_of(assignment: Assignment) -> Key:
    """What two assignments of one space have in common exactly when they are the same."""
    return tuple(sorted(assignment.bits.items()))


def unseen(draw: Callable[[], Assignment], seen: Container[Key], count: int) -> list[Assignment]:
    """`count` different new assignments; fewer where drawing goes on giving what has been seen."""
    found: dict[Key, Assignment] = {}
    misses = 0
    while len(found) < count and misses < TRIES:
        drawn = draw()
        key = key_of(drawn)
        misses = misses + 1 if key in seen or key in found else 0
        if not misses:
            found[key] = drawn
    return list(found.values())


def met(costs: Mapping[str, float], limits: Mapping[str, float]) -> bool:
    """Whether every limited cost is within its limit."""
    return all(costs[name] <= limit for name, limit in limits.items())


def impossible(what: str, lowest: Mapping[str, float], limits: Mapping[str, float]) -> BudgetError:
    """The error for limits that not even the cheapest `what` meets."""
    asked = ", ".join(f"{name} <= {limit:,.6g}" for name, limit in limits.items())
    reach = ", ".join(f"{name} = {lowest[name]:,.6g}" for name in limits)
    return BudgetError(f"no {what} meets {asked}; the cheapest has {reach}. Raise the budget.")


@dataclasses.dataclass(frozen=True, eq=False)
class Ladder:
    """The decisions of a space as one vector of candidate indices, one site after another.

    Attributes:
      space: What can be chosen.
    """

    space: Space

    @cached_property
    def places(self) -> dict[str, slice]:
        """Site -> where its decisions are."""
        ends = np.cumsum([choice.decisions for choice in self.space.choices.values()])
        return {
            site: slice(int(end) - choice.decisions, int(end))
            for end, (site, choice) in zip(ends, self.space.choices.items(), strict=True)
        }

    @cached_property
    def tops(self) -> Vector:
        """Index of the highest candidate of each decision."""
        choices = self.space.choices.values()
        return np.repeat([len(c.bits) - 1 for c in choices], [c.decisions for c in choices]).astype(np.int64)

    def vector(self, assignment: Assignment) -> Vector:
        """The candidate indices of an assignment."""
        return np.concatenate(list(self.space.indices(assignment).values()))

    def assignment(self, vector: Vector) -> Assignment:
        """The inverse of `vector`."""
        return self.space.from_indices({site: vector[place] for site, place in self.places.items()})

    def within(
        self, vector: Vector, rng: np.random.Generator, price: Price, limits: Mapping[str, float]
    ) -> Vector:
        """`vector` moved down in a random order, just as far as the limits ask.

        Raises:
          BudgetError: not even the lowest candidates are within the limits.
        """

        def fits(moved: Vector) -> bool:
            return met(price(self.assignment(moved)), limits)

        floors = self._floors(vector, rng)
        raised = np.maximum(vector, floors)
        if fits(raised):
            return raised
        if not fits(floors):
            floors = self._cheapest()
            raised = np.maximum(vector, floors)
            if not fits(floors):
                raise impossible("assignment", price(self.assignment(floors)), limits)
        rungs = rng.permutation(np.repeat(np.arange(len(raised)), raised - floors))
        low, high = 0, len(rungs)  # the first does not fit, the last does
        while high - low > 1:
            middle = (low + high) // 2
            if fits(_moved(raised, -1, rungs[:middle])):
                high = middle
            else:
                low = middle
        return _moved(raised, -1, rungs[:high])

    def filled(
        self, vector: Vector, rng: np.random.Generator, price: Price, limits: Mapping[str, float]
    ) -> Vector:
        """`vector`, which is within the limits, moved up in a random order until the next rung would not fit.

        Removed channels stay removed.
        """
        room = np.where((vector == 0) & self._removes, 0, self.tops - vector)
        rungs = rng.permutation(np.repeat(np.arange(len(vector)), room))
        low, high = 0, len(rungs) + 1  # the first fits, the last does not exist
        while high - low > 1:
            middle = (low + high) // 2
            if met(price(self.assignment(_moved(vector, 1, rungs[:middle]))), limits):
                low = middle
            else:
                high = middle
        return _moved(vector, 1, rungs[:low])

    @cached_property
    def _removes(self) -> np.ndarray:
        choices = self.space.choices.values()
        return np.repeat([c.removes for c in choices], [c.decisions for c in choices])

    def _floors(self, vector: Vector, rng: np.random.Generator) -> Vector:
        """The lowest vector below this one: of each group one decision, drawn at random, stays alive."""
        floors = np.zeros_like(vector)
        for group, site in self.space.remover.items():
            within = self.space.reach[group]
            alive = np.flatnonzero(vector[self.places[site]][:within])
            drawn = rng.choice(alive if len(alive) else within)
            floors[self.places[site].start + drawn] = 1
        return floors

    def _cheapest(self) -> Vector:
        """The same with the decision over the fewest channels: of unequal subgroups the last may be short."""
        floors = np.zeros_like(self.tops)
        for group, site in self.space.remover.items():
            floors[self.places[site].start + self.space.fewest[group][0]] = 1
        return floors


def _moved(vector: Vector, by: int, rungs: Vector) -> Vector:
    return vector + by * np.bincount(rungs, minlength=len(vector))
