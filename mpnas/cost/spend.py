"""Spending what a budget leaves: the bits that a search would give back with the least regret.

A search that ends below its budget has saved more than anybody asked for. Decisions are raised, one
candidate at a time, in the order of what the preference loses by it, as long as every limit holds
exactly. Removed channels stay removed: bringing one back would add work in every layer that reads it.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from mpnas.cost.base import Cost
from mpnas.cost.budget import measure, satisfied
from mpnas.space import Assignment, Gates, Space

MISSES = 32  # raises that do not fit, before the rest of the budget counts as spent


def spend(
    space: Space,
    costs: Sequence[Cost],
    limits: Mapping[str, float],
    preference: Gates,
    assignment: Assignment,
) -> Assignment:
    """`assignment` with decisions raised until the limits are nearly used up.

    Args:
      space: The space of the assignment.
      costs: Costs by which `limits` are named.
      limits: Cost name -> largest allowed value; without limits nothing is raised.
      preference: Site -> `(decisions, candidates)` probabilities.
      assignment: Within all limits.

    Returns:
      An assignment within all limits, at every decision at least as wide as the given one.
    """
    limited = [cost for cost in costs if cost.name in limits]
    if not limited:
        return assignment
    raised = space.indices(assignment)
    moves = _moves(space, raised, preference)
    done = 0
    for _ in range(MISSES):
        low, high = done, len(moves)
        while low < high:
            middle = (low + high + 1) // 2
            tried = _applied(raised, moves[done:middle])
            if satisfied(measure(limited, space, space.from_indices(tried)), limits):
                low = middle
            else:
                high = middle - 1
        raised = _applied(raised, moves[done:low])
        if low == len(moves):
            break
        # What is next does not fit; neither do further raises of the same decision.
        site, decision, _ = moves[low]
        rest = [move for move in moves[low + 1 :] if move[:2] != (site, decision)]
        moves, done = moves[:low] + rest, low
    return space.from_indices(raised)


Move = tuple[str, int, int]  # site, decision, candidate that it is raised to


def _moves(space: Space, start: Mapping[str, np.ndarray], preference: Gates) -> list[Move]:
    """Every raise above `start`, the least regretted first; a decision's own raises stay in order."""
    moves: list[tuple[float, str, int, int]] = []
    for site, choice in space.choices.items():
        if choice.kind in ("mask", "width"):
            continue
        scores = np.log(np.asarray(preference[site], np.float64) + 1e-30)
        for decision, chosen in enumerate(start[site]):
            if choice.removes and chosen == 0:
                continue
            regret = -np.inf
            for candidate in range(int(chosen) + 1, len(choice.bits)):
                regret = max(regret, float(scores[decision, chosen] - scores[decision, candidate]))
                moves.append((regret, site, decision, candidate))
    return [(site, decision, candidate) for _, site, decision, candidate in sorted(moves)]


def _applied(indices: Mapping[str, np.ndarray], moves: Sequence[Move]) -> dict[str, np.ndarray]:
    raised = {site: values.copy() for site, values in indices.items()}
    for site, decision, candidate in moves:
        raised[site][decision] = candidate
    return raised
