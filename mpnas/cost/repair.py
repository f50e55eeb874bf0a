"""Exact repair: the assignment that a search prefers most among those that meet every budget.

A search ends with a preference over candidates, soft and usually a little over budget. The repair
keeps its argmax where that meets every limit, and else solves a multiple-choice knapsack (`knapsack`).

Where no channel can be removed that is one program and its answer is the best there is, within the
solver's relative gap. Where channels can be removed, how many each group may keep (its cap) is found
first: caps are one share of what the preference keeps, searched by golden section, since with a larger
share every layer is counted with more input channels, and with a smaller one wanted channels are lost.
Each candidate is verified with the exact costs before it counts.
"""

import math
from collections.abc import Mapping, Sequence

import numpy as np

from mpnas.cost.base import Cost
from mpnas.cost.budget import floor_assignment, measure, satisfied
from mpnas.cost.knapsack import Knapsack
from mpnas.errors import BudgetError
from mpnas.space import Assignment, Gates, Space

LOWEST_PREFERENCE = -30.0  # log-probability below which a candidate counts as equally unwanted
SHARES_TRIED = 9  # by golden section, which leaves 0.618^7 of the shares: 3 % of the channels
POLISH_ROUNDS = 4
GOLDEN = (math.sqrt(5) - 1) / 2


def repair(
    space: Space, costs: Sequence[Cost], limits: Mapping[str, float], preference: Gates
) -> Assignment:
    """The preferred assignment within all limits, with at least one channel in every group.

    Args:
      space: The space of the preference.
      costs: Costs by which `limits` are named; others are not looked at.
      limits: Cost name -> largest allowed value, > 0, in the cost's unit.
      preference: Site -> `(decisions, candidates)` probabilities; higher is preferred.

    Returns:
      An assignment whose exact costs are all within `limits`; the same for the same arguments.

    Raises:
      BudgetError: even the cheapest assignment breaks a limit; names the lowest costs.
    """
    limited = [cost for cost in costs if cost.name in limits]
    floor = floor_assignment(space)
    _refuse_below(measure(limited, space, floor), limits)
    scores = {
        site: np.maximum(np.log(np.asarray(preference[site], np.float64) + 1e-30), LOWEST_PREFERENCE)
        for site in space.choices
    }
    start = _alive_somewhere(space, space.nearest(scores), scores)
    if satisfied(measure(limited, space, start), limits):
        return start
    problem = Knapsack(space, limited, limits, scores)
    found = _best_over_shares(problem, start) if space.removable else problem.solve({}, start)
    return floor if found is None else _polished(problem, found)


def _refuse_below(lowest: Mapping[str, float], limits: Mapping[str, float]) -> None:
    # Every cost is lowest at the same assignment, so limits that can be met alone can be met together.
    if satisfied(lowest, limits):
        return
    asked = ", ".join(f"{name} <= {limit:,.6g}" for name, limit in limits.items())
    reach = ", ".join(f"{name} = {lowest[name]:,.6g}" for name in limits)
    raise BudgetError(
        f"no assignment meets {asked} together; the cheapest one has {reach}. Raise the budget of "
        f"{', '.join(name for name, limit in limits.items() if lowest[name] > limit)}."
    )


def _alive_somewhere(space: Space, assignment: Assignment, scores: Gates) -> Assignment:
    """The same with at least one channel alive in every group: the decision that minds it least."""
    indices = space.indices(assignment)
    for group, alive in space.existing(indices).items():
        if not alive.any():
            site = space.remover[group]
            least = space.work.groups[group].size
            if group in space.width_site:
                width = space.width_site[group]
                least = space.choices[width].bits[int(indices[width][0])]
            reach = int(space.channel_decision[site][:least].max()) + 1
            best = np.unravel_index(np.argmax(scores[site][:reach, 1:]), scores[site][:reach, 1:].shape)
            indices[site][best[0]] = best[1] + 1
    return space.from_indices(indices)


def _channels(space: Space, assignment: Assignment) -> dict[str, int]:
    """Removable group -> number of channels that an assignment keeps."""
    alive = space.existing(space.indices(assignment))
    return {group: int(exists.sum()) for group, exists in alive.items()}


def _best_over_shares(problem: Knapsack, start: Assignment) -> Assignment | None:
    """The best of the assignments found while the share of kept channels is searched."""
    space = problem.space
    wanted = _channels(space, start)
    fewest = {group: channels for group, (_, channels) in space.fewest.items()}
    tried: dict[tuple[int, ...], Assignment | None] = {}

    def worth(share: float) -> float:
        caps = {group: max(fewest[group], round(share * count)) for group, count in wanted.items()}
        key = tuple(caps.values())
        if key not in tried:
            tried[key] = problem.solve(caps, start)
        found = tried[key]
        return -math.inf if found is None else problem.score(found)

    worth(1.0)
    low, high = 0.0, 1.0
    left, right = high - GOLDEN * (high - low), low + GOLDEN * (high - low)
    at_left, at_right = worth(left), worth(right)
    for _ in range(SHARES_TRIED - 2):
        # Nothing at all is found where too many channels are counted: go down on a tie.
        if at_left >= at_right:
            high, right, at_right = right, left, at_left
            left = high - GOLDEN * (high - low)
            at_left = worth(left)
        else:
            low, left, at_left = left, right, at_right
            right = low + GOLDEN * (high - low)
            at_right = worth(right)
    return max((found for found in tried.values() if found is not None), key=problem.score, default=None)


def _polished(problem: Knapsack, assignment: Assignment) -> Assignment:
    """Spend what removed channels saved in the layers that read them."""
    for _ in range(POLISH_ROUNDS if problem.space.removable else 0):
        better = problem.solve(_channels(problem.space, assignment), assignment)
        if better is None or problem.score(better) <= problem.score(assignment) + 1e-9:
            break
        assignment = better
    return assignment
