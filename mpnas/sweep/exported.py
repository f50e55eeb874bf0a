"""A point of a finished run as a file for elsewhere: rebuilt, written in a format, held against the network.

What the file then computes is compared with the discretised network on inputs of the test part
(`mpnas.export.parity`), where there is something here that can run it. File, length, digest and parity go
into the record of the trial and into the front.
"""

import contextlib
import dataclasses
import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from mpnas.errors import CheckpointError, ConfigError, FrontFileError, RunFolderError
from mpnas.export.parity import Parity, parity_of
from mpnas.pareto.artifacts import digest, inside
from mpnas.sweep.formats import Format, Shipped, Written, options_of
from mpnas.sweep.hold import held, holder_of
from mpnas.sweep.outputs import Run, labels_of, outputs_of, simulated
from mpnas.sweep.point import Rebuilt, ids_of, point_of, rebuilt_point, refuse_other
from mpnas.sweep.recorded import (
    EXPORTS,
    is_export,
    record_export,
    record_retrained,
    recorded_digest,
    retrainings,
)
from mpnas.train import one_hot_gates
from mpnas.train.checkpoint import filled, load

COMPARED = 1000  # inputs of the test part


@dataclasses.dataclass(frozen=True, eq=False)
class Exported:
    """A point that was exported.

    Attributes:
      found: The network of the point.
      written: What is to be said of the file.
      entry: What the record and the front say of it.
      parity: How far its outputs are from the network's; None of what cannot be run.
      front: The front with the entry.
      path: The file that the entry is about.
      recorded: Whether record and front have the entry; of a retraining, its record alone.
    """

    found: Rebuilt
    written: Written
    entry: Mapping[str, Any]
    parity: Parity | None
    front: Mapping[str, Any]
    path: Path
    recorded: bool


def shipped_point(found: Rebuilt, front: Mapping[str, Any]) -> Shipped:
    """What of a point can be shipped.

    Raises:
      FrontFileError: it is the float network.
    """
    if found.assignment is None:
        raise FrontFileError(
            f"'{found.point['id']}' is the float network; it has no bits to export. The front has "
            f"{ids_of(front)}."
        )
    return Shipped(found.net, found.parts, found.assignment, found.bench.data.example())


@dataclasses.dataclass(frozen=True)
class Place:
    """Where in a run folder an export lies.

    Attributes:
      path: The file, absolute.
      checkpoint: Whose weights are exported, one of `retrainings`; None for those of the trial.
    """

    path: Path
    checkpoint: str | None = None


def place_of(
    folder: Path, front: Mapping[str, Any], point_id: str, kind: Format, out: Path | None = None,
    weights: Path | None = None,
) -> Place:
    """Where an export lies: under the name of its trial, as points change theirs, or beside a retraining.

    Args:
      folder: The run folder, absolute.
      front: Its front.
      point_id: Of a point or reference.
      kind: The format.
      out: What was asked for, absolute; a file outside is a copy of that in the run folder.
      weights: Folder of a seed under `retrained/`, or of its checkpoint, absolute.

    Raises:
      FrontFileError: no such point, or one whose trial leads out of the run folder.
      ConfigError: `out` is a file of the run and no export, or inside the run with `weights`, or these are
        of no retraining of the run.
    """
    trial, checkpoint = point_of(front, point_id)["trial"], None
    path = folder / EXPORTS / f"{trial}{kind.suffix}"
    inside(folder, f"{EXPORTS}/{trial}{kind.suffix}")
    if weights is not None:
        home = weights if weights.name == "checkpoint" else weights / "checkpoint"
        known = retrainings(folder)
        checkpoint = home.relative_to(folder).as_posix() if home.is_relative_to(folder) else ""
        if checkpoint not in known:
            raise ConfigError(
                f"{weights} is no retraining of the run {folder}; it has {', '.join(known) or 'none'}. Make "
                "one with mpnas retrain."
            )
        path = home.parents[1] / EXPORTS / f"{home.parent.name}{kind.suffix}"
    if out is None or not out.is_relative_to(folder):
        return Place(path, checkpoint)
    if checkpoint is not None and out != path:
        raise ConfigError(
            f"{out} is in the run folder, where the exports of a retraining lie in {path.parent}. Leave "
            "--out away, or name a place outside."
        )
    if out.exists() and out != path and not is_export(front, out.relative_to(folder).as_posix()):
        raise ConfigError(
            f"{out} is a file of the run and no export, so it is not replaced. Leave --out away: exports lie "
            f"in {path.parent}."
        )
    return Place(out, checkpoint)


def export_point(
    front_file: Path,
    front: Mapping[str, Any],
    point_id: str,
    kind: Format,
    out: Path | None = None,
    *,
    weights: Path | None = None,
    inputs: int | None = COMPARED,
) -> Exported:
    """Write a point as a file of a format, and its parity into record and front, each at once.

    Args:
      front_file: The front, in its run folder, absolute.
      front: What it says.
      point_id: Of a point or reference.
      kind: What to write.
      out: The file, absolute; in `exports/` of the run by default. Outside the run folder it is a copy, and
        the only file where the run folder cannot be written to; then nothing is recorded.
      weights: As for `place_of`: what is exported and compared, instead of the weights of the trial.
      inputs: How many inputs of the test part to compare on; None for all.

    Raises:
      FrontFileError: no such point, one without an assignment or a checkpoint, or a front of another run.
      CheckpointError: the checkpoint cannot be read, or is of another network.
      UnsupportedOperationError, GraphError: the format cannot hold an operation; names it.
      PackError: the network has no place in a packed file.
      ConfigError: the package of the format is not installed, or `out` is another file of the run.
      RunFolderError: a living run holds the folder.
    """
    folder = front_file.parent
    if holder_of(folder) is not None:
        raise RunFolderError(_taken(folder))
    place = place_of(folder, front, point_id, kind, out, weights)
    found, path, recorded = rebuilt_point(folder, front, point_id), place.path, True
    if place.checkpoint is not None:
        refuse_other(inside(folder, place.checkpoint), recorded_digest(folder, place.checkpoint))
        found = _with_weights(found, inside(folder, place.checkpoint))
    shipped = shipped_point(found, front)
    if out is not None and out != path and not os.access(folder, os.W_OK):
        path, recorded = out, False
    made = not path.parent.exists()
    path.parent.mkdir(exist_ok=True)
    # The suffix stays: of some formats it says which one.
    temporary = path.with_name(f".{os.getpid()}.tmp.{path.name}")
    try:
        written = kind.write(shipped, temporary)
        parity = None if written.run is None else compared(found, written.run, inputs)
        entry = _entry(kind, shipped, written, parity, temporary)
        if not recorded:
            os.replace(temporary, path)
            return Exported(found, written, entry, parity, front, path, recorded)
        entry["path"] = path.relative_to(folder).as_posix()
        with held(folder, _taken(folder)):
            with _replacing(path, temporary):
                if place.checkpoint is None:
                    front = record_export(front_file, found.point["trial"], entry)
                else:
                    record_retrained(folder, place.checkpoint, entry)
            if out is not None and out != path:
                _copy(path, out)
        return Exported(found, written, entry, parity, front, path, recorded)
    finally:
        temporary.unlink(missing_ok=True)
        if made:
            with contextlib.suppress(OSError):
                path.parent.rmdir()  # where it is empty, nothing has come of it


@contextlib.contextmanager
def _replacing(path: Path, new: Path) -> Iterator[None]:
    """A file in the place of another one, which comes back if what is done inside fails."""
    before = path.with_name(f".{os.getpid()}.before.tmp.{path.name}")
    if path.exists():
        os.replace(path, before)
    os.replace(new, path)
    try:
        yield
    except BaseException:
        path.unlink(missing_ok=True)
        if before.exists():
            os.replace(before, path)
        raise
    before.unlink(missing_ok=True)


def _with_weights(found: Rebuilt, checkpoint: Path) -> Rebuilt:
    """The point with other weights of its own assignment."""
    _, arrays, meta = load(checkpoint)
    if found.assignment is None or meta.get("assignment") != found.assignment.to_json():
        raise CheckpointError(
            f"{checkpoint} was trained with another assignment than that of '{found.point['id']}'. Name the "
            "point that it is of, or retrain this one."
        )
    return dataclasses.replace(found, parts=filled(found.net.parts, arrays, checkpoint))


def compared(found: Rebuilt, run: Run, inputs: int | None = COMPARED) -> Parity:
    """What a file computes, held against the network on the first inputs of the test part."""
    assert found.assignment is not None, "a float network is not exported"
    data = found.bench.data
    network = simulated(found.net, found.parts, one_hot_gates(found.net, found.assignment))
    expected, got = (outputs_of(one, data, "test", inputs) for one in (network, run))
    return parity_of(expected, got, labels_of(data, "test", inputs))


def _entry(
    kind: Format, shipped: Shipped, written: Written, parity: Parity | None, path: Path
) -> dict[str, Any]:
    """What the front says of a file, but where it is."""
    entry: dict[str, Any] = {
        "format": kind.name, "options": options_of(kind), "sha256": digest(path),
        "file_bytes": path.stat().st_size, "float_ops": list(shipped.float_ops), **written.costs,
    }
    return entry if parity is None else entry | {"parity": parity.to_json()}


def _copy(source: Path, target: Path) -> None:
    temporary = target.with_name(f".{os.getpid()}.tmp.{target.name}")
    try:
        shutil.copyfile(source, temporary)
        os.replace(temporary, target)
    finally:
        temporary.unlink(missing_ok=True)


def _taken(folder: Path) -> str:
    return (
        f"{folder} is held by a living run, which will write the front itself. Export when it has ended: "
        f"mpnas status {folder}"
    )
