"""The choice of an assignment as an integer linear program: limits linearised, solved by SciPy's HiGHS.

Maximise the summed preference, one candidate per decision, every limited cost under its limit. A cost
is a product (weight bits x input channels x activation bits); it becomes linear in two steps. Input
channels are held at a cap per group, which the solution must respect: a cost that grows with every
channel is then at most what the program believes. (Except where a shared mask removes channels: a layer
under it is counted with the mean bits of all its channels, which may be too few; see below.) The
product of a site's activation bits with a linear form V of the weight gates is split by activation
gate, `V = sum_j u_j` with `m a_j <= u_j <= M a_j`, where m and M bound V: with one gate `a_j` at 1 this
leaves `u_j = V`, and between whole gates it is the tightest that linear inequalities can say (Balas, 1979).

The rows of a maximum are convex in the gates; they are replaced by tangents, first around one point,
then around every solution that turns out to be over the limit (Kelley's cutting planes, 1960). Where a
sum turns out to be over its limit, the program is solved again for as much less. No solution leaves
unless its exact costs are within the limits.
"""

import contextlib
import ctypes
import dataclasses
import functools
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from scipy import sparse
from scipy.optimize import Bounds, LinearConstraint, milp

from mpnas.cost.base import Cost, combined
from mpnas.cost.budget import measure
from mpnas.space import Assignment, Gates, Space, usage

ATTEMPTS = 12
# Slopes come in float32 (switching JAX to 64 bits for a moment spoils its caches of indexing), and the
# solver takes 1e-6 for nothing. Both are caught by the exact costs of each solution.
FLOAT32_ERROR = 5e-7
SOLVER_TOLERANCE = 2e-6
# Nodes instead of seconds, so that the answer does not depend on the speed of the machine.
SOLVER_OPTIONS = {"node_limit": 4000, "mip_rel_gap": 1e-4}


def slices(space: Space) -> dict[str, slice]:
    """Site -> where its gates are when the gates of all sites are laid flat, one site after another."""
    places, start = {}, 0
    for site, choice in space.choices.items():
        places[site] = slice(start, start + choice.decisions * len(choice.bits))
        start = places[site].stop
    return places


def act_sites(space: Space) -> tuple[str, ...]:
    """The sites of activations, in the order of the choices."""
    return tuple(site for site, choice in space.choices.items() if choice.kind == "act")


class _Same:
    """Anything, compared by identity: a space holds dicts, and the same one is repaired many times."""

    def __init__(self, value: Any) -> None:
        self.value = value

    def __hash__(self) -> int:
        return id(self.value)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Same) and self.value is other.value


@functools.lru_cache(maxsize=32)
def _expansion(of_space: _Same, of_cost: _Same) -> Callable[[Any, Mapping[str, Any]], tuple[Any, Any, Any]]:
    """`(x, held) -> (rows, slopes, crossed slopes)` of a cost around the flat gates x; compiled once.

    `held` is the share of channels per removable group that layers are taken to read. Crossed slopes
    are `(act sites, gates)`: slopes of the first row per expected activation bit; none for a maximum.
    """
    space, cost = of_space.value, of_cost.value
    places, acts = slices(space), act_sites(space)

    def rows(x: Any, held: Mapping[str, Any]) -> Any:
        gates: Gates = {s: x[p].reshape(space.choices[s].decisions, -1) for s, p in places.items()}
        alive = {group: jnp.full(space.work.groups[group].size, share) for group, share in held.items()}
        found = [jnp.asarray(row, x.dtype) for row in cost.rows(space, usage(space, gates, in_alive=alive))]
        return jnp.stack(found) if cost.combine == "max" else combined(cost, found)[None]

    def expand(x: Any, held: Mapping[str, Any]) -> tuple[Any, Any, Any]:
        crossed = jnp.zeros((len(acts), x.size))
        if cost.combine == "sum" and acts:
            # A cost sees activation gates through their bits alone: the widest candidate tells all.
            widest = np.array([places[site].stop - 1 for site in acts])
            bits = np.array([space.choices[site].bits[-1] for site in acts])
            crossed = jax.jacrev(lambda y: jax.grad(lambda z: rows(z, held)[0])(y)[widest] / bits)(x)
        return rows(x, held), jax.jacrev(rows)(x, held), crossed

    return jax.jit(expand)


@dataclasses.dataclass(frozen=True)
class Row:
    """`constant + linear . x + sum_s bits_s(x) (products[s] . x)`, as a share of a limit; x are flat gates.

    Attributes:
      constant: The part without gates.
      linear: `(gates,)`.
      products: Activation site s -> `(gates,)` over the gates that its expected bits multiply.
    """

    constant: float
    linear: np.ndarray
    products: Mapping[str, np.ndarray]

    def at(self, x: np.ndarray, bits: Mapping[str, float]) -> float:
        """The value at flat gates x, whose expected activation bits are `bits`."""
        crossed = sum(bits[site] * (form @ x) for site, form in self.products.items())
        return float(self.constant + self.linear @ x + crossed)


@dataclasses.dataclass(frozen=True)
class Knapsack:
    """One preference under limits; solved for different caps on the channels.

    Attributes:
      space: What can be chosen.
      costs: The costs that are limited.
      limits: Cost name -> largest allowed value, > 0.
      scores: Site -> `(decisions, candidates)` float64 to be maximised.
    """

    space: Space
    costs: Sequence[Cost]
    limits: Mapping[str, float]
    scores: Mapping[str, np.ndarray]

    def score(self, assignment: Assignment) -> float:
        """Summed score of the candidates that an assignment picks."""
        indices = self.space.indices(assignment)
        return float(sum(self.scores[s][np.arange(len(i)), i].sum() for s, i in indices.items()))

    def solve(self, caps: Mapping[str, int], around: Assignment) -> Assignment | None:
        """The best assignment with at most `caps[group]` channels per group, within all limits.

        Args:
          caps: Removable group -> number of channels.
          around: Where the tangents of maxima are taken first.

        Returns:
          An assignment whose exact costs are within the limits, or None if there is none under these
          caps (or none was found within the solver's nodes).
        """
        allowed = {cost.name: 1 + FLOAT32_ERROR for cost in self.costs}
        point = np.concatenate([self.space.one_hot(around)[s].ravel() for s in self.space.choices])
        rows = {cost.name: self._rows(cost, caps, point) for cost in self.costs}
        for _ in range(ATTEMPTS):
            x = self._milp([(row, allowed[name]) for name, found in rows.items() for row in found], caps)
            if x is None:
                return None
            assignment = self._assignment(x)
            exact = measure(self.costs, self.space, assignment)
            over = [cost for cost in self.costs if exact[cost.name] > self.limits[cost.name]]
            if not over:
                return assignment
            for cost in over:
                if cost.combine == "max":
                    rows[cost.name] += self._rows(cost, caps, x)
                else:
                    # Rounding, or a cost that is not quite linear: cut this solution off, and as much again.
                    excess = exact[cost.name] / self.limits[cost.name] - 1
                    believed = rows[cost.name][0].at(x, self._bits(x))
                    allowed[cost.name] = min(allowed[cost.name], believed) - max(excess, SOLVER_TOLERANCE)
        return None

    @cached_property
    def _slices(self) -> dict[str, slice]:
        return slices(self.space)

    @cached_property
    def _act_bits(self) -> dict[str, np.ndarray]:
        """Activation site -> bits of each of its candidates."""
        return {site: np.asarray(self.space.choices[site].bits, float) for site in act_sites(self.space)}

    def _bits(self, x: np.ndarray) -> dict[str, float]:
        return {site: float(x[self._slices[site]] @ bits) for site, bits in self._act_bits.items()}

    @property
    def _size(self) -> int:
        return sum(scores.size for scores in self.scores.values())

    def _assignment(self, x: np.ndarray) -> Assignment:
        return self.space.from_indices(
            {s: np.argmax(x[part].reshape(self.scores[s].shape), axis=1) for s, part in self._slices.items()}
        )

    def _rows(self, cost: Cost, caps: Mapping[str, int], point: np.ndarray) -> list[Row]:
        """The limit of one cost as rows, exact but for maxima, which are tangent at `point`."""
        shares = {group: cap / self.space.work.groups[group].size for group, cap in caps.items()}
        arrays = _expansion(_Same(self.space), _Same(cost))(jnp.asarray(point, jnp.float32), shares)
        value, slopes, crossed = (np.array(a, np.float64) / self.limits[cost.name] for a in arrays)
        if cost.combine == "max":
            return [Row(float(v - s @ point), s, {}) for v, s in zip(value, slopes, strict=True)]
        linear, at_point = slopes[0], self._bits(point)
        products = {}
        for site, form in zip(self._act_bits, crossed, strict=True):
            # Around the point, bits * form = at_point * form + bits * (form @ point) - ...: taken back here.
            linear = linear - at_point[site] * form
            linear[self._slices[site]] -= self._act_bits[site] * (form @ point)
            if form.any():
                products[site] = form
        row = Row(0.0, linear, products)
        return [dataclasses.replace(row, constant=float(value[0]) - row.at(point, at_point))]

    def _milp(self, rows: Sequence[tuple[Row, float]], caps: Mapping[str, int]) -> np.ndarray | None:
        """The best flat gates under `row <= share` for each `(row, share)`, or None."""
        count = self._size
        extra = sum(len(self._act_bits[site]) for row, _ in rows for site in row.products)
        program = _Program(count + extra)
        self._add_structure(program, caps)
        free = count
        for row, share in rows:
            line = np.zeros((1, program.variables))
            line[0, :count] = row.linear
            for site, form in row.products.items():
                parts = slice(free, free + len(self._act_bits[site]))
                line[0, parts] = self._act_bits[site]
                self._add_product(program, site, form, parts)
                free = parts.stop
            program.add(line, -np.inf, share - row.constant)
        wanted = np.concatenate([scores.ravel() for scores in self.scores.values()])
        with _without_chatter():
            result = milp(
                np.concatenate([-wanted, np.zeros(extra)]),
                constraints=program.constraint(),
                integrality=np.repeat([1, 0], [count, extra]),
                bounds=Bounds(
                    np.repeat([0, -np.inf], [count, extra]), np.repeat([1, np.inf], [count, extra])
                ),
                options=SOLVER_OPTIONS,
            )
        return None if result.x is None else np.asarray(result.x[:count])

    def _add_product(self, program: "_Program", site: str, form: np.ndarray, parts: slice) -> None:
        """Let the variables `parts` be the form's value at the site's chosen candidate, 0 elsewhere."""
        gates, bits = self._slices[site], self._act_bits[site]
        whole = np.zeros((1, program.variables))
        whole[0, : len(form)], whole[0, parts] = -form, 1
        program.add(whole, 0, 0)
        blocks = [form[p].reshape(self.scores[s].shape) for s, p in self._slices.items()]
        smallest = sum(block.min(axis=1).sum() for block in blocks)
        largest = sum(block.max(axis=1).sum() for block in blocks)
        for bound, least, most in ((smallest, 0, np.inf), (largest, -np.inf, 0)):
            inside = np.zeros((len(bits), program.variables))
            inside[:, parts], inside[:, gates] = np.eye(len(bits)), -bound * np.eye(len(bits))
            program.add(inside, least, most)

    def _add_structure(self, program: "_Program", caps: Mapping[str, int]) -> None:
        """One candidate per decision; per group at least one decision and at most `cap` channels stay."""
        for site, part in self._slices.items():
            decisions, candidates = self.scores[site].shape
            picks = sparse.csr_array(np.kron(np.eye(decisions), np.ones((1, candidates))))
            before = sparse.csr_array((decisions, part.start))
            after = sparse.csr_array((decisions, program.variables - part.stop))
            program.add(sparse.hstack([before, picks, after]), 1, 1)
        for group, site in self.space.remover.items():
            decisions, candidates = self.scores[site].shape
            sizes = np.bincount(self.space.channel_decision[site], minlength=decisions)
            # One of those that the least width reaches, so that whatever the width something is left.
            reached = np.arange(decisions) < self.space.reach[group]
            removed = np.zeros((2, program.variables))
            removed[:, self._slices[site]][:, ::candidates] = reached, sizes
            program.add(removed[:1], -np.inf, reached.sum() - 1)
            program.add(removed[1:], sizes.sum() - caps[group], np.inf)
        for group, site in self.space.width_site.items():
            counts = np.asarray(self.space.choices[site].bits)
            line = np.zeros((1, program.variables))
            line[0, self._slices[site]] = counts
            program.add(line, -np.inf, max(caps[group], int(counts[0])))


@contextlib.contextmanager
def _without_chatter() -> Iterator[None]:
    """Nothing on the process's standard output: HiGHS writes debug lines there, past Python's own."""
    sys.stdout.flush()
    kept = os.dup(1)
    try:
        with open(os.devnull, "wb") as nowhere:
            os.dup2(nowhere.fileno(), 1)
        yield
    finally:
        ctypes.CDLL(None).fflush(None)  # what C still holds back belongs to nowhere, too
        os.dup2(kept, 1)
        os.close(kept)


class _Program:
    """The inequalities of one program, collected block by block."""

    def __init__(self, variables: int) -> None:
        self.variables = variables
        self._blocks: list[Any] = []
        self._least: list[np.ndarray] = []
        self._most: list[np.ndarray] = []

    def add(self, lines: Any, least: float, most: float) -> None:
        """`least <= lines @ variables <= most`, for every line."""
        self._blocks.append(sparse.csr_array(lines))
        self._least.append(np.full(lines.shape[0], least))
        self._most.append(np.full(lines.shape[0], most))

    def constraint(self) -> LinearConstraint:
        """All of them in one, sparse."""
        matrix = sparse.vstack(self._blocks, format="csr")
        return LinearConstraint(matrix, np.concatenate(self._least), np.concatenate(self._most))
