"""The choice of an assignment as an integer linear program: limits linearised, solved by SciPy's HiGHS.

Maximise the summed preference, one candidate per decision, every limited cost under its limit. A cost
is a product (weight bits x input channels x activation bits); it becomes linear in two steps. Input
channels are held at a cap per group, which the solution must respect: a cost that grows with every
channel is then at most what the program believes. (Except where a shared mask removes channels: a layer
under it is counted with the mean bits of all its channels, which may be too few; see below.) What is
left are products `b V(x)` of a step b of an activation, 0 or 1, with a linear form V of the other gates
(`mpnas.cost.linear`). Each becomes a variable u with `u >= V(x) - M (1 - b)` and `u >= m b`, where m and
M bound V: with a whole b this leaves `u >= b V(x)`, and between whole ones it is the tightest that linear
inequalities can say (McCormick, 1976). A row that is the largest of several terms is a variable above each.

The rows of a maximum are convex in the gates; they are replaced by tangents, first around one point,
then around every solution that turns out to be over the limit (Kelley's cutting planes, 1960). Where a
sum turns out to be over its limit, the program is solved again for as much less. No solution leaves
unless its exact costs are within the limits.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from functools import cached_property

import numpy as np
from scipy import sparse

from mpnas.cost.base import Cost
from mpnas.cost.budget import measure
from mpnas.cost.linear import Bound, Row, bound_at, linearised, slices
from mpnas.cost.program import Program
from mpnas.space import Assignment, Space

ATTEMPTS = 12
# Slopes come in float32 (switching JAX to 64 bits for a moment spoils its caches of indexing), and the
# solver takes 1e-6 for nothing. Both are caught by the exact costs of each solution.
FLOAT32_ERROR = 5e-7
SOLVER_TOLERANCE = 2e-6


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
        bounds = {cost.name: self._bounds(cost, caps, point) for cost in self.costs}
        for _ in range(ATTEMPTS):
            x = self._best([(b, allowed[name]) for name, found in bounds.items() for b in found], caps)
            if x is None:
                return None
            assignment = self._assignment(x)
            exact = measure(self.costs, self.space, assignment)
            over = [cost for cost in self.costs if exact[cost.name] > self.limits[cost.name]]
            if not over:
                return assignment
            for cost in over:
                if cost.combine == "max":
                    bounds[cost.name] += self._bounds(cost, caps, x)
                else:
                    # Rounding, or a cost that is not quite linear: cut this solution off, and as much again.
                    excess = exact[cost.name] / self.limits[cost.name] - 1
                    believed = bound_at(bounds[cost.name][0], x)
                    allowed[cost.name] = min(allowed[cost.name], believed) - max(excess, SOLVER_TOLERANCE)
        return None

    @cached_property
    def _slices(self) -> dict[str, slice]:
        return slices(self.space)

    def _assignment(self, x: np.ndarray) -> Assignment:
        return self.space.from_indices(
            {s: np.argmax(x[part].reshape(self.scores[s].shape), axis=1) for s, part in self._slices.items()}
        )

    def _bounds(self, cost: Cost, caps: Mapping[str, int], point: np.ndarray) -> list[Bound]:
        shares = {group: cap / self.space.work.groups[group].size for group, cap in caps.items()}
        return linearised(self.space, cost, self.limits[cost.name], shares, point)

    def _best(self, bounds: Sequence[tuple[Bound, float]], caps: Mapping[str, int]) -> np.ndarray | None:
        """The best flat gates under `bound <= share` for each `(bound, share)`, or None."""
        wanted = np.concatenate([scores.ravel() for scores in self.scores.values()])
        program = Program(len(wanted))
        self._add_structure(program, caps)
        for bound, share in bounds:
            self._add_bound(program, bound, share)
        return program.solve(wanted)

    def _add_bound(self, program: Program, bound: Bound, share: float) -> None:
        total = np.zeros(program.gates)
        others: dict[int, float] = {}
        for part in bound:
            if len(part) == 1:
                total = total + part[0].linear
                others |= self._product_variables(program, part[0])
                share -= part[0].constant
                continue
            above = program.variable()
            others[above] = 1.0
            for row in part:
                variables = self._product_variables(program, row) | {above: -1.0}
                program.add_line(row.linear, variables, -np.inf, -row.constant)
        program.add_line(total, others, -np.inf, share)

    def _product_variables(self, program: Program, row: Row) -> dict[int, float]:
        """A variable that is at least each product of the row, with the coefficient 1."""
        variables = [program.variable() for _ in row.products]
        for variable, product in zip(variables, row.products, strict=True):
            blocks = [product.form[p].reshape(self.scores[s].shape) for s, p in self._slices.items()]
            smallest = sum(block.min(axis=1).sum() for block in blocks)
            largest = sum(block.max(axis=1).sum() for block in blocks)
            step = np.zeros(program.gates)
            step[product.gates] = 1
            program.add_line(-product.form - largest * step, {variable: 1.0}, -largest, np.inf)
            program.add_line(-smallest * step, {variable: 1.0}, 0, np.inf)
        return dict.fromkeys(variables, 1.0)

    def _add_structure(self, program: Program, caps: Mapping[str, int]) -> None:
        """One candidate per decision; per group at least one decision and at most `cap` channels stay."""
        for site, part in self._slices.items():
            decisions, candidates = self.scores[site].shape
            picks = sparse.csr_array(np.kron(np.eye(decisions), np.ones((1, candidates))))
            before = sparse.csr_array((decisions, part.start))
            after = sparse.csr_array((decisions, program.gates - part.stop))
            program.add(sparse.hstack([before, picks, after]), 1, 1)
        for group, site in self.space.remover.items():
            decisions, candidates = self.scores[site].shape
            sizes = np.bincount(self.space.channel_decision[site], minlength=decisions)
            # One of those that the least width reaches, so that whatever the width something is left.
            reached = np.arange(decisions) < self.space.reach[group]
            removed = np.zeros((2, program.gates))
            removed[:, self._slices[site]][:, ::candidates] = reached, sizes
            program.add(removed[:1], -np.inf, reached.sum() - 1)
            program.add(removed[1:], sizes.sum() - caps[group], np.inf)
        for group, site in self.space.width_site.items():
            counts = np.asarray(self.space.choices[site].bits)
            line = np.zeros((1, program.gates))
            line[0, self._slices[site]] = counts
            program.add(line, -np.inf, max(caps[group], int(counts[0])))
