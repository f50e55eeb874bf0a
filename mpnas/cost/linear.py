"""Costs around a point of the gates: linear, but for products with the gates of activations.

A cost is multilinear: weight bits times input channels times activation bits. Input channels are held,
which leaves `constant + linear . x` and, for each gate a of an activation, a times a form in the other
gates x. Of a site whose candidates ascend, the gates from candidate j on add up to the step
`b_j = a_j + a_(j+1) + ...`; with the forms `V_j` of its candidates

    sum_j a_j V_j . x = V_0 . x + sum_(j >= 1) b_j (V_j - V_(j-1)) . x,

so each candidate but the first brings one product of a step, 0 or 1, with what is more at it.
"""

import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from mpnas.cost.base import Cost
from mpnas.space import Gates, Space, usage

FLOAT32_STEP = 2.0**-23  # slopes come in float32: differences of less than this share are noise


def slices(space: Space) -> dict[str, slice]:
    """Site -> where its gates are when the gates of all sites are laid flat, one site after another."""
    places, start = {}, 0
    for site, choice in space.choices.items():
        places[site] = slice(start, start + choice.decisions * len(choice.bits))
        start = places[site].stop
    return places


@dataclasses.dataclass(frozen=True)
class Product:
    """`(sum of the gates) * form . x`: a step of an activation times what is more at it.

    Attributes:
      gates: Where in the flat gates those of the step are; they sum to at most 1.
      form: `(gates,)`.
    """

    gates: slice
    form: np.ndarray


@dataclasses.dataclass(frozen=True)
class Row:
    """`constant + linear . x + sum of products`, as a share of a limit; x are flat gates `(gates,)`."""

    constant: float
    linear: np.ndarray
    products: tuple[Product, ...] = ()

    def at(self, x: np.ndarray) -> float:
        """The value at flat gates x."""
        crossed = sum(x[product.gates].sum() * (product.form @ x) for product in self.products)
        return float(self.constant + self.linear @ x + crossed)


Bound = tuple[tuple[Row, ...], ...]
"""A sum of parts, each the largest of its rows: what a limit bounds."""


def bound_at(bound: Bound, x: np.ndarray) -> float:
    """The value of a bound at flat gates x."""
    return sum(max(row.at(x) for row in part) for part in bound)


def linearised(
    space: Space, cost: Cost, limit: float, held: Mapping[str, float], point: np.ndarray
) -> list[Bound]:
    """What `cost <= limit` asks of the gates near a point, each at most 1.

    Args:
      space: The space of the gates.
      cost: Of a sum comes one bound, exact wherever as many channels exist as are held; of a maximum the
        tangents of its rows, which are convex, at the point.
      limit: > 0, in the cost's unit.
      held: Removable group -> share of its channels that layers are taken to read.
      point: Flat gates, each decision's summing to 1.
    """
    gates = {s: point[p].reshape(space.choices[s].decisions, -1) for s, p in slices(space).items()}
    parts = _parts(cost, cost.rows(space, usage(space, gates)))
    expand, x, shares = _expansion(_Same(space), _Same(cost)), jnp.asarray(point, jnp.float32), dict(held)
    steps, rows = _steps(space), []
    for number in range(sum(map(len, parts))):
        value, slope, forms = (np.array(a, np.float64) / limit for a in expand(x, shares, number))
        # Of a maximum the tangent is asked for: it sees no products.
        products = _products(steps, forms) if cost.combine == "sum" else ()
        for product in products:
            slope = slope - point[product.gates].sum() * product.form
            slope[product.gates] -= product.form @ point
        row = Row(0.0, slope, products)
        rows.append(dataclasses.replace(row, constant=float(value) - row.at(point)))
    if cost.combine == "max":
        return [((row,),) for row in rows]
    rest = iter(rows)
    return [tuple(tuple(next(rest) for _ in part) for part in parts)]


def _steps(space: Space) -> list[tuple[slice, int]]:
    """For each gate of an activation, in order: the gates from it on, and its place among its candidates."""
    places = slices(space)
    return [
        (slice(gate, places[site].stop), gate - places[site].start)
        for site, choice in space.choices.items()
        if choice.kind == "act"
        for gate in range(places[site].start, places[site].stop)
    ]


def _products(steps: Sequence[tuple[slice, int]], forms: np.ndarray) -> tuple[Product, ...]:
    """The products of one row from its forms per activation gate, `(act gates, gates)`."""
    found = []
    for number, (gates, candidate) in enumerate(steps):
        if candidate > 0:
            more = forms[number] - forms[number - 1]
            if np.abs(more).max() > FLOAT32_STEP * np.abs(forms[number]).max():
                found.append(Product(gates, more))
    return tuple(found)


class _Same:
    """Anything, compared by identity: a space holds dicts, and the same one is repaired many times."""

    def __init__(self, value: Any) -> None:
        self.value = value

    def __hash__(self) -> int:
        return id(self.value)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Same) and self.value is other.value


def _parts(cost: Cost, rows: Sequence[Any]) -> list[tuple[Any, ...]]:
    """Of a sum, the rows of several terms and before them the sum of all others; of a maximum each row."""
    if cost.combine == "max":
        return [(row,) for row in rows]
    plain = sum(row for row in rows if not isinstance(row, tuple))
    return [(plain,), *(row for row in rows if isinstance(row, tuple))]


@functools.lru_cache(maxsize=64)
def _expansion(of_space: _Same, of_cost: _Same) -> Callable[[Any, Mapping[str, Any], int], tuple[Any, ...]]:
    """`(x, held, number) ->` value, slopes and crossed slopes of a term around flat gates; compiled once.

    `held` is the share of channels per removable group that layers are taken to read. Crossed slopes are
    `(act gates, gates)`: the slopes of the slope by each gate of an activation.
    """
    space, cost = of_space.value, of_cost.value
    places = slices(space)
    acts = np.array([gates.start for gates, _ in _steps(space)], np.int32)

    def term(x: Any, held: Mapping[str, Any], number: Any) -> Any:
        gates: Gates = {s: x[p].reshape(space.choices[s].decisions, -1) for s, p in places.items()}
        alive = {group: jnp.full(space.work.groups[group].size, share) for group, share in held.items()}
        parts = _parts(cost, cost.rows(space, usage(space, gates, in_alive=alive)))
        return jnp.stack([jnp.asarray(term, x.dtype) for part in parts for term in part])[number]

    def expand(x: Any, held: Mapping[str, Any], number: Any) -> tuple[Any, Any, Any]:
        slope = jax.grad(term)
        crossed = jax.jacrev(lambda y: slope(y, held, number)[acts])(x)
        # A product of two activations once: in the row of the gate that comes first.
        again = np.isin(np.arange(x.size), acts) & (np.arange(x.size) < acts[:, None])
        return term(x, held, number), slope(x, held, number), jnp.where(again, 0, crossed)

    return jax.jit(expand)
