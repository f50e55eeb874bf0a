"""Searching without gradients: a proposer asks, the network answers with the weights that it has.

Assignments are measured discretised and not retrained, on the selection part of the data; the best one
within the limits, by its loss, is found. Accuracies tie where losses do not. Nothing but the memory of
the proposer changes on the way, so a search that starts again with the same seed asks the same.
"""

import functools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mpnas.control import Measuring, Proposer
from mpnas.cost import COSTS, Budget, Cost, measure, refuse_impossible, satisfied
from mpnas.data import Dataset
from mpnas.errors import BudgetError
from mpnas.space import Assignment
from mpnas.supernet import Parts, Supernet
from mpnas.train.evaluate import examiner
from mpnas.train.loop import Hooks, Progress
from mpnas.train.scores import scores_of
from mpnas.train.search import Found
from mpnas.train.step import limited

PROPOSE_SEED = 0xA5C  # apart from the randomness of references that share a trial's seed


def propose(
    net: Supernet,
    data: Dataset,
    *,
    proposer: Proposer,
    budget: Budget,
    parts: Parts,
    costs: Sequence[Cost] = COSTS,
    seed: int = 0,
    hooks: Hooks = Hooks(),
    folder: Path | None = None,
) -> Found:
    """The best of the assignments that a proposer asks about.

    Args:
      net: The attached network.
      data: Its selection part answers; scores, if the proposer wants any, come from its training part.
      proposer: Who asks.
      budget: What must hold, exactly, of the result.
      parts: Calibrated weights and ranges; they stay as they are.
      costs: What can be limited, and is logged.
      seed: Of the proposer's randomness.
      hooks: Reports; an evaluation is a step. There are no checkpoints: a search starts again.
      folder: Where scores are kept, if any are measured.

    Raises:
      BudgetError: the budget cannot be met by this space, or no proposal met it.
    """
    limits = refuse_impossible(budget, costs, net.space)
    scores = None
    if isinstance(proposer, Measuring):
        scores = scores_of(proposer, net, parts, data, seed=seed, folder=folder)
    price = functools.partial(measure, limited(costs, limits), net.space)
    examine, rng = examiner(net, parts, data, "select"), np.random.default_rng([PROPOSE_SEED, seed])
    memory, best, told = proposer.init(net.space, scores), _Best(hooks, proposer.evaluations), 0
    while told < proposer.evaluations:
        asked = proposer.ask(memory, net.space, rng, 1, price, limits)
        if not asked:
            break
        metrics = examine(asked[0])
        memory = proposer.tell(memory, [(asked[0], metrics)])
        told += 1
        best.hear(told, asked[0], metrics, feasible=satisfied(price(asked[0]), limits))
    if best.assignment is None:
        raise BudgetError(
            f"none of the {told} proposals of {type(proposer).__name__} met the budget "
            f"{', '.join(f'{name} <= {limit:,.6g}' for name, limit in limits.items())}. "
            "Give the controller more evaluations, or raise the budget."
        )
    best.end(told)
    return Found(best.assignment, parts, limits, decided_gap(net, costs, best.assignment, best.accuracy))


def decided_gap(
    net: Supernet, costs: Sequence[Cost], assignment: Assignment, accuracy: float | None = None
) -> dict[str, Any]:
    """The discretisation gap of a search among assignments: there is none, soft and hard are the same.

    Args:
      net: The attached network.
      costs: What is counted.
      assignment: What was found.
      accuracy: Its accuracy on the selection part, in [0, 1], where it was measured.
    """
    found = measure(costs, net.space, assignment)
    gap = {
        "expected_costs": found, "discrete_costs": found, "mean_choice_entropy": 0.0,
        "undecided_fraction": 0.0,
    }
    return gap if accuracy is None else gap | {"soft_metric": accuracy, "hard_metric": accuracy}


class _Best:
    """The best assignment within the limits so far, and reports of it.

    Args:
      hooks: Who is told, and how often.
      evaluations: How many there will be at most.
    """

    def __init__(self, hooks: Hooks, evaluations: int) -> None:
        self._hooks, self._evaluations = hooks, evaluations
        self._reported = 0
        self.assignment: Assignment | None = None
        self.loss, self.accuracy = np.inf, 0.0

    def hear(self, step: int, assignment: Assignment, metrics: Mapping[str, float], feasible: bool) -> None:
        """Keep an assignment if it is the best within the limits; report where a report is due."""
        # The first is kept whatever its loss, also where that is not a number.
        if feasible and (self.assignment is None or metrics["loss"] < self.loss):
            self.assignment, self.loss, self.accuracy = assignment, metrics["loss"], metrics["accuracy"]
        if step % self._hooks.every == 0:
            self._report(step, self._evaluations, metrics)

    def end(self, step: int) -> None:
        """Report the end, unless it just was."""
        if self._reported < step:
            self._report(step, step, {})

    def _report(self, step: int, steps: int, metrics: Mapping[str, float]) -> None:
        self._reported = step
        if self._hooks.report is None:
            return
        loss, accuracy = self.loss, self.accuracy
        if self.assignment is None:
            loss, accuracy = metrics["loss"], metrics["accuracy"]
        self._hooks.report(Progress("search", step, steps, float(loss), accuracy, None, self.assignment))
