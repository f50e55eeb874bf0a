"""One point of a finished run, taken up again: trained anew, or held against its file.

A point is an assignment and a checkpoint. Both come from `front.json`, which may be a stranger's, so
the checkpoint is looked for inside the run folder only, and the assignment must be one of the space.
"""

import dataclasses
import json
import os
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from mpnas.cost import measure, measure_priced
from mpnas.errors import ConfigError, FrontFileError, nearest
from mpnas.pareto import Record
from mpnas.pareto.artifacts import digest, inside
from mpnas.space import Assignment
from mpnas.supernet import Parts, Supernet, attach
from mpnas.sweep.config import Experiment, read_experiment
from mpnas.sweep.folder import write_json
from mpnas.sweep.named import data_of, load_weights, model_of
from mpnas.sweep.plan import Plan, load_plan
from mpnas.sweep.table import override
from mpnas.sweep.trial import REPORTS, Bench, bench_of
from mpnas.train import (
    Checkpoints,
    Hooks,
    Phase,
    Progress,
    Teacher,
    accuracy,
    calibrate,
    one_hot_gates,
    retrain,
    start,
    with_float_parts,
)
from mpnas.train.checkpoint import filled, load

Part = Literal["train", "select", "test"]
METRIC_OF: dict[Part, str] = {"select": "accuracy", "test": "test_accuracy"}
RETRAIN_KEYS = "recipe.retrain."
SAME = 1e-6  # a metric that is measured again may differ by this much

Point = dict[str, Any]
Report = Callable[[dict[str, Any]], None]


def point_of(front: Mapping[str, Any], point_id: str) -> Point:
    """The point or reference with this id.

    Raises:
      FrontFileError: there is none; names those that exist.
    """
    known = {one["id"]: one for one in [*front["points"], *front["references"]]}
    if point_id not in known:
        raise FrontFileError(f"the front has no point '{point_id}'; it has {ids_of(front)}.")
    return known[point_id]


def ids_of(front: Mapping[str, Any]) -> str:
    """The ids of a front for a sentence: `points p000, p001; references r000`."""
    parts = [
        f"{name} {', '.join(one['id'] for one in front[name])}"
        for name in ("points", "references") if front[name]
    ]
    return "; ".join(parts) or "no points at all"


# Training again --------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Retrained:
    """What training a point again gave.

    Attributes:
      point: As in the front, before.
      record: The same network after.
      folder: Where its result and checkpoint are.
    """

    point: Point
    record: Record
    folder: Path


def retrain_point(
    folder: Path,
    front: Mapping[str, Any],
    point_id: str,
    overrides: Sequence[str] = (),
    *,
    report: Report | None = None,
) -> Retrained:
    """Train the assignment of a point again, from the float network of its seed.

    The result replaces that of an earlier call only when it is whole; a call that was stopped is gone
    on with if its recipe is the same. With the recipe of the run the numbers of the run come out
    again, unless its retraining started from the weights of the search, which are not kept.

    Args:
      folder: The run folder.
      front: Its front.
      point_id: Of a point, or of a reference that has an assignment.
      overrides: `recipe.retrain.key=value` texts.
      report: Called with each row of metrics.

    Raises:
      FrontFileError: no such point, one without an assignment, or a front of another run.
      ConfigError: an override of something else than the retraining.
      NonFiniteLossError: the loss is not finite.
    """
    plan = _plan_of(folder, front)
    point = point_of(front, point_id)
    if not point["assignment"]:
        raise FrontFileError(
            f"'{point_id}' is the float network, which has no assignment to train; "
            f"the front has {ids_of(front)}."
        )
    table = _with_overrides(plan, overrides)
    phase = read_experiment(table, "the experiment with --set").recipe.retrain
    bench, assignment = bench_of(plan), Assignment.from_json(point["assignment"])
    bench.net.space.check(assignment)
    teacher = _float_network(folder, bench, int(point["seed"]))
    home, began = folder / "retrained" / point_id, time.time()
    work = _workplace(home, {"point": point_id, "trial": point["trial"], "assignment": point["assignment"],
                             "recipe": table["recipe"]["retrain"]})
    parts = _trained(bench, assignment, teacher, phase, int(point["seed"]), work / "checkpoint", report)
    gates = one_hot_gates(bench.net, assignment)
    record = Record(
        trial=f"{point['trial']}-retrained", kind=point["kind"], controller=point["controller"],
        seed=point["seed"], budget=point["budget"], limits=point["limits"], status="done", stage="retrained",
        metrics={
            name: accuracy(bench.net, parts, gates, bench.data, part)
            for part, name in METRIC_OF.items()
        },
        costs=measure(bench.costs, bench.net.space, assignment),
        assignment=assignment.to_json(),
        seconds={"total": round(time.time() - began, 3)},
        steps={"retrain": phase.steps},
        artifacts={
            "checkpoint": (home / "checkpoint").relative_to(folder).as_posix(),
            "sha256": digest(work / "checkpoint"),
        },
    )
    write_json(work / "result.json", record.to_json())
    if home.exists():
        shutil.rmtree(home)
    os.replace(work, home)
    return Retrained(point, record, home)


def _with_overrides(plan: Plan, overrides: Sequence[str]) -> dict[str, Any]:
    table = json.loads(json.dumps(plan.table))
    for text in overrides:
        if not text.strip().startswith(RETRAIN_KEYS):
            raise ConfigError(
                f"--set {text!r} does not change how a point is retrained; keys here begin with "
                f"'{RETRAIN_KEYS}', such as {RETRAIN_KEYS}steps=2000."
            )
        override(table, text)
    return table


def _workplace(home: Path, recipe: dict[str, Any]) -> Path:
    """The folder of an unfinished retraining: the one that is there if it has the same recipe."""
    work = home.with_name(f"{home.name}.unfinished")
    try:
        same = json.loads((work / "config.json").read_text(encoding="utf-8")) == recipe
    except (OSError, ValueError):
        same = False
    if not same:
        shutil.rmtree(work, ignore_errors=True)
        work.mkdir(parents=True)
        write_json(work / "config.json", recipe)
    return work


def _trained(
    bench: Bench,
    assignment: Assignment,
    teacher: Teacher,
    phase: Phase,
    seed: int,
    folder: Path,
    report: Report | None,
) -> Parts:
    began = time.time()
    origin = calibrate(bench.net, with_float_parts(bench.net, teacher), bench.data)
    state = start(origin, None, phase, seed)

    def on_report(progress: Progress) -> None:
        if report is not None:
            report({
                "stage": progress.stage, "stage_step": progress.step, "stage_steps": progress.steps,
                "loss": progress.loss, "train_accuracy": progress.accuracy,
                "seconds": round(time.time() - began, 3),
            })

    with Checkpoints(folder) as checkpoints:
        found = checkpoints.latest()
        if found is not None and found[2]["stage"] == "final":
            return filled(origin, found[1], folder)
        if found is not None:
            state = filled(state, found[1], folder)
        hooks = Hooks(
            on_report, max(1, -(-phase.steps // REPORTS)),
            lambda state: checkpoints.save(int(state.step), state, {"stage": "retrain"}),
            bench.experiment.checkpoint_every,
        )
        parts = retrain(bench.net, assignment, bench.data, parts=origin, teacher=teacher, phase=phase,
                        seed=seed, state=state, hooks=hooks)
        checkpoints.save(phase.steps + 1, parts, {"stage": "final", "assignment": assignment.to_json()})
    return parts


# Measuring again --------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Measured:
    """A point measured again, beside what the front says.

    Attributes:
      point: As in the front.
      costs: Recomputed exactly from the assignment.
      part: The part of the data that was used.
      metric: Its name in the front; None for a part that the front says nothing about.
      accuracy: On that part, in [0, 1].
    """

    point: Point
    costs: dict[str, float]
    part: Part
    metric: str | None
    accuracy: float

    @property
    def differences(self) -> list[str]:
        """What does not agree with the front, one sentence each; empty if all does."""
        written = self.point["costs"]
        found = [
            f"{name} is {self.costs.get(name)}, the front says {written.get(name)}."
            for name in sorted(self.costs.keys() | written.keys())
            if self.costs.get(name) != written.get(name)
        ]
        if self.metric is not None:
            said = self.point["metrics"].get(self.metric, {}).get("mean")
            if said is None or abs(said - self.accuracy) > SAME:
                found.append(f"{self.metric} is {self.accuracy:.8g}, the front says {said}.")
        return found


def measure_point(folder: Path, front: Mapping[str, Any], point_id: str, part: Part = "test") -> Measured:
    """Rebuild the network of a point from its checkpoint and assignment, and measure everything again.

    Args:
      folder: The run folder.
      front: Its front.
      point_id: Of a point or reference.
      part: The part of the data to measure accuracy on.

    Raises:
      FrontFileError: no such point, no checkpoint in the run folder, or a front of another run.
      CheckpointError: the checkpoint cannot be read, or is of another network.
    """
    found = rebuilt_point(folder, front, point_id)
    bench, net, gates = found.bench, found.net, dict[str, Any]()
    if found.assignment is not None:
        gates = one_hot_gates(net, found.assignment)
        costs = measure(bench.costs, net.space, found.assignment)
    else:
        costs = measure_priced(bench.costs, net.space, net.space.uniform(None))
    measured = accuracy(net, found.parts, gates, bench.data, part)
    return Measured(found.point, costs, part, METRIC_OF.get(part), measured)


@dataclasses.dataclass(frozen=True)
class Rebuilt:
    """The network of a point.

    Attributes:
      point: As in the front.
      bench: Data and networks of its run.
      net: The attached network; the plain one for the float reference.
      parts: Its trained arrays.
      assignment: Its bits; None for the float reference.
    """

    point: Point
    bench: Bench
    net: Supernet
    parts: Parts
    assignment: Assignment | None


def rebuilt_point(folder: Path, front: Mapping[str, Any], point_id: str) -> Rebuilt:
    """The network of a point from its checkpoint and assignment.

    Raises:
      FrontFileError: no such point, no checkpoint in the run folder, or a front of another run.
      CheckpointError: the checkpoint cannot be read, or is of another network.
    """
    plan = _plan_of(folder, front)
    point, bench = point_of(front, point_id), bench_of(plan)
    if "checkpoint" not in point["artifacts"]:
        raise FrontFileError(
            f"'{point_id}' names no checkpoint, so there are no weights to measure. Retrain it."
        )
    home = inside(folder, point["artifacts"]["checkpoint"])
    _, arrays, _ = load(home)
    net, assignment = bench.plain, None
    if point["assignment"]:
        net, assignment = bench.net, Assignment.from_json(point["assignment"])
        net.space.check(assignment)
    return Rebuilt(point, bench, net, filled(net.parts, arrays, home), assignment)


@dataclasses.dataclass(frozen=True)
class FloatAccuracy:
    """Accuracy in [0, 1] of an experiment's trained float weights, and the rows it was measured on."""

    accuracy: float
    rows: int


def float_accuracy(experiment: Experiment, data_dir: str | None, part: Part = "test") -> FloatAccuracy:
    """Accuracy of the float weights that an experiment names.

    Raises:
      ConfigError: the experiment names no weights.
      RunFolderError, DataError: the weights or the data are not what they should be.
    """
    model = float_model(experiment, data_dir)
    data = data_of(experiment, Path(data_dir) if data_dir else None)
    net = attach(model, data.example(), [])
    return FloatAccuracy(accuracy(net, net.parts, {}, data, part), data.rows(part))


def float_model(experiment: Experiment, data_dir: str | None) -> Any:
    """The float network of an experiment with its trained weights in place.

    Raises:
      ConfigError: the experiment names no weights.
      RunFolderError: they cannot be found, or cannot be loaded into this network.
    """
    if experiment.weights is None:
        raise ConfigError(
            f"experiment '{experiment.name}' names no trained weights, so there is nothing to measure. Add "
            'weights = "file.npz" to it, or measure a point of a run: mpnas eval RUN --point p000.'
        )
    model = model_of(experiment, 0)
    load_weights(model, experiment, data_dir)
    return model


# The run that a point is of ---------------------------------------------------------------------


def _plan_of(folder: Path, front: Mapping[str, Any]) -> Plan:
    plan = load_plan(folder)
    if front["run"]["config_sha256"] != plan.digest:
        raise FrontFileError(
            f"the front is not of the plan in {folder}, so its points cannot be rebuilt there. "
            "Write it again from its trials: mpnas resume."
        )
    return plan


def _float_network(folder: Path, bench: Bench, seed: int) -> Teacher:
    home = folder / "trials" / f"float-s{seed}"
    if not home.is_dir():
        seeds = [name.name.removeprefix("float-s") for name in folder.glob("trials/float-s*")]
        raise FrontFileError(
            f"retraining starts from the float network of seed {seed}, which is not in {folder}; "
            f"it has seeds: {nearest(str(seed), seeds) or 'none'}. Finish the run first: mpnas resume."
        )
    _, arrays, _ = load(home / "checkpoint")
    return Teacher(bench.plain, filled(bench.plain.parts, arrays, home))
