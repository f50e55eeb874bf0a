"""One trial as a plain function that owns its folder: run it again and it goes on where it stopped.

`trials/<id>/` holds the resolved config, the metrics as JSON lines, the checkpoints, the assignment
and, written last and atomically, `result.json`. Nothing here knows who calls it: Ray, a test, or a
person. A trial that another attempt has taken over stops at its next report or checkpoint (fenced).
"""

import dataclasses
import functools
import hashlib
import json
import math
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from mpnas.control import Proposer, Random, Uniform
from mpnas.cost import Budget, Cost, measure, measure_priced, refuse_impossible, satisfied
from mpnas.data import Dataset
from mpnas.errors import (
    BudgetError,
    CheckpointError,
    FrontFileError,
    MpnasError,
    NonFiniteLossError,
    RunFolderError,
)
from mpnas.pareto import Record
from mpnas.pareto.artifacts import digest
from mpnas.space import Assignment
from mpnas.supernet import Parts, Supernet, attach
from mpnas.sweep.attempt import Fenced, claim, cut_metrics, newest
from mpnas.sweep.config import Experiment, controller_of, read_experiment, rules_of
from mpnas.sweep.costs import check_costs, costs_of
from mpnas.sweep.folder import write_json
from mpnas.sweep.named import data_of, load_weights, model_of, refuse_outputs
from mpnas.sweep.plan import Plan, TrialSpec, load_plan
from mpnas.train import (
    Checkpoints,
    Hooks,
    Progress,
    Teacher,
    TrainState,
    accuracy,
    calibrate,
    decided_gap,
    describe_gap,
    find,
    method_of,
    one_hot_gates,
    retrain,
    run_phase,
    start,
    with_float_parts,
)
from mpnas.train.checkpoint import filled, load

REPORTS = 25  # lines of metrics per stage
SCORES = "scores"  # of every trial of a run, as budgets share them


@dataclasses.dataclass(frozen=True, eq=False)
class Bench:
    """What all trials of a plan share in one process: data, structures, compiled steps.

    Attributes:
      experiment: What is run.
      data: Its data.
      plain: The float network without choices, with the weights of seed 0.
      net: The attached network.
      costs: What is counted, and can be limited.
    """

    experiment: Experiment
    data: Dataset
    plain: Supernet
    net: Supernet
    costs: tuple[Cost, ...]


def bench_of(plan: Plan) -> Bench:
    """The bench of a plan, made once per process.

    Raises:
      MpnasError: the model, the data or the space is not what it should be.
    """
    return _bench(plan.digest, json.dumps(plan.table, sort_keys=True), plan.data_dir)


@functools.lru_cache(maxsize=2)
def _bench(digest: str, table: str, data_dir: str | None) -> Bench:
    experiment = read_experiment(json.loads(table), "the plan")
    data = data_of(experiment, Path(data_dir) if data_dir else None)
    model = model_of(experiment, 0)
    net = attach(model, data.example(), rules_of(experiment), input_low=data.input_low)
    plain = attach(model, data.example(), [])
    refuse_outputs(plain, data)
    costs = costs_of(experiment)
    check_costs(costs, net.space)
    return Bench(experiment, data, plain, net, costs)


def run_trial(
    folder: Path, trial_id: str, *, report: Callable[[dict[str, Any]], None] | None = None
) -> Record:
    """Run a trial to its end, from wherever an earlier attempt left it.

    Args:
      folder: The run folder; it holds `plan.json`.
      trial_id: A trial of that plan.
      report: Called with each row of metrics.

    Returns:
      Its record, also in `result.json`: status `failed` with the reason for a loss that is not finite
      or a budget that cannot be met.

    Raises:
      RunFolderError: no plan there, no such trial, a damaged result, or the trial that it needs has no
        result.
      CheckpointError: the float network that it starts from is lost.
      Fenced: a newer attempt of the same trial has started.
    """
    plan = load_plan(folder)
    spec = plan.trial(trial_id)
    home = folder / "trials" / trial_id
    done = home / "result.json"
    if done.exists():
        return _read(done)
    run = _Run(plan, spec, folder, home, report)
    try:
        record = run.record()
    except (NonFiniteLossError, BudgetError) as error:
        record = run.failed(error)
    run.fence()
    write_json(done, record.to_json())
    return record


def _read(result: Path) -> Record:
    try:
        return Record.from_json(json.loads(result.read_text(encoding="utf-8")))
    except (ValueError, RecursionError, FrontFileError) as damage:
        raise RunFolderError(f"{result} is damaged: {damage}. Delete it and run: mpnas resume.") from damage


class _Run:
    """One attempt at one trial."""

    def __init__(
        self,
        plan: Plan,
        spec: TrialSpec,
        folder: Path,
        home: Path,
        report: Callable[[dict[str, Any]], None] | None,
    ) -> None:
        self.plan, self.spec, self.folder, self.home = plan, spec, folder, home
        self.report = report
        self.attempt = claim(home / "attempts")
        self.began = time.time()
        self.bench = bench_of(plan)
        self.experiment = self.bench.experiment
        self.data = self.bench.data
        write_json(home / "config.json", {"trial": dataclasses.asdict(spec), "experiment": plan.table})

    def fence(self) -> None:
        """Raise Fenced if a newer attempt has started: nothing may be written any more."""
        if newest(self.home / "attempts") != self.attempt:
            raise Fenced(
                f"trial '{self.spec.id}': a newer attempt than {self.attempt} has started; this one ends."
            )

    def record(self) -> Record:
        """Run what is left, and tell what came out."""
        with Checkpoints(self.home / "checkpoint") as checkpoints:
            self.checkpoints = checkpoints
            return self._float() if self.spec.kind == "float" else self._searched()

    def failed(self, error: MpnasError) -> Record:
        """The record of a trial that ended in an error that another attempt would meet again."""
        where = {error.stage: error.step} if isinstance(error, NonFiniteLossError) else {}
        return self._record("failed", "reference" if self.spec.kind == "float" else "searched", {}, {},
                            reason=str(error), steps=where)

    # Stages -----------------------------------------------------------------------------------

    def _float(self) -> Record:
        bench, phase = self.bench, self.experiment.recipe.float
        steps = {} if phase is None or self.experiment.weights is not None else {"float": phase.steps}
        model = model_of(self.experiment, self.spec.seed)
        if self.experiment.weights is not None:
            load_weights(model, self.experiment, self.plan.data_dir)
        parts = attach(model, self.data.example(), []).parts
        found = self._latest()
        if found is not None and found[2]["stage"] == "final":
            parts = filled(parts, found[1], self.home)
        elif phase is not None and self.experiment.weights is None:
            state = self._restored("float", start(parts, None, phase, self.spec.seed))
            state = run_phase("float", bench.plain, state, self.data, phase, seed=self.spec.seed,
                              hooks=self._hooks("float", 0, phase.steps))
            parts = state.parts
        if found is None or found[2]["stage"] != "final":
            self._save_final(parts, sum(steps.values()), None)
        costs = measure_priced(bench.costs, bench.plain.space, bench.plain.space.uniform(None))
        return self._record("done", "reference", self._metrics(bench.plain, parts, {}), costs, steps=steps)

    def _searched(self) -> Record:
        teacher = self._teacher()
        net, recipe = self.bench.net, self.experiment.recipe
        float_parts = calibrate(net, with_float_parts(net, teacher), self.data)
        found = self._latest()
        meta = found[2] if found else {}
        if meta.get("stage") == "final":
            assignment, gap = Assignment.from_json(meta["assignment"]), meta["gap"]
            assert found is not None
            return self._result(assignment, filled(float_parts, found[1], self.home), gap, meta["limits"])
        if meta.get("stage") in {"found", "retrain"}:
            assignment, gap, limits = Assignment.from_json(meta["assignment"]), meta["gap"], meta["limits"]
            origin = float_parts
        else:
            assignment, gap, limits, origin = self._assignment(float_parts)
        offset = self._offset
        write_json(self.home / "assignment.json", assignment.to_json())
        carried = {"assignment": assignment.to_json(), "gap": gap, "limits": limits}
        state = self._restored("retrain", start(origin, None, recipe.retrain, self.spec.seed))
        parts = retrain(
            net, assignment, self.data, parts=origin, teacher=teacher, phase=recipe.retrain,
            seed=self.spec.seed, state=state,
            hooks=self._hooks("retrain", offset, recipe.retrain.steps, carried=carried),
        )
        self._save_final(parts, offset + recipe.retrain.steps, carried)
        return self._result(assignment, parts, gap, limits)

    def _assignment(self, float_parts: Parts) -> tuple[Assignment, dict[str, Any], dict[str, float], Parts]:
        """The assignment of this trial, its gap and limits, and the parts that retraining starts from."""
        net, spec = self.bench.net, self.spec
        budget = Budget(spec.budget)
        limits = refuse_impossible(budget, self.bench.costs, net.space)
        if spec.kind != "search":
            proposer: Proposer = Uniform(spec.bits or 8) if spec.kind == "uniform" else Random()
            rng = np.random.default_rng([0xACE, spec.seed, *_salt(spec.id)])
            price = functools.partial(measure, [c for c in self.bench.costs if c.name in limits], net.space)
            memory = proposer.init(net.space)
            return proposer.ask(memory, net.space, rng, 1, price, limits)[0], {}, limits, float_parts
        controller, steps = self._controller, self.plan.search_steps(spec)
        tries = method_of(controller) != "relaxation"
        if tries:
            # Where nothing is trained there are no checkpoints on the way: the search starts again.
            cut_metrics(self.home / "metrics.jsonl", 0)
        found = find(
            net, self.data, controller=controller, budget=budget, parts=float_parts,
            phase=self.experiment.recipe.search, costs=self.bench.costs, seed=spec.seed,
            restored=lambda fresh: self._restored("search", fresh),
            hooks=self._hooks("search", 0, steps, controller=controller), folder=self.folder / SCORES,
        )
        if tries:
            self.fence()
            meta = {"assignment": found.assignment.to_json(), "gap": found.gap, "limits": limits}
            self.checkpoints.save(steps, {"found": np.ones(1)}, {"stage": "found", **meta})
        begins = float_parts if self.experiment.recipe.start == "float" else found.parts
        return found.assignment, dict(found.gap), limits, begins

    @property
    def _controller(self) -> Any:
        """The controller of a search; None for baselines."""
        number = self.spec.controller
        return None if number is None else controller_of(self.experiment.controllers[number])[1]

    def _teacher(self) -> Teacher:
        needed = self.spec.needs
        home = self.folder / "trials" / str(needed)
        if not (home / "result.json").exists():
            raise RunFolderError(
                f"trial '{self.spec.id}' starts from '{needed}', which has no result in {self.folder}. "
                "Run that trial first: mpnas resume."
            )
        if (float_record := _read(home / "result.json")).status != "done":
            raise RunFolderError(
                f"trial '{self.spec.id}' starts from '{needed}', which failed: {float_record.reason}"
            )
        try:
            _, arrays, meta = load(home / "checkpoint")
            if meta["stage"] != "final":
                raise CheckpointError(f"the trained weights in {home} are damaged.")
        except CheckpointError as error:
            raise CheckpointError(
                f"the float network of seed {self.spec.seed} is lost: {error} Delete {home / 'result.json'} "
                "and run it again: mpnas resume."
            ) from error
        return Teacher(self.bench.plain, filled(self.bench.plain.parts, arrays, home))

    # Checkpoints and metrics ------------------------------------------------------------------

    def _latest(self) -> tuple[int, dict[str, np.ndarray], dict[str, Any]] | None:
        return self.checkpoints.latest()

    @property
    def _offset(self) -> int:
        """The step at which retraining begins to count, behind the search; baselines leave it free."""
        phase = self.experiment.recipe.search
        if self.spec.kind == "search":
            return self.plan.search_steps(self.spec)
        return 0 if phase is None else phase.steps

    def _restored(self, stage: str, fresh: TrainState) -> TrainState:
        """The newest checkpoint of this stage, or the fresh state; metrics are cut back to it."""
        found = self._latest()
        kept = found[0] if found else 0
        cut_metrics(self.home / "metrics.jsonl", kept)
        if found is None or found[2]["stage"] != stage:
            return fresh
        return filled(fresh, found[1], self.home)

    def _hooks(
        self,
        stage: str,
        offset: int,
        steps: int,
        *,
        controller: Any = None,
        carried: Mapping[str, Any] | None = None,
    ) -> Hooks:
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
                "seconds": round(time.time() - self.began, 3),
            }
            if progress.assignment is not None:
                row |= decided_gap(self.bench.net, self.bench.costs, progress.assignment)
            elif controller is not None and progress.state is not None:
                row |= describe_gap(self.bench.net, progress.state, controller, self.bench.costs)
            with open(self.home / "metrics.jsonl", "a", encoding="utf-8") as file:
                file.write(json.dumps(row, sort_keys=True) + "\n")
            if self.report is not None:
                self.report(row)

        def on_checkpoint(state: TrainState) -> None:
            self.fence()
            self.checkpoints.save(offset + int(state.step), state, {"stage": stage, **(carried or {})})

        return Hooks(on_report, every, on_checkpoint, self.experiment.checkpoint_every)

    def _save_final(self, parts: Parts, step: int, carried: Mapping[str, Any] | None) -> None:
        """The parts alone under one more step: what the record points to."""
        self.fence()
        self.checkpoints.save(step + 1, parts, {"stage": "final", **(carried or {})})

    # Records ----------------------------------------------------------------------------------

    def _metrics(self, net: Supernet, parts: Parts, gates: Mapping[str, Any]) -> dict[str, float]:
        return {
            "accuracy": accuracy(net, parts, gates, self.data, "select"),
            "test_accuracy": accuracy(net, parts, gates, self.data, "test"),
        }

    def _result(
        self, assignment: Assignment, parts: Parts, gap: dict[str, Any], limits: dict[str, float]
    ) -> Record:
        net, recipe = self.bench.net, self.experiment.recipe
        costs = measure(self.bench.costs, net.space, assignment)
        assert satisfied(costs, limits), "an assignment left the repair over its limits"
        steps = {"retrain": recipe.retrain.steps}
        if self.spec.kind == "search":
            trained = method_of(self._controller) == "relaxation"
            steps["search" if trained else "evaluations"] = self._offset
        metrics = self._metrics(net, parts, one_hot_gates(net, assignment))
        return self._record("done", "retrained", metrics, costs, assignment=assignment.to_json(), gap=gap,
                            limits=limits, steps=steps)

    def _record(self, status: Any, stage: Any, metrics: dict[str, float], costs: dict[str, float],
                **more: Any) -> Record:
        spec, name = self.spec, None
        if spec.controller is not None:
            name, controller = controller_of(self.experiment.controllers[spec.controller])
            more["method"] = method_of(controller)
        artifacts = {}
        if status == "done":
            checkpoint = self.home / "checkpoint"
            artifacts = {"checkpoint": str(checkpoint.relative_to(self.folder)), "sha256": digest(checkpoint)}
        more.setdefault("limits", {})
        return Record(
            trial=spec.id, kind=spec.kind, controller=name, seed=spec.seed,  # type: ignore[arg-type]
            budget=dict(spec.budget), status=status, stage=stage, metrics=metrics, costs=costs,
            artifacts=artifacts, seconds={"total": round(time.time() - self.began, 3)},
            ended_utc=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), **more,
        )


def _salt(text: str) -> list[int]:
    """Numbers of an id, so that trials of one seed draw different assignments."""
    return list(hashlib.sha256(text.encode()).digest()[:8])
