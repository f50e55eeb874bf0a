"""What a cost is: work and gates in, numbers out; one formula for the search and for the exact count.

A cost is a vector of non-negative rows over the `Usage` of a network, combined by their sum or their
maximum. Under JAX it is differentiable in the gates; with one-hot float64 gates the same formula is
the exact number. With the existing input channels held fixed every row is linear in the weight gates,
and linear in the gates of each activation, which is what lets `mpnas.cost.repair` find an assignment by
integer linear programming.
"""

from collections.abc import Mapping
from typing import Any, Literal, Protocol

import numpy as np

from mpnas.space import Assignment, Gates, Layer, Space, Usage, usage

# What a cost says about the overheads of a stored network when it counts none of them.
NO_OVERHEAD: Mapping[str, bool] = {
    "scales": False,
    "zero_points": False,
    "bias": False,
    "assignment_index": False,
    "first_last_layers": True,
}


class Cost(Protocol):
    """One way to count a network; never lower for more bits, or for more channels.

    Attributes:
      name: How budgets and files call it, with its unit in the name where it has one.
      unit: Unit of the number.
      combine: Whether the rows add up or the largest one counts.
      counts: What the number includes, for the file: every key is a thing that could be left out.
    """

    @property
    def name(self) -> str: ...

    @property
    def unit(self) -> str: ...

    @property
    def combine(self) -> Literal["sum", "max"]: ...

    @property
    def counts(self) -> Mapping[str, bool]: ...

    def rows(self, space: Space, use: Usage) -> list[Any]:
        """Scalars in the cost's unit, numpy or jax like the arrays in `use`.

        Of a sum the last rows are those of `space.work.layers`, in that order; of a maximum there is one
        row for each moment of `space.work.timeline`. Messages name what is large by these places.
        """
        ...


def soft_cost(cost: Cost, space: Space, gates: Gates) -> Any:
    """Cost at the expected bits and channels of a mixture, in the cost's unit; scalar, differentiable.

    Exact where the gates are one-hot; the gates' own float type otherwise sets the precision.
    """
    return combined(cost, cost.rows(space, usage(space, gates)))


def exact_cost(cost: Cost, space: Space, assignment: Assignment) -> float:
    """The number of an assignment, in the cost's unit; exact up to 2^53 units.

    Raises:
      SearchSpaceError: the assignment is not one of this space.
    """
    return float(combined(cost, cost.rows(space, usage(space, space.one_hot(assignment)))))


def combined(cost: Cost, rows: list[Any]) -> Any:
    """The rows' sum, or the largest of them, 0 if there are none; floats, numpy or jax scalars."""
    if cost.combine == "sum" or not rows:
        return sum(rows)
    arrays = [row for row in rows if hasattr(row, "__array_namespace__")]
    xp = arrays[0].__array_namespace__() if arrays else np
    return xp.max(xp.stack([xp.asarray(row) for row in rows]))


def alive_pairs(use: Usage, layer: Layer) -> tuple[Any, Any]:
    """Existing output channels, and existing input channels per output channel, of one layer."""
    out = layer.writes.along(use.out_alive).sum()
    return out, layer.in_channels if layer.reads is None else layer.reads.along(use.in_alive).sum()
