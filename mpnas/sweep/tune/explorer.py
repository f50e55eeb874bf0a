"""The searcher that proposes budgets: Optuna's multi-objective sampler, through Ray Tune's class for it.

Optuna remembers nothing from one proposal to the next. Each proposal comes from a new study that is told
every outcome in the run folder, with a seed of its own number, so that a sweep that is interrupted goes on
as if it had not been; with one trial at a time it proposes the very same budgets.
"""

import dataclasses
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from ray.tune.search import Searcher

from mpnas.errors import ConfigError
from mpnas.sweep.explore import Explore
from mpnas.sweep.folder import home_of, number_in, read_json
from mpnas.sweep.plan import Plan, propose

STARTUP = 4  # outcomes before the sampler models them; Optuna's 10 would leave short sweeps to chance
TRIES = 50  # of the sampler to suggest a budget that is new, then draws at random
DRAWS = 1000


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What one budget has given.

    Attributes:
      budget: Limits by cost, within the ranges that are explored.
      found: Accuracy, and the costs that are limited, in their order; None without a sound result.
      over: Whether the search is over.
    """

    budget: dict[str, float]
    found: tuple[float, ...] | None
    over: bool


class Explorer(Searcher):
    """Hands Tune the pending proposals, then new ones, each written to the run folder before it starts.

    Args:
      folder: The run folder.
      plan: Its plan, with `explore`.
      pending: Ids of proposals without a result.
    """

    def __init__(self, folder: Path, plan: Plan, pending: Sequence[str]) -> None:
        super().__init__()
        self._folder, self._plan, self._pending = folder, plan, list(pending)

    def suggest(self, trial_id: str) -> Any:
        """The config of the next trial; `FINISHED` when all budgets are proposed.

        Raises:
          ConfigError: the ranges hold no budget that is new.
        """
        if self._pending:
            return {"trials": (self._pending.pop(0),)}
        if self._plan.unproposed <= 0 or not self._can_start():
            return Searcher.FINISHED
        self._plan = propose(self._folder, self._plan, next_budget(self._folder, self._plan))
        return {"trials": (self._plan.proposals[-1].id,)}

    def _can_start(self) -> bool:
        """Whether the float network is there: without it every proposal would be a failure."""
        explore = self._plan.experiment.explore
        assert explore is not None
        needed = str(self._plan.proposal(explore.middle()).needs)
        return (read_json(home_of(self._folder, needed) / "result.json") or {}).get("status") == "done"

    def on_trial_complete(self, trial_id: str, result: Any = None, error: bool = False) -> None:
        """Nothing to note: outcomes are read from the folders."""

    def save(self, checkpoint_path: str) -> None:
        """Nothing to save: `proposed.json` and the folders hold everything."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing to restore."""


def outcomes_of(folder: Path, plan: Plan) -> list[Outcome]:
    """What the searches within the explored ranges have given, listed and proposed ones, in their order."""
    explore = plan.experiment.explore
    assert explore is not None
    number, found = plan.experiment.explorer(explore), []
    for spec in plan.trials:
        budget = explore.within(spec.budget) if spec.controller == number else None
        if budget is None:
            continue
        result = read_json(home_of(folder, spec.id) / "result.json")
        values = [number_in(result, "metrics", "accuracy")]
        values += [number_in(result, "costs", cost) for cost in explore.budgets]
        sound = tuple(float(value) for value in values if value is not None)
        found.append(Outcome(budget, sound if len(sound) == len(values) else None, result is not None))
    return found


def next_budget(folder: Path, plan: Plan) -> dict[str, float]:
    """A budget within the ranges that no trial of the plan has.

    Raises:
      ConfigError: none was found.
    """
    explore = plan.experiment.explore
    assert explore is not None
    outcomes, taken = outcomes_of(folder, plan), {spec.id for spec in plan.trials}
    for attempt in range(TRIES + DRAWS):
        seed = np.random.SeedSequence([explore.seed, plan.proposed, attempt])
        drawn = suggested(explore, outcomes, seed) if attempt < TRIES else _drawn(explore, seed)
        budget = explore.rounded(drawn)
        if plan.proposal(budget).id not in taken:
            return budget
    raise ConfigError(
        f"explore.budgets {explore.budgets} hold no budget beside the {len(outcomes)} that are there. Start "
        "anew with wider ranges, or fewer trials."
    )


def suggested(
    explore: Explore, outcomes: Sequence[Outcome], seed: np.random.SeedSequence
) -> dict[str, float]:
    """Optuna's suggestion after some outcomes, evenly likely in the logarithm where it knows nothing."""
    import optuna
    from ray.tune.search.optuna import OptunaSearch

    distributions: dict[str, Any] = {
        cost: optuna.distributions.FloatDistribution(low, high, log=True)
        for cost, (low, high) in explore.budgets.items()
    }
    sampler = optuna.samplers.TPESampler(
        seed=int(seed.generate_state(1)[0]),
        n_startup_trials=STARTUP,
        multivariate=False,
        constant_liar=True,  # keeps away from budgets whose searches still run
    )
    objectives = {"accuracy": "max"} | dict.fromkeys(explore.budgets, "min")
    shown = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        search = OptunaSearch(
            distributions, metric=list(objectives), mode=list(objectives.values()), sampler=sampler,
            # Its add_evaluated_point takes one objective only, so what is known is suggested once more.
            points_to_evaluate=[outcome.budget for outcome in outcomes],
        )
    finally:
        optuna.logging.set_verbosity(shown)
    for number, outcome in enumerate(outcomes):
        search.suggest(str(number))
        if outcome.over:
            result = None if outcome.found is None else dict(zip(objectives, outcome.found, strict=True))
            search.on_trial_complete(str(number), result, error=result is None)
    return dict(search.suggest("next") or {})


def _drawn(explore: Explore, seed: np.random.SeedSequence) -> dict[str, float]:
    rng = np.random.default_rng(seed)
    return {
        cost: math.exp(rng.uniform(math.log(low), math.log(high)))
        for cost, (low, high) in explore.budgets.items()
    }
