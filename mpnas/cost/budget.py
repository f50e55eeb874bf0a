"""Budgets: a cost that must stay under a number, as a penalty while searching and exactly after it.

A limit is absolute (`"20 kB"`, `20000`) or a share of the uniform 8-bit network (`0.25`). While
searching, a penalty (`mpnas.cost.penalty`) pulls towards the limits, which are traced arguments of the
step: one compiled program serves every budget.
"""

import contextlib
import dataclasses
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from mpnas.cost.base import Cost, exact_cost, largest, soft_cost
from mpnas.errors import BudgetError, ConfigError, UnpricedError, nearest
from mpnas.space import Assignment, Gates, Space, usage

UNITS = {
    "": 1, "b": 1, "k": 1e3, "kb": 1e3, "m": 1e6, "mb": 1e6, "g": 1e9, "gb": 1e9,
    "kib": 2**10, "mib": 2**20, "gib": 2**30,
    "s": 1, "ms": 1e-3, "us": 1e-6, "ns": 1e-9,
    "j": 1, "mj": 1e-3, "uj": 1e-6, "nj": 1e-9, "pj": 1e-12,
}
MEASURED_IN = {"s": "second", "j": "joule"}  # last letter of a unit -> the only unit of costs that it fits


@dataclasses.dataclass(frozen=True)
class Budget:
    """Limits by cost name, as asked for.

    Attributes:
      limits: `{"weight_bytes": 0.25}`, `{"weight_bytes": "20 kB", "bops": 0.1}`. A bare number up to 1
        is a share of the uniform 8-bit network (every decision at the candidate nearest to 8 bits);
        a larger one, or one with a unit, is absolute. Units of amounts: k, M, G with or without B, and
        KiB, MiB, GiB; of times s, ms, us, ns; of energies J, mJ, uJ, nJ, pJ; capitals make no difference.
    """

    limits: Mapping[str, float | str]

    def absolute(self, space: Space, costs: Sequence[Cost]) -> dict[str, float]:
        """The limits as numbers in the units of their costs, each > 0.

        Raises:
          ConfigError: an unknown cost, an unreadable number, or one in a unit of something else.
          UnpricedError: a cost has no number for something that the space offers.
        """
        by_name = {cost.name: cost for cost in costs}
        reference = space.uniform(8)
        numbers = {}
        for name, asked in self.limits.items():
            if name not in by_name:
                raise ConfigError(
                    f"budget on unknown cost '{name}'; nearest: {nearest(name, by_name)}. "
                    f"Known costs: {', '.join(by_name)}."
                )
            number, unit = _number(name, asked)
            if MEASURED_IN.get(unit[-1:].lower(), by_name[name].unit) != by_name[name].unit:
                raise ConfigError(
                    f"budget {name} = {asked!r} is in '{unit}', but the unit of {name} is the "
                    f"{by_name[name].unit}."
                )
            share = not unit and number <= 1
            numbers[name] = number * exact_cost(by_name[name], space, reference) if share else number
        return numbers


def _number(name: str, asked: float | str) -> tuple[float, str]:
    """The amount, its unit multiplied in, and the unit as written."""
    text = str(asked).strip()
    parts = re.fullmatch(r"([0-9.]+(?:[eE][+-]?[0-9]+)?)\s*([A-Za-z]*)", text)
    try:
        number = float(parts[1]) * UNITS[parts[2].lower()] if parts else float("nan")
    except (KeyError, ValueError):
        number = float("nan")
    if not 0 < number < float("inf"):
        raise ConfigError(
            f"budget {name} = {asked!r} is no amount. Write a share of the 8-bit network (0.25) "
            "or an amount above 1, with a unit or without ('20 kB', '1.5 MB', '3e6')."
        )
    return number, parts[2] if parts else ""


def measure(costs: Sequence[Cost], space: Space, assignment: Assignment) -> dict[str, float]:
    """Every cost of an assignment, exactly, by name."""
    return {cost.name: exact_cost(cost, space, assignment) for cost in costs}


def measure_priced(costs: Sequence[Cost], space: Space, assignment: Assignment) -> dict[str, float]:
    """`measure` without the costs that have no number for this network: a float one on an integer core."""
    found = {}
    for cost in costs:
        with contextlib.suppress(UnpricedError):
            found[cost.name] = exact_cost(cost, space, assignment)
    return found


def expected(costs: Sequence[Cost], space: Space, gates: Gates) -> dict[str, Any]:
    """Every expected cost of a mixture, by name; differentiable."""
    return {cost.name: soft_cost(cost, space, gates) for cost in costs}


def achievable(costs: Sequence[Cost], space: Space) -> dict[str, tuple[float, float]]:
    """Lowest and highest exact cost that any assignment of the space can have, by cost name.

    No cost falls with more bits or channels, so the lowest is at the lowest candidates (one decision per
    group of channels kept) and the highest at the highest.
    """
    low, high = floor_assignment(space), space.uniform(None)
    lowest, highest = measure(costs, space, low), measure(costs, space, high)
    return {cost.name: (lowest[cost.name], highest[cost.name]) for cost in costs}


def floor_assignment(space: Space) -> Assignment:
    """The cheapest assignment that is still a network, by every cost at once.

    Of each removable group the decision over the fewest channels stays (the last subgroup may be short, and
    a width may cut one off).
    """
    indices = space.indices(space.uniform(None, highest=False))
    for group, site in space.remover.items():
        width = space.width_site.get(group)
        sizes = space.choices[width].bits if width else (space.work.groups[group].size,)
        decisions = space.choices[site].decisions
        left = np.stack([
            np.bincount(space.channel_decision[site][:size], minlength=decisions) for size in sizes
        ])
        chosen, kept = np.unravel_index(np.argmin(np.where(left > 0, left, left.max() + 1)), left.shape)
        indices[site][kept] = 1
        if width:
            indices[width][:] = chosen
    return space.from_indices(indices)


def refuse_impossible(budget: Budget, costs: Sequence[Cost], space: Space) -> dict[str, float]:
    """The absolute limits, after making sure that they can be met.

    All costs are lowest at the same assignment, so limits that can be met alone can be met together.

    Raises:
      ConfigError: an unknown cost or an unreadable number.
      BudgetError: names the achievable range and what sets the floor.
    """
    limits = budget.absolute(space, costs)
    ranges = achievable(costs, space)
    by_name = {cost.name: cost for cost in costs}
    for name, limit in limits.items():
        low, high = ranges[name]
        if limit < low:
            cost = by_name[name]
            shares = _largest_rows(cost, space)
            raise BudgetError(
                f"budget {name} = {limit:,.6g} {cost.unit} cannot be met: this space reaches from "
                f"{low:,.6g} to {high:,.6g} {cost.unit}. The floor is set by {shares}. "
                "Raise the budget, or offer lower bit-widths there."
            )
    return limits


def _largest_rows(cost: Cost, space: Space, count: int = 3) -> str:
    """What the cheapest assignment spends most on, in words."""
    found = cost.rows(space, usage(space, space.one_hot(floor_assignment(space))))
    rows = [float(largest(row) if isinstance(row, tuple) else row) for row in found]
    if cost.combine == "max":
        return "the moment when " + ", ".join(space.work.timeline[int(np.argmax(rows))]) + " are alive"
    layers = space.work.layers
    outside = len(rows) - len(layers)
    named = [(f"'{layer.path}'", row) for layer, row in zip(layers, rows[outside:], strict=True)]
    named.append(("what belongs to no layer", sum(rows[:outside])))
    dearest = sorted(named, key=lambda entry: -entry[1])[:count]
    return ", ".join(f"{name} ({row:,.6g})" for name, row in dearest if row > 0)


def satisfied(costs: Mapping[str, float], limits: Mapping[str, float]) -> bool:
    """Whether every limited cost is within its limit, exactly."""
    return all(costs[name] <= limit for name, limit in limits.items())
