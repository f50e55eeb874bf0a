"""What a run folder can do without: leftovers of faults, and checkpoints that nobody will open.

Nothing that a front names is touched unless it is asked for; then the front no longer names it.
"""

import dataclasses
import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from mpnas.pareto import load, save
from mpnas.sweep.folder import HELD, RETRAINED, UNFINISHED, home_of, outline_of, read_json, write_json
from mpnas.sweep.hold import holder_of

EXPORTING = ("exports/.*.tmp.*", f"{RETRAINED}/*/exports/.*.tmp.*")  # of an export that was killed
LEFTOVERS = ("damaged-*", "traceback.txt", ".*.tmp", ".*.part", "*.tmp")
# Until a trial has a result: why its last attempt ended, and whether early stopping is to spare it now.
NEEDED = ("traceback.txt", "damaged-result-")


@dataclasses.dataclass(frozen=True)
class Leftover:
    """Something that can be removed.

    Attributes:
      path: File or folder.
      why: In a few words.
      size: Bytes on disk.
    """

    path: Path
    why: str
    size: int


def leftovers(folder: Path, *, dominated: bool = False) -> list[Leftover]:
    """What can be removed from a run folder.

    Args:
      folder: The run folder.
      dominated: Also the checkpoints of finished trials that are neither on the front nor float
        networks, from which retraining starts.
    """
    found = [
        Leftover(path, "left by a fault", size_of(path))
        for home in (folder, *(home_of(folder, trial.id) for trial in outline_of(folder).trials))
        for pattern in LEFTOVERS for path in sorted(home.glob(pattern))
        if not (path.is_symlink() or (path.name.startswith(NEEDED) and not (home / "result.json").exists()))
    ]
    found += [
        Leftover(path, "left by an export that was killed", size_of(path))
        for pattern in EXPORTING for path in sorted(folder.glob(pattern))
        if not path.is_symlink() and not Path("/proc", path.name.split(".")[1]).exists()
    ]
    found += [
        Leftover(path, "unfinished retraining", size_of(path))
        for path in sorted(folder.glob(f"{RETRAINED}/*{UNFINISHED}"))
        if holder_of(path.parent / HELD / path.name.removesuffix(UNFINISHED)) is None
    ]
    if dominated:
        found += [
            Leftover(path, "checkpoint of a trial off the front", size_of(path))
            for path in _dominated(folder)
        ]
    return found


def _dominated(folder: Path) -> Iterator[Path]:
    front = load(folder / "front.json")
    kept = {p["trial"] for p in front["points"] if p["nondominated"]}
    kept |= {r["trial"] for r in front["references"] if r["kind"] == "float"}
    for trial in outline_of(folder).trials:
        home = home_of(folder, trial.id)
        checkpoint = home / "checkpoint"
        if trial.id not in kept and (home / "result.json").exists() and checkpoint.is_dir():
            yield checkpoint


def remove(folder: Path, found: list[Leftover]) -> None:
    """Remove leftovers; records and front forget the checkpoints among them first."""
    gone = {one.path.parent.name for one in found if one.path.name == "checkpoint"}
    for name in sorted(gone):
        result = home_of(folder, name) / "result.json"
        if (record := read_json(result)) is not None:
            write_json(result, record | {"artifacts": _without(record.get("artifacts"))})
    if gone:
        front = load(folder / "front.json")
        for point in (*front["points"], *front["references"]):
            if point["trial"] in gone:
                point["artifacts"] = _without(point["artifacts"])
        save(front, folder / "front.json")
    for one in found:
        if one.path.is_dir():
            shutil.rmtree(one.path)
        else:
            one.path.unlink(missing_ok=True)


def _without(artifacts: Any) -> dict[str, Any]:
    kept: Mapping[str, Any] = artifacts if isinstance(artifacts, dict) else {}
    return {key: value for key, value in kept.items() if key not in {"checkpoint", "sha256"}}


def size_of(path: Path) -> int:
    """Bytes of a file, or of all files in a folder; links are not followed."""
    if not path.is_dir() or path.is_symlink():
        return path.lstat().st_size
    return sum(
        os.lstat(os.path.join(parent, name)).st_size for parent, _, names in os.walk(path) for name in names
    )
