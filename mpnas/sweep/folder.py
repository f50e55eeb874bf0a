"""A run folder: the names of its files, and what its plan says without the objects behind it.

    plan.json                     the experiment, its trials with their steps, what it was made from
    proposed.json                 trials under budgets that were proposed while the sweep ran, if any
    trials/<id>/                  attempts, config.json, metrics.jsonl, checkpoint, result.json (last)
    front.json, report.html, ...  written from all of these
    retrained/<point>[-<recipe>][-<digest>]/ points that were trained again
    exports/<trial>.*             networks of points as files for elsewhere

Everything here is light: whoever only looks at a run waits for neither JAX nor Ray.
"""

import dataclasses
import json
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mpnas.errors import RunFolderError
from mpnas.pareto.artifacts import escapes

PLAN_SCHEMA = "mpnas.plan/2"
PROPOSED, PROPOSED_SCHEMA = "proposed.json", "mpnas.proposed/1"
RETRAINED, HELD, UNFINISHED = "retrained", ".held", ".unfinished"
STAGES = ("float", "search", "retrain")  # in running order; JSON lists them by the alphabet


@dataclasses.dataclass(frozen=True)
class Listed:
    """A trial as `plan.json` lists it.

    Attributes:
      id: Names its folder.
      kind: `float`, `search`, `uniform` or `random`.
      stages: Stage -> optimizer steps (evaluations, where a search tries assignments), in running order.
      budget: Limits as asked for; empty where nothing is limited.
    """

    id: str
    kind: str
    stages: Mapping[str, int]
    budget: Mapping[str, float | str]

    @property
    def steps(self) -> int:
        """Steps of all stages."""
        return sum(self.stages.values())


@dataclasses.dataclass(frozen=True)
class Outline:
    """A plan for those who only look.

    Attributes:
      name: Of the experiment.
      trials: In the order of the plan, then in that of their proposals.
    """

    name: str
    trials: tuple[Listed, ...]


def outline_of(folder: Path) -> Outline:
    """The outline of the run in a folder.

    Raises:
      RunFolderError: no plan there, a damaged one, or one of another version.
    """
    document = plan_document(folder)
    try:
        trials = tuple(_listed(row) for row in document["trials"])
        name = str(document["experiment"]["name"])
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise RunFolderError(f"{folder / 'plan.json'} is damaged: {error!r}. Start the run anew.") from error
    try:
        return Outline(name, trials + tuple(_listed(row) for row in proposed_document(folder)["trials"]))
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise damaged_proposals(folder, repr(error)) from error


def _listed(row: Mapping[str, Any]) -> Listed:
    name, found = row["id"], {str(stage): int(steps) for stage, steps in row["stages"].items()}
    stages = {stage: found[stage] for stage in (*STAGES, *found) if stage in found}
    # What cannot be printed (a null byte, half of a surrogate pair) cannot be the name of a file either.
    sound = isinstance(name, str) and name.isprintable() and name not in {"", "."} and "/" not in name
    if not sound or escapes(name):
        raise ValueError(f"{name!r} cannot be the folder of a trial")
    if min(stages.values(), default=0) < 0 or not isinstance(row["budget"], dict):
        raise ValueError(f"trial '{name}' has stages {stages} and budget {row['budget']!r}")
    return Listed(name, str(row["kind"]), stages, row["budget"])


def plan_document(folder: Path) -> dict[str, Any]:
    """The content of `plan.json`.

    Raises:
      RunFolderError: it is missing, no JSON, or of another version.
    """
    path = folder / "plan.json"
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise RunFolderError(
            f"{folder} is no run folder: it has no readable plan.json ({error.strerror}). "
            "Start one with mpnas sweep."
        ) from error
    except (ValueError, RecursionError) as error:
        raise RunFolderError(
            f"{path} is not JSON: {error}. The run cannot be resumed; start it anew."
        ) from error
    if not isinstance(document, dict) or document.get("schema") != PLAN_SCHEMA:
        found = document.get("schema") if isinstance(document, dict) else type(document).__name__
        raise RunFolderError(
            f"{path} has schema {found!r}, this version reads '{PLAN_SCHEMA}'. "
            "Use the version of mpnas that wrote it."
        )
    return document


def proposed_document(folder: Path) -> dict[str, Any]:
    """The content of `proposed.json`; one without trials where nothing has been proposed.

    Raises:
      RunFolderError: it cannot be read, is no JSON, or of another version.
    """
    try:
        document = json.loads((folder / PROPOSED).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {"schema": PROPOSED_SCHEMA, "trials": []}
    except (OSError, ValueError, RecursionError) as error:
        raise damaged_proposals(folder, str(error)) from error
    if not isinstance(document, dict) or document.get("schema") != PROPOSED_SCHEMA:
        found = document.get("schema") if isinstance(document, dict) else type(document).__name__
        raise damaged_proposals(folder, f"it has schema {found!r}, this version reads '{PROPOSED_SCHEMA}'")
    if not isinstance(document.get("trials"), list):
        raise damaged_proposals(folder, "it lists no trials")
    return document


def damaged_proposals(folder: Path, what: str) -> RunFolderError:
    """The error of a `proposed.json` that cannot be used."""
    return RunFolderError(
        f"{folder / PROPOSED} is damaged: {what}. Put it back, or delete it and let budgets be proposed "
        "anew: mpnas resume. Searches of the same budgets are then found done."
    )


def home_of(folder: Path, trial_id: str) -> Path:
    """The folder of a trial."""
    return folder / "trials" / trial_id


def has_result(folder: Path, trial_id: str) -> bool:
    """Whether a trial is over."""
    return (home_of(folder, trial_id) / "result.json").exists()


def read_json(path: Path) -> dict[str, Any] | None:
    """The object in a JSON file; None where there is none, or something else."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def write_json(path: Path, document: Any) -> None:
    """Write JSON so that a reader, or a full disk, never sees half of it."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with open(temporary, "w", encoding="utf-8") as file:
            json.dump(document, file, allow_nan=False, sort_keys=True, indent=1)
            file.write("\n")
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def number_in(table: Any, *keys: str) -> float | None:
    """A finite number under nested keys of untrusted data; None where there is none."""
    for key in keys:
        table = table.get(key) if isinstance(table, dict) else None
    sound = isinstance(table, (int, float)) and not isinstance(table, bool)
    return float(table) if sound and math.isfinite(table) else None
