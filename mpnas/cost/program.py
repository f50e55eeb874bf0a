"""Integer linear programs, put together block by block and solved by SciPy's HiGHS."""

import contextlib
import ctypes
import os
import sys
from collections.abc import Iterator
from typing import Any

import numpy as np
from scipy import sparse
from scipy.optimize import Bounds, LinearConstraint, milp

# Nodes instead of seconds, so that the answer does not depend on the speed of the machine.
SOLVER_OPTIONS = {"node_limit": 4000, "mip_rel_gap": 1e-4}


class Program:
    """The inequalities of one program.

    Args:
      gates: Number of variables that are 0 or 1; those that follow are any real.
    """

    def __init__(self, gates: int) -> None:
        self.gates = self.variables = gates
        self._blocks: list[Any] = []
        self._least: list[np.ndarray] = []
        self._most: list[np.ndarray] = []

    def variable(self) -> int:
        """A new real variable, by its column."""
        self.variables += 1
        return self.variables - 1

    def add(self, lines: Any, least: float, most: float) -> None:
        """`least <= lines @ variables <= most` for every line; missing columns are 0."""
        self._blocks.append(sparse.csr_array(lines))
        self._least.append(np.full(lines.shape[0], least))
        self._most.append(np.full(lines.shape[0], most))

    def add_line(self, gates: np.ndarray, others: dict[int, float], least: float, most: float) -> None:
        """`least <= gates . x + others <= most` for the coefficients of all gates and of some reals."""
        line = np.zeros((1, self.variables))
        line[0, : self.gates] = gates
        for column, coefficient in others.items():
            line[0, column] = coefficient
        self.add(line, least, most)

    def solve(self, wanted: np.ndarray) -> np.ndarray | None:
        """The gates, 0 or 1, with the largest `wanted . gates`; None if no solution was found."""
        for block in self._blocks:
            block.resize((block.shape[0], self.variables))
        matrix = sparse.vstack(self._blocks, format="csr")
        counts = [self.gates, self.variables - self.gates]
        with _without_chatter():
            result = milp(
                np.concatenate([-wanted, np.zeros(counts[1])]),
                constraints=LinearConstraint(matrix, np.concatenate(self._least), np.concatenate(self._most)),
                integrality=np.repeat([1, 0], counts),
                bounds=Bounds(np.repeat([0, -np.inf], counts), np.repeat([1, np.inf], counts)),
                options=SOLVER_OPTIONS,
            )
        return None if result.x is None else np.asarray(result.x[: self.gates])


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
