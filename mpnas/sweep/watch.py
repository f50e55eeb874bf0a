"""Watching a run: what its trial folders say, read once a second in a thread of its own.

Trials run in other processes, and their folders are all that they tell: rows of `metrics.jsonl` while
they run, `result.json` when they are over. Reading needs no Ray, so a run of any driver can be watched.
"""

import contextlib
import dataclasses
import json
import math
import os
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Literal

from mpnas.errors import RunFolderError
from mpnas.sweep.attempt import newest
from mpnas.sweep.folder import (
    PROPOSED,
    Listed,
    Outline,
    has_result,
    home_of,
    number_in,
    outline_of,
    read_json,
)

COST = "weight_bytes"
SOON = 0.02  # share of all steps from which a pace says something
DAMAGED = "its result.json is damaged. Run it again with: mpnas resume --retry-failed."
State = Literal["waiting", "interrupted", "running", "done", "failed"]
Row = dict[str, Any]


@dataclasses.dataclass(frozen=True)
class Status:
    """Where one trial is.

    Attributes:
      id: Of the trial.
      state: `waiting` until an attempt starts under this watch; `failed` also for one that ended in an
        error; `interrupted` where it has begun and nobody runs it.
      stage: `float`, `search` or `retrain`; None before the first row of metrics.
      step, steps: Optimizer steps done and to do, over all its stages.
      cost: The cost that is told: weight bytes, or what the budgets of the run limit instead.
      expected: Expected cost of the soft gates, while searching.
      exact: Cost of their likeliest candidates while searching; of the result when done.
      train_accuracy: In the latest training batches, in [0, 1].
      seconds_left: Estimated from the pace of the current stage; None if not known.
      accuracy: Of a finished trial, on the selection part, in [0, 1].
      seconds: That a finished trial took.
      reason: Why it failed.
      kind: `float`, `search`, `uniform` or `random`.
    """

    id: str
    state: State
    stage: str | None = None
    step: int = 0
    steps: int = 0
    expected: float | None = None
    exact: float | None = None
    train_accuracy: float | None = None
    seconds_left: float | None = None
    accuracy: float | None = None
    seconds: float | None = None
    reason: str | None = None
    kind: str | None = None
    cost: str = COST

    @property
    def over(self) -> bool:
        """Whether the trial will not go on under this watch."""
        return self.state in {"done", "failed"}


class Reader:
    """Reads the statuses of a run; trials under budgets that are proposed meanwhile join the others.

    Args:
      folder: The run folder.
      outline: What its plan says.
      since: Attempts that started at this time or later, in seconds since the epoch, are running; by
        default those that start from now on.
    """

    def __init__(self, folder: Path, outline: Outline, since: float | None = None) -> None:
        self.outline, self._since, self._folder = outline, since, folder
        self._stamp = _stamp(folder)
        self._homes = {spec.id: home_of(folder, spec.id) for spec in outline.trials}
        self._before = {} if since is not None else {n: _attempts(h) for n, h in self._homes.items()}
        self._over: dict[str, Status] = {}
        self._cost = _cost_of(outline)

    def look(self) -> tuple[Status, ...]:
        """The status of every trial, in the order of the plan."""
        if (stamp := _stamp(self._folder)) != self._stamp:
            with contextlib.suppress(RunFolderError):  # whoever runs the trials will say what is wrong
                self.outline = outline_of(self._folder)
                self._homes = {spec.id: home_of(self._folder, spec.id) for spec in self.outline.trials}
            self._stamp = stamp
        return tuple(self._over.get(spec.id) or self._status(spec) for spec in self.outline.trials)

    def _status(self, spec: Listed) -> Status:
        home, steps = self._homes[spec.id], spec.steps
        if has_result(self._folder, spec.id):
            # A result is written once and never changes.
            status = self._over[spec.id] = _finished(
                spec, self._cost, read_json(home / "result.json")
            )
            return status
        rows = rows_of(home / "metrics.jsonl")
        running = self._running(spec.id)
        status = Status(spec.id, "running" if running else "waiting", steps=steps, kind=spec.kind,
                        cost=self._cost)
        with contextlib.suppress(AttributeError, TypeError, ValueError):  # damaged rows tell nothing
            if rows:
                status = dataclasses.replace(status, **_progress(rows, spec.stages, self._cost))
        if running and (words := words_of(home)) is not None:
            status = dataclasses.replace(status, state="failed", reason=words)
        return status

    def _running(self, trial: str) -> bool:
        if self._since is None:
            return _attempts(self._homes[trial]) > self._before.get(trial, 0)
        return (_started(self._homes[trial]) or -math.inf) >= self._since


def _cost_of(outline: Outline) -> str:
    """What the searches of a run are told by: the first cost that decides its front."""
    limited = sorted({name for spec in outline.trials for name in spec.budget})
    return COST if COST in limited or not limited else limited[0]


def _finished(spec: Listed, cost: str, result: Row | None) -> Status:
    """The status that a result tells; None is a result that cannot be read."""
    told = result or {}
    exact, accuracy = number_in(told, "costs", cost), number_in(told, "metrics", "accuracy")
    done = told.get("status") == "done" and exact is not None and accuracy is not None
    reason = told.get("reason") if told.get("status") == "failed" else DAMAGED
    return Status(
        spec.id,
        "done" if done else "failed",
        stage=_text(told.get("stage")),
        step=spec.steps,
        steps=spec.steps,
        exact=exact,
        accuracy=accuracy,
        seconds=number_in(told, "seconds", "total"),
        reason=None if done else _text(reason),
        kind=spec.kind,
        cost=cost,
    )


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) else None


def _progress(rows: list[Row], stages: Mapping[str, int], cost: str) -> Row:
    last = rows[-1]
    stage, step = str(last["stage"]), int(last["stage_step"])
    names = list(stages)
    place = names.index(stage) if stage in stages else 0
    done = sum(stages[name] for name in names[:place]) + step
    pace = pace_of(rows)
    return {
        "stage": stage,
        "step": done,
        "expected": number_in(last, "expected_costs", cost),
        "exact": number_in(last, "discrete_costs", cost),
        "train_accuracy": number_in(last, "train_accuracy"),
        "seconds_left": None if pace is None else pace * (sum(stages.values()) - done),
    }


def pace_of(rows: list[Row]) -> float | None:
    """Seconds per step between the rows of the current stage and attempt; None from a single row.

    The clock of the rows starts again with every attempt, and the first row of a stage includes its
    compilation.
    """
    last = first = rows[-1]
    for row in reversed(rows[:-1]):
        if row["stage"] != last["stage"] or row["seconds"] > first["seconds"]:
            break
        first = row
    steps = last["stage_step"] - first["stage_step"]
    return (last["seconds"] - first["seconds"]) / steps if steps > 0 else None


def _attempts(home: Path) -> int:
    """Number of the newest attempt; 0 before the first."""
    try:
        return newest(home / "attempts")
    except OSError:
        return 0


def _started(home: Path) -> float | None:
    """When the newest attempt started, in seconds since the epoch; None before the first."""
    try:
        return max((entry.stat().st_mtime for entry in os.scandir(home / "attempts")), default=None)
    except OSError:
        return None


def _stamp(folder: Path) -> int:
    """Changes when a budget is proposed; 0 before the first."""
    try:
        return (folder / PROPOSED).stat().st_mtime_ns
    except OSError:
        return 0


def words_of(home: Path) -> str | None:
    """The error in which the newest attempt ended; None while it runs."""
    error, started = home / "error.txt", _started(home)
    try:
        if started is None or error.stat().st_mtime < started:
            return None  # of an earlier attempt
        return error.read_text(encoding="utf-8").strip() or None
    except (OSError, ValueError):
        return None


def rows_of(path: Path) -> list[Row]:
    """The whole rows of a metrics file; the last line may be half written."""
    rows = []
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError):
        return []
    for line in lines:
        try:
            row = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if isinstance(row, dict) and {"stage", "stage_step", "seconds"} <= row.keys():
            rows.append(row)
    return rows


class Watch:
    """Shows the statuses of a run again and again, from entering to leaving the context.

    Args:
      reader: Where statuses come from.
      show: Called with all of them, from the watching thread; once more, from the caller's, at the end.
      every: Seconds between two looks; > 0.
    """

    def __init__(
        self, reader: Reader, show: Callable[[tuple[Status, ...]], None], *, every: float = 1.0
    ) -> None:
        self._reader, self._show, self._every = reader, show, every
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run, name="mpnas-watch", daemon=True)

    def __enter__(self) -> "Watch":
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end.set()
        self._thread.join()
        self._look()

    def _run(self) -> None:
        while not self._end.is_set() and self._look():
            self._end.wait(self._every)

    def _look(self) -> bool:
        try:
            self._show(self._reader.look())
        except OSError:
            return False  # whoever closed the output still wants the run itself
        return True


@dataclasses.dataclass(frozen=True)
class Overall:
    """A run as a whole.

    Attributes:
      trials, over, failed, running: Counts of trials.
      share: Of all optimizer steps that are done, in [0, 1].
      seconds_left: At the pace since the watch began; None before the first step.
    """

    trials: int
    over: int
    failed: int
    running: int
    share: float
    seconds_left: float | None


class Pace:
    """Sums statuses up, and knows how fast the run has been since the first one.

    Args:
      clock: Seconds, ever rising.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._began: tuple[float, int] | None = None

    def overall(self, statuses: tuple[Status, ...]) -> Overall:
        """The run as a whole at this moment."""
        done, total = sum(s.step for s in statuses), sum(s.steps for s in statuses)
        now = self._clock()
        if self._began is None or done <= self._began[1]:
            self._began = (now, done)  # until the first step there is no pace, only starting and compiling
        began, before = self._began
        gained = done - before
        known = gained >= SOON * total and gained > 0
        return Overall(
            trials=len(statuses),
            over=sum(s.over for s in statuses),
            failed=sum(s.state == "failed" for s in statuses),
            running=sum(s.state == "running" for s in statuses),
            share=done / total if total else 1.0,
            seconds_left=(now - began) * (total - done) / gained if known else None,
        )
