"""A point of a finished run, trained again: by a named recipe, with several seeds, against no distillation.

`retrained/<point>[-<recipe>]/` holds `result.json`, and per seed a folder with its checkpoint; where keys
are overridden or a teacher is named, a digest of both follows, so that no call takes the place of another
one. The same call replaces its earlier result when the new one is whole. Until then everything is in a
folder beside it, so that a call that was stopped is gone on with. One process at a time works on each.
"""

import contextlib
import dataclasses
import hashlib
import json
import math
import os
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from mpnas.cost import measure
from mpnas.errors import ConfigError, FrontFileError, nearest
from mpnas.pareto import Record
from mpnas.pareto.artifacts import digest
from mpnas.pareto.summary import stat
from mpnas.space import Assignment
from mpnas.supernet import Parts, attach
from mpnas.sweep.bench import Bench, bench_of
from mpnas.sweep.config import read_experiment
from mpnas.sweep.folder import HELD, RETRAINED, UNFINISHED, write_json
from mpnas.sweep.hold import held
from mpnas.sweep.home import REPORTS
from mpnas.sweep.made_from import made_from, refuse_changed
from mpnas.sweep.named import model_of
from mpnas.sweep.plan import Plan
from mpnas.sweep.point import METRIC_OF, Point, ids_of, plan_of_front, point_of
from mpnas.sweep.table import override
from mpnas.sweep.teaching import FLOAT, teacher_named
from mpnas.train import (
    PLAIN,
    UNTAUGHT,
    Checkpoints,
    Hooks,
    Phase,
    Progress,
    Recipe,
    Teacher,
    accuracy,
    calibrate,
    one_hot_gates,
    recipe_named,
    retrain,
    start,
    with_float_parts,
)
from mpnas.train.checkpoint import filled, load

SCHEMA = "mpnas.retrained/1"
RETRAIN_KEYS = "recipe.retrain."
TAUGHT, PLAINLY, BINNED = "", "plain-", "bins-"  # before the names of folders and stages

Report = Callable[[dict[str, Any]], None]


@dataclasses.dataclass(frozen=True)
class Retrained:
    """What training a point again gave.

    Attributes:
      point: As in the front, before.
      records: The same network after, one record per seed.
      plain: The same without teacher and bins, one per seed; empty unless they were asked for.
      binned: The same without teacher, its bins kept; empty too unless there are both.
      folder: Where result and checkpoints are.
      document: What `result.json` says.
    """

    point: Point
    records: tuple[Record, ...]
    plain: tuple[Record, ...]
    binned: tuple[Record, ...]
    folder: Path
    document: dict[str, Any]

    @property
    def record(self) -> Record:
        """That of the first seed."""
        return self.records[0]


@dataclasses.dataclass(frozen=True, eq=False)
class _Job:
    """What all trainings of a call share."""

    bench: Bench
    point: Point
    assignment: Assignment
    floats: Teacher
    teacher: Teacher
    recipe: Recipe
    report: Report | None


def retrain_point(
    folder: Path,
    front: Mapping[str, Any],
    point_id: str,
    overrides: Sequence[str] = (),
    *,
    recipe: str | None = None,
    seeds: int = 1,
    teacher: str = FLOAT,
    compare: bool = False,
    report: Report | None = None,
) -> Retrained:
    """Train the assignment of a point again.

    With the recipe of the run the numbers of the run come out again, unless its retraining started from
    the weights of the search, which are not kept.

    Args:
      folder: The run folder.
      front: Its front.
      point_id: Of a point, or of a reference that has an assignment.
      overrides: `recipe.retrain.key=value` texts; they win over the recipe.
      recipe: One of `RECIPES`; None for that of the run.
      seeds: How many, counted on from that of the point; >= 1. All start from the float network of the
        point's seed, unless the recipe draws fresh weights.
      teacher: `float`, a checkpoint folder, or `module:callable`; see `teaching.py`.
      compare: Whether to train without teacher and bins as well, with the same seeds, and where there are
        both also with the bins alone, so that the gain of the teacher is told.
      report: Called with each row of metrics.

    Raises:
      FrontFileError: no such point, one without an assignment, or a front of another run.
      ConfigError: an unknown recipe, an override of something else than the retraining, a teacher that
        nobody listens to, or a comparison of plain with plain.
      SearchSpaceError: the assignment is not one of this network.
      RunFolderError: another process is at it, or model or data have changed since the run.
      NonFiniteLossError: the loss is not finite.
    """
    plan, point = plan_of_front(folder, front), _trainable(front, point_id)
    way = Recipe() if recipe is None else recipe_named(recipe)
    table = _table_of(plan, recipe, way, overrides)
    phase = read_experiment(table, "the experiment with --set").recipe.retrain
    _refuse(phase, seeds, teacher, compare)
    job = _job(plan, folder, point, phase, way, teacher, report)
    refuse_changed(folder, plan, made_from(plan, job.bench))
    told = {
        "point": point_id, "trial": point["trial"], "assignment": point["assignment"],
        "recipe": recipe, "phase": table["recipe"]["retrain"], "start": way.start,
        "teacher": teacher if phase.taught else None,
        "teacher_sha256": digest(Path(teacher)) if phase.taught and Path(teacher).is_dir() else None,
    }
    name = point_id if recipe is None else f"{point_id}-{recipe}"
    if overrides or teacher != FLOAT:
        own = json.dumps([told["phase"], teacher], sort_keys=True).encode()
        name += f"-{hashlib.sha256(own).hexdigest()[:8]}"
    numbers = range(int(point["seed"]), int(point["seed"]) + seeds)
    variants = _variants(phase, compare)
    with _workplace(folder, name, told) as work:
        began, home = time.time(), folder / RETRAINED / name
        runs: dict[str, tuple[Record, ...]] = {TAUGHT: (), PLAINLY: (), BINNED: ()}
        for number in numbers:
            for prefix, variant in variants.items():
                place = f"{prefix}seed{number}"
                stage = "retrain" if seeds == 1 and not compare else f"{prefix}seed {number}"
                record = _one(job, variant, number, work / place, (home / place).relative_to(folder), stage)
                runs[prefix] += (record,)
        document = told | _summary(point, runs[TAUGHT], runs[PLAINLY], runs[BINNED])
        document["seconds"] = round(time.time() - began, 3)
        write_json(work / "result.json", document)
        _put_in_place(work, home, {f"{prefix}seed{r.seed}" for prefix in runs for r in runs[prefix]})
    return Retrained(point, runs[TAUGHT], runs[PLAINLY], runs[BINNED], home, document)


def _variants(phase: Phase, compare: bool) -> dict[str, Phase]:
    """Phases to train with each seed, by what their folders begin with."""
    found = {TAUGHT: phase}
    if compare:
        found[PLAINLY] = dataclasses.replace(phase, **PLAIN)
        if phase.taught and phase.bins:
            found[BINNED] = dataclasses.replace(phase, **UNTAUGHT)
    return found


def _trainable(front: Mapping[str, Any], point_id: str) -> Point:
    """The point with this id, if it has an assignment."""
    point = point_of(front, point_id)
    if not point["assignment"]:
        raise FrontFileError(
            f"'{point_id}' is the float network, which has no assignment to train; "
            f"the front has {ids_of(front)}."
        )
    return point


def _job(
    plan: Plan, folder: Path, point: Point, phase: Phase, way: Recipe, teacher: str, report: Report | None
) -> _Job:
    bench, assignment = bench_of(plan), Assignment.from_json(point["assignment"])
    bench.net.space.check(assignment)
    floats = _float_network(folder, bench, int(point["seed"]))
    teaching = teacher_named(teacher, bench, floats, int(point["seed"])) if phase.taught else floats
    return _Job(bench, point, assignment, floats, teaching, way, report)


def _table_of(
    plan: Plan, name: str | None, recipe: Recipe, overrides: Sequence[str]
) -> dict[str, Any]:
    """The experiment of a plan with the recipe and the overrides in its retraining."""
    table = json.loads(json.dumps(plan.table))
    if name is not None:
        table["recipe"]["retrain"] |= recipe.changes
    for text in overrides:
        if not text.strip().startswith(RETRAIN_KEYS):
            raise ConfigError(
                f"--set {text!r} does not change how a point is retrained; keys here begin with "
                f"'{RETRAIN_KEYS}', such as {RETRAIN_KEYS}steps=2000."
            )
        override(table, text)
    return table


def _refuse(phase: Phase, seeds: int, teacher: str, compare: bool) -> None:
    if seeds < 1:
        raise ConfigError(f"--seeds must be >= 1, got {seeds}.")
    if teacher != FLOAT and not phase.taught:
        raise ConfigError(
            f"--teacher {teacher} is given, but no term of this retraining looks at a teacher (distill = 0, "
            "features = 0). Add --recipe distil, sdq or one-to-one."
        )
    if compare and not (phase.taught or phase.bins):
        raise ConfigError(
            "--compare trains without teacher and bins as well, but this retraining has neither. "
            "Add --recipe distil, sdq or one-to-one."
        )


@contextlib.contextmanager
def _workplace(folder: Path, name: str, told: Mapping[str, Any]) -> Iterator[Path]:
    """The folder of an unfinished retraining, held; what an earlier call left there, if it was told the same.

    Raises:
      RunFolderError: another process is at it.
    """
    # The lock is not in the folder itself, which moves when it is whole.
    lock = folder / RETRAINED / HELD / name
    lock.mkdir(parents=True, exist_ok=True)
    with held(lock, f"'{name}' is being retrained by another process. Wait until it ends."):
        work = folder / RETRAINED / f"{name}{UNFINISHED}"
        try:
            same = json.loads((work / "config.json").read_text(encoding="utf-8")) == told
        except (OSError, ValueError):
            same = False
        if not same:
            shutil.rmtree(work, ignore_errors=True)
            work.mkdir(parents=True)
            write_json(work / "config.json", dict(told))
        yield work


def _put_in_place(work: Path, home: Path, wanted: set[str]) -> None:
    """Replace the earlier result; seeds that only an earlier, unfinished call asked for are dropped."""
    for path in work.iterdir():
        if path.is_dir() and path.name not in wanted:
            shutil.rmtree(path)
    earlier = home.with_name(f"{home.name}.earlier{UNFINISHED}")
    if home.exists():
        os.replace(home, earlier)  # a call that is killed here leaves both, whole
    os.replace(work, home)
    shutil.rmtree(earlier, ignore_errors=True)


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


def _one(job: _Job, phase: Phase, seed: int, work: Path, place: Path, stage: str) -> Record:
    """Train with one seed, and measure."""
    began, bench, point = time.time(), job.bench, job.point
    parts = _trained(job, phase, seed, work / "checkpoint", stage)
    gates = one_hot_gates(bench.net, job.assignment)
    return Record(
        trial=f"{point['trial']}-retrained", kind=point["kind"], controller=point["controller"],
        seed=seed, budget=point["budget"], limits=point["limits"], status="done", stage="retrained",
        metrics={
            name: accuracy(bench.net, parts, gates, bench.data, part)
            for part, name in METRIC_OF.items()
        },
        costs=measure(bench.costs, bench.net.space, job.assignment),
        assignment=job.assignment.to_json(),
        seconds={"total": round(time.time() - began, 3)},
        steps={"retrain": phase.steps},
        artifacts={"checkpoint": (place / "checkpoint").as_posix(), "sha256": digest(work / "checkpoint")},
    )


def _trained(job: _Job, phase: Phase, seed: int, folder: Path, stage: str) -> Parts:
    began, bench = time.time(), job.bench
    origin = _origin(job, seed)
    state = start(origin, None, phase, seed)

    def on_report(progress: Progress) -> None:
        if job.report is not None:
            job.report({
                "stage": stage, "stage_step": progress.step, "stage_steps": progress.steps,
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
        parts = retrain(bench.net, job.assignment, bench.data, parts=origin, teacher=job.teacher, phase=phase,
                        seed=seed, state=state, hooks=hooks)
        checkpoints.save(phase.steps + 1, parts, {"stage": "final", "assignment": job.assignment.to_json()})
    return parts


def _origin(job: _Job, seed: int) -> Parts:
    """Where the weights start, their ranges calibrated."""
    bench, source = job.bench, job.floats
    if job.recipe.start == "fresh":
        drawn = attach(model_of(bench.experiment, seed), bench.data.example(), [])
        source = Teacher(bench.plain, drawn.parts)
    return calibrate(bench.net, with_float_parts(bench.net, source), bench.data)


# The result ------------------------------------------------------------------------------------


def _summary(
    point: Point, records: Sequence[Record], plain: Sequence[Record], binned: Sequence[Record]
) -> dict[str, Any]:
    """Mean and spread over the seeds, and the gains over those without teacher, seed by seed."""
    return {
        "schema": SCHEMA,
        "seeds": [record.seed for record in records],
        "before": point["metrics"],
        "metrics": _metrics_of(records),
        "costs": records[0].costs,
        "plain": _metrics_of(plain),
        "gain": _gains_of(records, plain),
        "bins": _metrics_of(binned),
        "gain_over_bins": _gains_of(records, binned),
        "records": [record.to_json() for record in records],
        "plain_records": [record.to_json() for record in plain],
        "bins_records": [record.to_json() for record in binned],
    }


def _gains_of(records: Sequence[Record], others: Sequence[Record]) -> dict[str, Any] | None:
    return {name: gain_of(records, others, name) for name in METRIC_OF.values()} if others else None


def _metrics_of(records: Sequence[Record]) -> dict[str, Any] | None:
    if not records:
        return None
    return {name: stat([record.metrics[name] for record in records]) for name in METRIC_OF.values()}


def gain_of(records: Sequence[Record], plain: Sequence[Record], metric: str) -> dict[str, Any]:
    """Mean difference of a metric between pairs of one seed, and its standard error.

    Returns:
      `mean`, `stderr` (the sample deviation of the differences over the root of their number; None for one
      pair), `n` and `values`.
    """
    pairs = zip(records, plain, strict=True)
    found = stat([one.metrics[metric] - other.metrics[metric] for one, other in pairs])
    stderr = None if found["std"] is None else found["std"] / math.sqrt(found["n"])
    return {"mean": found["mean"], "stderr": stderr, "n": found["n"], "values": found["values"]}
