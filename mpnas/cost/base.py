"""What a cost is: work and gates in, numbers out; one formula for the search and for the exact count.

A cost is a vector of non-negative rows over the `Usage` of a network, combined by their sum or their
maximum; a row of a sum may itself be the largest of several terms. Under JAX it is differentiable in
the gates; with one-hot float64 gates the same formula is the exact number. With the existing input
channels held fixed every term is linear in the weight gates, and linear in the gates of each
activation, which is what lets `mpnas.cost.repair` find an assignment by integer linear programming.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, Protocol

import numpy as np

from mpnas.space import (
    Assignment,
    Gates,
    Layer,
    Space,
    Tensor,
    Usage,
    act_widths,
    product_widths,
    usage,
    weight_widths,
)

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

        Of a sum the last rows are those of `space.work.layers`, in that order, and a row may be a tuple
        of terms of which the largest counts; of a maximum there is one row for each moment of
        `space.work.timeline`. Messages name what is large by these places.

        Raises:
          UnpricedError: the network offers something that the cost has no number for.
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
    rows = [largest(row) if isinstance(row, tuple) else row for row in rows]
    return sum(rows) if cost.combine == "sum" or not rows else largest(rows)


def largest(terms: Sequence[Any]) -> Any:
    """The largest of at least one float, numpy or jax scalar."""
    arrays = [term for term in terms if hasattr(term, "__array_namespace__")]
    xp = arrays[0].__array_namespace__() if arrays else np
    return xp.max(xp.stack([xp.asarray(term) for term in terms]))


def alive_pairs(use: Usage, layer: Layer) -> tuple[Any, Any]:
    """Existing output channels, and existing input channels per output channel, of one layer."""
    out = layer.writes.along(use.out_alive).sum()
    return out, layer.in_channels if layer.reads is None else layer.reads.along(use.in_alive).sum()


Price = Callable[[Any, Any, str], np.ndarray]
"""`(activation bits, weight bits, place) -> cost of one multiply-accumulate`; both broadcast, the place
is what an error names."""


def priced_macs(space: Space, use: Usage, layer: Layer, price: Price) -> Any:
    """The cost of a layer's multiply-accumulates, each priced by the widths of its two operands.

    `MACs / (O0 I0) * I * sum_channels sum_(p, q) act_share_p weight_share_q price(p, q)`, with I of I0
    input channels left; what has 0 bits costs nothing.
    """
    _, pairs = alive_pairs(use, layer)
    per_pair = layer.macs / (layer.out_channels * layer.in_channels)
    acts = np.array(act_widths(space, layer.path), np.float64)[:, None]
    weights = np.array(weight_widths(space, layer.path), np.float64)
    kept = weights > 0
    table = np.zeros((len(acts), len(weights)))
    table[:, kept] = price(acts, weights[kept], layer.path)
    per_channel = (use.act_share[layer.path] @ table) @ use.weight_share[layer.path].sum(axis=0)
    return per_pair * (per_channel * pairs)


def priced_products(space: Space, use: Usage, price: Price) -> list[Any]:
    """The cost of each product of two activations, priced by the widths of both."""
    rows = []
    for product in space.work.products:
        left, right = product_widths(space, product.path)
        table = price(np.array(left, np.float64)[:, None], np.array(right, np.float64), product.path)
        one, other = use.product_share[product.path]
        rows.append(product.macs * ((one @ table) @ other))
    return rows


def existing_elements(use: Usage, tensor: Tensor) -> Any:
    """Numbers of an activation that belong to channels that exist."""
    if tensor.lanes is None:
        return tensor.elements
    # Elements per channel first: they are whole, and so is the product.
    alive = tensor.lanes.along(use.in_alive)
    return tensor.elements / alive.shape[0] * alive.sum()
