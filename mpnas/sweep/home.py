"""The folder of a trial, held by one attempt at it: checkpoints, metrics, and the record at the end.

`trials/<id>/` holds the resolved config, the metrics as JSON lines, the checkpoints, the assignment
and, written last and atomically, `result.json`. An attempt looks before it writes whether a newer one has
taken the folder over, and then ends (fenced).
"""

import dataclasses
import json
import math
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from mpnas.errors import CheckpointError, FrontFileError, MpnasError, NonFiniteLossError, RunFolderError
from mpnas.pareto import Record
from mpnas.pareto.artifacts import digest
from mpnas.supernet import Parts
from mpnas.sweep.attempt import Fenced, claim, cut_metrics, last_seconds, newest
from mpnas.sweep.bench import bench_of
from mpnas.sweep.config import controller_of
from mpnas.sweep.folder import home_of, write_json
from mpnas.sweep.plan import Plan, TrialSpec
from mpnas.train import (
    Checkpoints,
    Hooks,
    Progress,
    Teacher,
    TrainState,
    decided_gap,
    describe_gap,
    method_of,
)
from mpnas.train.checkpoint import filled, load

REPORTS = 25  # lines of metrics per stage

Latest = tuple[int, dict[str, np.ndarray], dict[str, Any]]
Row = dict[str, Any]
Alive = Callable[[str], None]


class Home:
    """One attempt at one trial; a context manager, which holds the checkpoints open.

    Args:
      plan: The plan of the run.
      spec: The trial.
      folder: The run folder.
      report: Called with each row of metrics.
      alive: Called with where the trial is, at each row and each checkpoint.
    """

    def __init__(
        self, plan: Plan, spec: TrialSpec, folder: Path, report: Callable[[Row], None] | None,
        alive: Alive | None = None,
    ) -> None:
        self.plan, self.spec, self.folder, self.report, self.alive = plan, spec, folder, report, alive
        self.path = home_of(folder, spec.id)
        self.attempt = claim(self.path / "attempts")
        self.began, self._spent = time.time(), last_seconds(self.path / "metrics.jsonl")
        self.bench = bench_of(plan)
        self.experiment, self.data = self.bench.experiment, self.bench.data
        write_json(self.path / "config.json", {"trial": dataclasses.asdict(spec), "experiment": plan.table})

    def __enter__(self) -> "Home":
        self.checkpoints = Checkpoints(self.path / "checkpoint").__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        self.checkpoints.__exit__(*error)

    def fence(self) -> None:
        """Raise Fenced if a newer attempt has started: nothing may be written any more."""
        if newest(self.path / "attempts") != self.attempt:
            raise Fenced(
                f"trial '{self.spec.id}': a newer attempt than {self.attempt} has started; this one ends."
            )

    @property
    def controller(self) -> Any:
        """The controller of a search; None for baselines."""
        number = self.spec.controller
        return None if number is None else controller_of(self.experiment.controllers[number])[1]

    @property
    def offset(self) -> int:
        """The step at which retraining begins to count, behind the search; baselines leave it free."""
        phase = self.experiment.recipe.search
        if self.spec.kind == "search":
            return self.plan.search_steps(self.spec)
        return 0 if phase is None else phase.steps

    def teacher(self) -> Teacher:
        """The float network that this trial starts from.

        Raises:
          RunFolderError: it has no result, or failed.
          CheckpointError: its weights are lost.
        """
        needed = self.spec.needs
        path = home_of(self.folder, str(needed))
        if not (path / "result.json").exists():
            raise RunFolderError(
                f"trial '{self.spec.id}' starts from '{needed}', which has no result in {self.folder}. "
                "Run that trial first: mpnas resume."
            )
        if (float_record := read_record(path / "result.json")).status != "done":
            raise RunFolderError(
                f"trial '{self.spec.id}' starts from '{needed}', which failed: {float_record.reason}"
            )
        try:
            _, arrays, meta = load(path / "checkpoint")
            if meta["stage"] != "final":
                raise CheckpointError(f"the trained weights in {path} are damaged.")
        except CheckpointError as error:
            raise CheckpointError(
                f"the float network of seed {self.spec.seed} is lost: {error} Delete {path / 'result.json'} "
                "and run it again: mpnas resume."
            ) from error
        return Teacher(self.bench.plain, filled(self.bench.plain.parts, arrays, path))

    # Checkpoints and metrics ------------------------------------------------------------------

    def latest(self) -> Latest | None:
        """Step, arrays and meta of the newest sound checkpoint; the meta tells its `stage`."""
        return self.checkpoints.latest()

    def restored(self, stage: str, fresh: TrainState) -> TrainState:
        """The newest checkpoint of this stage, or the fresh state; metrics are cut back to it."""
        found = self.latest()
        self.cut(found[0] if found else 0)
        if found is None or found[2]["stage"] != stage:
            return fresh
        return filled(fresh, found[1], self.path)

    def cut(self, step: int) -> None:
        """Drop the rows of metrics after a step."""
        cut_metrics(self.path / "metrics.jsonl", step)

    @property
    def seconds(self) -> float:
        """Wall-clock seconds of this attempt, and of earlier ones up to their last rows."""
        return round(self._spent + time.time() - self.began, 3)

    def hooks(
        self,
        stage: str,
        offset: int,
        steps: int,
        *,
        controller: Any = None,
        carried: Mapping[str, Any] | None = None,
    ) -> Hooks:
        """What a phase calls: rows of metrics and checkpoints.

        Args:
          stage: As the rows and the meta of the checkpoints name it.
          offset: Steps of the stages before it.
          steps: Its own.
          controller: Of a relaxation, whose rows tell expected and discrete costs.
          carried: Into the meta of every checkpoint.
        """
        every = max(1, math.ceil(steps / REPORTS))

        def on_report(progress: Progress) -> None:
            self.fence()
            row = {
                "stage": stage,
                "step": offset + progress.step,
                "stage_step": progress.step,
                "stage_steps": progress.steps,
                "loss": progress.loss,
                f"{'train' if progress.state is not None else 'select'}_accuracy": progress.accuracy,
                "seconds": self.seconds,
            }
            if progress.assignment is not None:
                row |= decided_gap(self.bench.net, self.bench.costs, progress.assignment)
            elif controller is not None and progress.state is not None:
                row |= describe_gap(self.bench.net, progress.state, controller, self.bench.costs)
            with open(self.path / "metrics.jsonl", "a", encoding="utf-8") as file:
                file.write(json.dumps(row, sort_keys=True) + "\n")
            seen(offset + progress.step)
            if self.report is not None:
                self.report(row)

        def on_checkpoint(state: TrainState) -> None:
            self.fence()
            self.checkpoints.save(offset + int(state.step), state, {"stage": stage, **(carried or {})})
            seen(offset + int(state.step))

        def seen(step: int) -> None:
            if self.alive is not None:
                self.alive(f"step {step} ({stage})")

        return Hooks(on_report, every, on_checkpoint, self.experiment.checkpoint_every)

    def save_final(self, parts: Parts, step: int, carried: Mapping[str, Any] | None) -> None:
        """The parts alone under one more step: what the record points to."""
        self.fence()
        self.checkpoints.save(step + 1, parts, {"stage": "final", **(carried or {})})

    # Records ----------------------------------------------------------------------------------

    def record(
        self, status: Any, stage: Any, metrics: dict[str, float], costs: dict[str, float], **more: Any
    ) -> Record:
        """A record of this trial; `more` are further fields of it."""
        spec, name = self.spec, None
        if spec.controller is not None:
            name, controller = controller_of(self.experiment.controllers[spec.controller])
            more["method"] = method_of(controller)
        artifacts = {}
        if status == "done":
            checkpoint = self.path / "checkpoint"
            artifacts = {"checkpoint": str(checkpoint.relative_to(self.folder)), "sha256": digest(checkpoint)}
        more.setdefault("limits", {})
        return Record(
            trial=spec.id, kind=spec.kind, controller=name, seed=spec.seed,  # type: ignore[arg-type]
            budget=dict(spec.budget), status=status, stage=stage, metrics=metrics, costs=costs,
            artifacts=artifacts, seconds={"total": self.seconds},
            ended_utc=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), **more,
        )

    def failed(self, error: MpnasError) -> Record:
        """The record of a trial that ended in an error that another attempt would meet again."""
        where = {error.stage: error.step} if isinstance(error, NonFiniteLossError) else {}
        return self.record("failed", "reference" if self.spec.kind == "float" else "searched", {}, {},
                           reason=str(error), steps=where)

    def finish(self, record: Record) -> Record:
        """Write `result.json`: the trial is over."""
        self.fence()
        write_json(self.path / "result.json", record.to_json())
        return record


def read_record(result: Path) -> Record:
    """The record in a `result.json`.

    Raises:
      RunFolderError: the file is damaged.
    """
    try:
        return Record.from_json(json.loads(result.read_text(encoding="utf-8")))
    except (ValueError, RecursionError, FrontFileError) as damage:
        raise RunFolderError(f"{result} is damaged: {damage}. Delete it and run: mpnas resume.") from damage
