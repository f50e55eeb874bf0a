"""TensorBoard events of a run: the metrics of every trial as curves, for those who live in TensorBoard.

Written from the rows of metrics when the run is over; the rows themselves stay the record.
"""

import datetime
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from tensorboardX import SummaryWriter

from mpnas.report.evidence import Evidence

Row = Mapping[str, Any]
FOLDER = "tensorboard"


def write_events(folder: Path, evidence: Evidence) -> Path:
    """Write `tensorboard/<trial>/events...` below a run folder, in the place of earlier ones.

    Args:
      folder: The run folder.
      evidence: What its trials left behind; where a trial does not say when it was over, its curve
        begins at the epoch, and only its relative times mean something.

    Returns:
      The folder to name to TensorBoard.
    """
    root = folder / FOLDER
    shutil.rmtree(root, ignore_errors=True)
    for trial, rows in evidence.history.items():
        began = _began(rows, evidence.ended.get(trial))
        curves = [(*scalar, row) for row in rows for scalar in scalars_of(row)]
        if not curves:
            continue
        # One folder a trial: TensorBoard shows it as a run of this name.
        with SummaryWriter(str(root / trial), max_queue=len(curves) + 1) as writer:
            for tag, step, value, row in curves:
                writer.add_scalar(tag, value, step, walltime=began + _seconds(row))
    return root


def _began(rows: Sequence[Row], ended: str | None) -> float:
    """When the clock of the rows began, in seconds since the epoch."""
    if ended is None:
        return 0.0
    return datetime.datetime.fromisoformat(ended).timestamp() - _seconds(rows[-1])


def _seconds(row: Row) -> float:
    seconds = row.get("seconds")
    return float(seconds) if isinstance(seconds, (int, float)) else 0.0


def scalars_of(row: Row) -> Iterator[tuple[str, int, float]]:
    """Tag, step and value of everything in a row that is a number.

    >>> list(scalars_of({"stage": "search", "step": 5, "loss": 0.5, "expected_costs": {"bops": 8}}))
    [('search/loss', 5, 0.5), ('search/expected_costs/bops', 5, 8.0)]
    """
    step, stage = row.get("step"), row.get("stage")
    if not isinstance(step, int) or not isinstance(stage, str):
        return
    for name, value in row.items():
        if name in {"step", "stage_step", "stage_steps", "seconds"}:
            continue
        inside = value if isinstance(value, Mapping) else {"": value}
        for part, number in inside.items():
            if isinstance(number, (int, float)) and not isinstance(number, bool):
                yield f"{stage}/{name}/{part}".rstrip("/"), step, float(number)
