"""Asynchronous successive halving over the searches of a wave, and the record of those that it stops.

Ray's scheduler decides; here it is given scores instead of bare rows, and what it knew is told to it again
after a restart: it keeps nothing on disk, the rows of the trials do.
"""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ray.tune.schedulers import ASHAScheduler
from ray.tune.utils.util import unflatten_dict

from mpnas.pareto import Record
from mpnas.sweep.config import controller_of
from mpnas.sweep.early import reason_of, score_of
from mpnas.sweep.folder import has_result, home_of, write_json
from mpnas.sweep.plan import Plan, TrialSpec
from mpnas.sweep.tune.waves import Wave
from mpnas.sweep.watch import rows_of
from mpnas.train import method_of

PERCENT = 100


@dataclasses.dataclass(frozen=True)
class _Past:
    """A trial of an earlier Tune run, as much of it as the scheduler looks at."""

    trial_id: str


class Halving(ASHAScheduler):
    """ASHA on the scores of searches under one budget, looked at after shares of their steps.

    A search that is stopped gets its record here and not in its worker, which the stop takes by surprise;
    an interrupt of the sweep does not come this way, and leaves none. The worker waits for the decision in
    its report, so it writes nothing meanwhile.

    Args:
      folder: The run folder.
      plan: Its plan, with `early_stopping`.
      wave: The searches; rows of its peers from earlier runs are taken into account.
      limits: Cost name -> largest amount allowed, of the budget that they share.
    """

    def __init__(self, folder: Path, plan: Plan, wave: Wave, limits: Mapping[str, float]) -> None:
        early = plan.experiment.early_stopping
        assert early is not None
        super().__init__(
            time_attr="percent", metric="score", mode="max", max_t=PERCENT,
            grace_period=PERCENT * early.grace,  # type: ignore[arg-type]
            reduction_factor=early.reduction,
            # A search at its last step is done, not stopped.
            stop_last_trials=False,
        )
        self._folder, self._plan, self._early, self._limits = folder, plan, early, dict(limits)
        running = {spec.id for spec in wave.trials}
        for spec in wave.peers:
            if spec.id not in running:
                past = _Past(spec.id)
                super().on_trial_add(None, past)  # type: ignore[arg-type]
                self._remember(past, spec)

    def on_trial_add(self, tune_controller: Any, trial: Any) -> None:
        """A search enters, perhaps in the middle: looks at its earlier rows have been."""
        super().on_trial_add(tune_controller, trial)
        self._remember(trial, self._spec(trial))

    def on_trial_result(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> str:
        """Ray's decision on a row of metrics; a search that it stops gets its record."""
        spec = self._spec(trial)
        look = self._look(spec, unflatten_dict(result))
        decision = self.CONTINUE if look is None else super().on_trial_result(tune_controller, trial, look)
        if decision == self.STOP and not has_result(self._folder, spec.id):
            assert look is not None
            reason = reason_of(result["step"], self._steps(spec), look["score"], self._early.reduction)
            record = stopped_record(self._plan, spec, self._limits, reason)
            write_json(home_of(self._folder, spec.id) / "result.json", record.to_json())
        return decision

    def _spec(self, trial: Any) -> TrialSpec:
        """The search that a trial of Tune runs; those that are compared run one by one."""
        (name,) = trial.config["trials"]
        return self._plan.trial(name)

    def _remember(self, trial: Any, spec: TrialSpec) -> None:
        """Tell the scheduler the rows of earlier attempts; what it decides of them is history."""
        for row in rows_of(home_of(self._folder, spec.id) / "metrics.jsonl"):
            if (look := self._look(spec, row)) is not None:
                super().on_trial_result(None, trial, look)  # type: ignore[arg-type]

    def _look(self, spec: TrialSpec, row: Mapping[str, Any]) -> dict[str, float] | None:
        """What the scheduler sees of a row; None for the last one, and for what is no row of metrics."""
        steps = self._steps(spec)
        try:
            if not 0 < row["step"] < steps:
                return None
            score = score_of(row, self._limits, self._early.penalty)
            return {"percent": PERCENT * row["step"] / steps, "score": score}
        except (KeyError, TypeError, AttributeError):
            return None

    def _steps(self, spec: TrialSpec) -> int:
        return sum(self._plan.stages(spec).values())


def stopped_record(plan: Plan, spec: TrialSpec, limits: Mapping[str, float], reason: str) -> Record:
    """The record of a search that was stopped: failed, so that it stands among the rejected."""
    assert spec.controller is not None
    name, controller = controller_of(plan.experiment.controllers[spec.controller])
    return Record(
        trial=spec.id, kind="search", controller=name, method=method_of(controller), seed=spec.seed,
        budget=dict(spec.budget), limits=dict(limits), status="failed", reason=reason, stage="searched",
        metrics={}, costs={},
    )
