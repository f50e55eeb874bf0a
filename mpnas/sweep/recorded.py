"""What was exported of a point, kept where it lasts: in the record of its trial, and from there in the front.

A record is `trials/<id>/result.json`; a front that is written again is written from records. What has the
weights of a retraining goes into its records, and not into the front. Nothing here needs JAX.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mpnas.errors import FrontFileError, RunFolderError
from mpnas.pareto import Record, load, save
from mpnas.pareto.artifacts import inside
from mpnas.sweep.folder import RETRAINED, home_of, read_json, write_json

EXPORTS = "exports"
"""Folder of a run that holds what was exported of its points."""


def record_export(front_file: Path, trial: str, export: Mapping[str, Any]) -> dict[str, Any]:
    """Write an export into the record of its trial and into the front; the caller holds the run folder.

    What stood under the same path, of this trial or another, is replaced: the file is no longer that one.

    Args:
      front_file: The front, in its run folder.
      trial: The trial whose network was exported.
      export: An entry of `artifacts.exports`, see `mpnas/pareto/schema.json`.

    Returns:
      The new front.

    Raises:
      FrontFileError: the front has no such trial any more, one leads out of the run folder, or it cannot be
        written.
      RunFolderError: the record of the trial cannot be read.
    """
    front = load(front_file)
    rows = [*front["points"], *front["references"]]
    if all(row["trial"] != trial for row in rows):
        raise FrontFileError(
            f"{front_file} has no trial '{trial}' any more, so its export cannot be told there. Export again."
        )
    changed = []
    for row in rows:
        before = row["artifacts"].get("exports", [])
        after = [one for one in before if one["path"] != export["path"]]
        if row["trial"] == trial:
            after = sorted([*after, dict(export)], key=lambda one: str(one["path"]))
        if after != before:
            row["artifacts"] = _with(row["artifacts"], after)
            changed.append(_record(front_file.parent, row["trial"], after))
    # All of them are read before one is written.
    for path, table in changed:
        write_json(path, table)
    save(front, front_file)
    return front


def record_retrained(folder: Path, checkpoint: str, export: Mapping[str, Any]) -> None:
    """Write an export into the record of the retraining that it has the weights of; the caller holds the run.

    Args:
      folder: The run folder.
      checkpoint: One of `retrainings`.
      export: As for `record_export`.

    Raises:
      RunFolderError: the retraining is gone.
    """
    result = retrainings(folder).get(checkpoint)
    table = None if result is None else read_json(result)
    if result is None or table is None:
        raise RunFolderError(f"{checkpoint} has been retrained or removed meanwhile. Export again.")
    for row in _records(table):
        if row["artifacts"].get("checkpoint") == checkpoint:
            others = [one for one in row["artifacts"].get("exports", []) if one["path"] != export["path"]]
            exports = sorted([*others, dict(export)], key=lambda one: str(one["path"]))
            row["artifacts"] = _with(row["artifacts"], exports)
    write_json(result, table)


def retrainings(folder: Path) -> dict[str, Path]:
    """Checkpoint of every retraining and seed, as a path in the run folder -> its `result.json`."""
    found = {}
    for result in sorted(folder.glob(f"{RETRAINED}/*/result.json")):
        for row in _records(read_json(result) or {}):
            found[str(row["artifacts"].get("checkpoint"))] = result
    return found


def recorded_digest(folder: Path, checkpoint: str) -> str | None:
    """SHA-256 of the checkpoint of a retraining, as its record says; None where it says nothing."""
    table = read_json(retrainings(folder)[checkpoint]) or {}
    found = [one["artifacts"] for one in _records(table) if one["artifacts"].get("checkpoint") == checkpoint]
    return found[0].get("sha256") if found else None


def _records(table: Mapping[str, Any]) -> list[dict[str, Any]]:
    rows = [row for part in ("records", "plain_records", "bins_records") for row in table.get(part) or []]
    return [row for row in rows if isinstance(row, dict) and isinstance(row.get("artifacts"), dict)]


def is_export(front: Mapping[str, Any], path: str) -> bool:
    """Whether a path inside the run folder is one that the front names as an export."""
    return any(
        one["path"] == path for part in ("points", "references") for row in front[part]
        for one in row["artifacts"].get("exports", [])
    )


def _record(folder: Path, trial: str, exports: list[dict[str, Any]]) -> tuple[Path, dict[str, Any]]:
    """The file of a trial's record, and what it says with these exports."""
    inside(folder, f"trials/{trial}/result.json")
    path = home_of(folder, trial) / "result.json"
    table = read_json(path)
    if table is None:
        raise RunFolderError(
            f"{path} cannot be read, so that the export of trial '{trial}' cannot be recorded. Put it back, "
            "or write the front again: mpnas resume."
        )
    table["artifacts"] = _with(table.get("artifacts", {}), exports)
    return path, Record.from_json(table).to_json()


def _with(artifacts: Mapping[str, Any], exports: list[dict[str, Any]]) -> dict[str, Any]:
    kept = {key: value for key, value in artifacts.items() if key != "exports"}
    return kept | ({"exports": exports} if exports else {})
