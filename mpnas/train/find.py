"""Finding an assignment with any controller: by gradients, by asking, or from one look at the network.

The one place that knows the three kinds: relaxations are trained (`search`), proposers ask the network
with the weights that it has (`propose`), scorers measure once and leave the rest to the exact repair.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal

import numpy as np

from mpnas.control import Proposer, Relaxation, Scorer
from mpnas.cost import COSTS, Budget, Cost, refuse_impossible, repair, spend
from mpnas.data import Dataset
from mpnas.errors import ConfigError
from mpnas.supernet import Parts, Supernet
from mpnas.train.evaluate import examiner
from mpnas.train.loop import Hooks, Progress
from mpnas.train.phase import Phase
from mpnas.train.propose import decided_gap, propose
from mpnas.train.scores import scores_of
from mpnas.train.search import SEARCH_PHASE, Found, search, start_search
from mpnas.train.state import TrainState

Controller = Relaxation | Proposer | Scorer
Method = Literal["relaxation", "proposer", "scorer"]


def method_of(controller: Controller) -> Method:
    """Which of the three kinds a controller is."""
    if isinstance(controller, Relaxation):
        return "relaxation"
    return "scorer" if isinstance(controller, Scorer) else "proposer"


def length_of(controller: Controller, phase: Phase | None) -> int:
    """Steps that a search reports at most: optimizer steps, or evaluations; 1 for a scorer."""
    if isinstance(controller, Relaxation):
        return _trained(phase).steps
    return 1 if isinstance(controller, Scorer) else controller.evaluations


def find(
    net: Supernet,
    data: Dataset,
    *,
    controller: Controller,
    budget: Budget,
    parts: Parts,
    phase: Phase | None = SEARCH_PHASE,
    costs: Sequence[Cost] = COSTS,
    seed: int = 0,
    restored: Callable[[TrainState], TrainState] = lambda fresh: fresh,
    hooks: Hooks = Hooks(),
    folder: Path | None = None,
) -> Found:
    """An assignment within a budget.

    Args:
      net: The attached network.
      data: What each kind of controller sees of it is said where it is run.
      controller: How the assignment comes to be.
      budget: What must hold, exactly, of the result.
      parts: Calibrated weights and ranges to start from; only relaxations change them.
      phase: How relaxations are trained.
      costs: What can be limited, and is logged.
      seed: Of the order of the data and of the controller's randomness.
      restored: The state that a relaxation goes on from, given the one before its first step. The others
        start again: they come to the same end.
      hooks: Reports and checkpoints.
      folder: Where measured scores are kept for other budgets.

    Raises:
      BudgetError: the budget cannot be met by this space; nothing has been trained. Or no proposal met it.
      ConfigError: a relaxation without a phase.
      NonFiniteLossError: the loss is not finite.
    """
    if isinstance(controller, Relaxation):
        trained = _trained(phase)
        limits = refuse_impossible(budget, costs, net.space)
        state = restored(start_search(net, parts, controller, trained, seed, limits))
        return search(net, data, controller=controller, budget=budget, phase=trained, costs=costs, seed=seed,
                      state=state, hooks=hooks)
    if isinstance(controller, Scorer):
        return solve(net, data, scorer=controller, budget=budget, parts=parts, costs=costs, seed=seed,
                     hooks=hooks, folder=folder)
    return propose(net, data, proposer=controller, budget=budget, parts=parts, costs=costs, seed=seed,
                   hooks=hooks, folder=folder)


def solve(
    net: Supernet,
    data: Dataset,
    *,
    scorer: Scorer,
    budget: Budget,
    parts: Parts,
    costs: Sequence[Cost] = COSTS,
    seed: int = 0,
    hooks: Hooks = Hooks(),
    folder: Path | None = None,
) -> Found:
    """The assignment that the scores prefer most among those within a budget.

    Where no channel can be removed it is the best there is, within the solver's relative gap. Arguments
    and errors are those of `find`.
    """
    limits = refuse_impossible(budget, costs, net.space)
    scores = scores_of(scorer, net, parts, data, seed=seed, folder=folder)
    preference = {site: np.asarray(p) for site, p in scorer.preference(scores).items()}
    assignment = repair(net.space, costs, limits, preference)
    if net.space.remover:
        # Elsewhere the repair is exact, and spending more would only lower the preference.
        assignment = spend(net.space, costs, limits, preference, assignment)
    metrics = examiner(net, parts, data, "select")(assignment)
    if hooks.report is not None:
        hooks.report(Progress("search", 1, 1, metrics["loss"], metrics["accuracy"], None, assignment))
    return Found(assignment, parts, limits, decided_gap(net, costs, assignment, metrics["accuracy"]))


def _trained(phase: Phase | None) -> Phase:
    if phase is None or phase.arch is None:
        raise ConfigError(
            "a relaxation is searched by training its logits, but the search phase has no 'arch' optimizer. "
            "Add arch = { lr = 0.02 } to recipe.search."
        )
    return phase
