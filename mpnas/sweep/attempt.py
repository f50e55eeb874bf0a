"""Attempts at a trial: the newest one owns the folder, and every older one ends when it notices.

A driver may start a trial again while an earlier worker, cut off from it, is still running. Each
attempt claims a number by creating a file, and looks before it writes whether a larger one is there.
"""

import contextlib
import json
import os
from pathlib import Path

from mpnas.errors import MpnasError


class Fenced(MpnasError):
    """Another attempt has taken this trial over; the older one must not write any more."""


def claim(attempts: Path) -> int:
    """Register a new attempt; its number is larger than every earlier one's."""
    attempts.mkdir(parents=True, exist_ok=True)
    number = 1 + newest(attempts)
    while True:
        try:
            os.close(os.open(attempts / str(number), os.O_CREAT | os.O_EXCL))
            return number
        except FileExistsError:
            number += 1


def newest(attempts: Path) -> int:
    """Number of the newest attempt; 0 before the first."""
    return max((int(name) for name in os.listdir(attempts) if name.isdecimal()), default=0)


def cut_metrics(path: Path, last_step: int) -> None:
    """Drop the rows after a restored step, and half-written lines."""
    if not path.exists():
        return
    kept = []
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            row = json.loads(line)
        except (ValueError, RecursionError):
            continue
        step = row.get("step") if isinstance(row, dict) else None
        if isinstance(step, int) and step <= last_step:
            kept.append(line + "\n")
    temporary = path.with_suffix(".tmp")
    temporary.write_text("".join(kept), encoding="utf-8")
    os.replace(temporary, path)


def last_seconds(path: Path) -> float:
    """What the last whole row says that the trial had taken until then; 0 where there is none."""
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return 0.0
    for line in reversed(lines):
        with contextlib.suppress(ValueError, KeyError, TypeError, RecursionError):
            return float(json.loads(line)["seconds"])
    return 0.0
