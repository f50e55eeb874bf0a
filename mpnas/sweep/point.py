"""One point of a finished run, found by its id and held against its file.

A point is an assignment and a checkpoint. Both come from `front.json`, which may be a stranger's, so
the checkpoint is looked for inside the run folder only, and the assignment must be one of the space.
Training it again is in `retraining.py`.
"""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from mpnas.cost import measure, measure_priced
from mpnas.errors import CheckpointError, ConfigError, FrontFileError
from mpnas.pareto.artifacts import digest, inside
from mpnas.space import Assignment
from mpnas.supernet import Parts, Supernet, attach
from mpnas.sweep.bench import Bench, bench_of
from mpnas.sweep.config import Experiment
from mpnas.sweep.named import data_of, load_weights, model_of
from mpnas.sweep.plan import Plan, load_plan
from mpnas.train import accuracy, one_hot_gates
from mpnas.train.checkpoint import filled, load

Part = Literal["train", "select", "test"]
METRIC_OF: dict[Part, str] = {"select": "accuracy", "test": "test_accuracy"}
SAME_RATE = 1e-3
"""How far a rate that is measured again may be, beside one input: simulation sums in float32, which another
processor does in another order."""

Point = dict[str, Any]


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
      rows: Of that part.
    """

    point: Point
    costs: dict[str, float]
    part: Part
    metric: str | None
    accuracy: float
    rows: int

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
            if said is None or abs(said - self.accuracy) > SAME_RATE + 1 / self.rows:
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
    return measure_rebuilt(rebuilt_point(folder, front, point_id), part)


def measure_rebuilt(found: "Rebuilt", part: Part = "test") -> Measured:
    """Measure the network of a point again."""
    bench, net, gates = found.bench, found.net, dict[str, Any]()
    if found.assignment is not None:
        gates = one_hot_gates(net, found.assignment)
        costs = measure(bench.costs, net.space, found.assignment)
    else:
        costs = measure_priced(bench.costs, net.space, net.space.uniform(None))
    measured = accuracy(net, found.parts, gates, bench.data, part)
    return Measured(found.point, costs, part, METRIC_OF.get(part), measured, bench.data.rows(part))


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
      CheckpointError: the checkpoint cannot be read, is not the one that was recorded, or is of another
        network.
    """
    plan = plan_of_front(folder, front)
    point, bench = point_of(front, point_id), bench_of(plan)
    if "checkpoint" not in point["artifacts"]:
        raise FrontFileError(
            f"'{point_id}' names no checkpoint, so there are no weights to measure. Retrain it."
        )
    home = inside(folder, point["artifacts"]["checkpoint"])
    refuse_other(home, point["artifacts"].get("sha256"))
    _, arrays, _ = load(home)
    net, assignment = bench.plain, None
    if point["assignment"]:
        net, assignment = bench.net, Assignment.from_json(point["assignment"])
        net.space.check(assignment)
    return Rebuilt(point, bench, net, filled(net.parts, arrays, home), assignment)


def refuse_other(checkpoint: Path, sha256: str | None) -> None:
    """Refuse a checkpoint that is not the one whose digest was recorded: its numbers would be other ones.

    Raises:
      CheckpointError: it is another one.
    """
    if sha256 is not None and checkpoint.is_dir() and (found := digest(checkpoint)) != sha256:
        raise CheckpointError(
            f"{checkpoint} is not the checkpoint that was recorded: its SHA-256 is {found[:12]}..., not "
            f"{sha256[:12]}.... Put it back, or train again."
        )


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


def plan_of_front(folder: Path, front: Mapping[str, Any]) -> Plan:
    """The plan of the run that a front is of.

    Raises:
      FrontFileError: the folder holds another plan.
    """
    plan = load_plan(folder)
    if front["run"]["config_sha256"] != plan.digest:
        raise FrontFileError(
            f"the front is not of the plan in {folder}, so its points cannot be rebuilt there. "
            "Write it again from its trials: mpnas resume."
        )
    return plan
