"""Progress on stderr: a live table or bar on a terminal, a line now and then elsewhere.

Results go to stdout, so that `mpnas sweep digits > report.txt` shows its progress and keeps its report.
"""

import contextlib
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import click
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from mpnas.cli.printing import duration
from mpnas.report.tables import amount_text, in_words, table_of
from mpnas.sweep.early import STOPPED
from mpnas.sweep.standing import standing_of
from mpnas.sweep.watch import COST, Overall, Pace, Status

LINE_EVERY = 15.0  # seconds between two lines of progress where there is no terminal
STYLES = {"running": "bold", "waiting": "dim", "interrupted": "yellow", "done": "green", "failed": "red"}
ORDER = ("failed", "running", "interrupted", "done", "waiting")  # what matters most, where not all rows fit

Row = dict[str, Any]
Echo = Callable[[str], None]


def to_stderr(line: str) -> None:
    """Print a line of progress."""
    click.echo(line, err=True)


# A sweep ------------------------------------------------------------------------------------------


@contextlib.contextmanager
def sweep_display() -> Iterator[Callable[[tuple[Status, ...]], None]]:
    """What shows the statuses of a run: a live table on a terminal, plain lines elsewhere."""
    if not sys.stderr.isatty():
        yield SweepLines()
        return
    console = Console(stderr=True)
    screen = Screen(console.size.height)
    with Live(console=console, refresh_per_second=4, transient=True) as live:
        yield lambda statuses: live.update(screen(statuses))


class Screen:
    """Makes a live table of statuses, in at most `height` lines; knows the pace since its first one."""

    def __init__(self, height: int) -> None:
        self._height, self._pace = height, Pace()

    def __call__(self, statuses: tuple[Status, ...]) -> RenderableType:
        return sweep_screen(statuses, self._pace.overall(statuses), self._height)


class SweepLines:
    """One plain line per trial that finishes, and every 15 seconds one of progress and the front so far.

    Args:
      echo: Prints a line.
      clock: Seconds, ever rising.
    """

    def __init__(self, echo: Echo = to_stderr, clock: Callable[[], float] = time.monotonic) -> None:
        self._echo, self._clock, self._pace = echo, clock, Pace(clock)
        self._told: set[str] | None = None
        self._last = clock()

    def __call__(self, statuses: tuple[Status, ...]) -> None:
        over = [status for status in statuses if status.over]
        if self._told is None:
            self._told = {status.id for status in over}  # what an earlier run has finished is no news
        overall, now = self._pace.overall(statuses), self._clock()
        for status in over:
            if status.id not in self._told:
                self._told.add(status.id)
                self._echo(f"[{len(self._told)}/{len(statuses)}] {finished_text(status)}")
        if now - self._last >= LINE_EVERY and overall.over < overall.trials:
            self._last = now
            said = standing_of(statuses).text()
            self._echo(overall_text(overall) + (f"; {said}" if said else ""))


def finished_text(status: Status) -> str:
    """A finished trial on one line."""
    if status.state == "failed":
        reason = " ".join((status.reason or "it has no result.").split())
        return f"{status.id} {reason}" if reason.startswith(STOPPED) else f"{status.id} failed: {reason}"
    accuracy = "" if status.accuracy is None else f"accuracy {100 * status.accuracy:.2f} %"
    cost = "" if status.exact is None else f"{amount_text(status.exact)} {in_words(status.cost)}"
    facts = [fact for fact in (accuracy, cost, duration(status.seconds)) if fact not in ("", "-")]
    return f"{status.id} done: {', '.join(facts)}"


def overall_text(overall: Overall, *, alive: bool = True) -> str:
    """A run on one line; `alive` where somebody runs it."""
    idle = alive and not overall.running and overall.over < overall.trials
    parts = [f"{overall.over} of {overall.trials} trials done",
             "starting workers" if idle else f"{overall.running} running",
             f"{100 * overall.share:.0f} % of all steps"]
    if overall.failed:
        parts.insert(1, f"{overall.failed} failed")
    if overall.seconds_left is not None and overall.over < overall.trials:
        parts.append(f"about {duration(overall.seconds_left)} left")
    return ", ".join(parts)


def sweep_screen(statuses: tuple[Status, ...], overall: Overall, height: int) -> RenderableType:
    """The live table and the overall bar, in at most `height` lines."""
    said = standing_of(statuses).text()
    room = max(height - 8 - bool(said), 3)
    ranked = sorted(range(len(statuses)), key=lambda k: (ORDER.index(statuses[k].state), _age(statuses, k)))
    table = statuses_table([statuses[k] for k in sorted(ranked[:room])])
    hidden = len(statuses) - min(room, len(statuses))
    bar = Table.grid(padding=(0, 1))
    bar.add_row(ProgressBar(total=1.0, completed=overall.share, width=40), Text(overall_text(overall)))
    more = [Text(f"... and {hidden} more", style="dim")] if hidden else []
    return Group(table, *more, bar, *([Text(said)] if said else []))


def statuses_table(statuses: Sequence[Status]) -> Table:
    """One row per trial."""
    name = statuses[0].cost if statuses else COST
    unit = "bytes" if name == COST else in_words(name)
    table = table_of(
        "", ["trial", "state", "stage"],
        ["steps", f"expected\n[{unit}]", f"exact\n[{unit}]", "accuracy", "time left"],
    )
    table.title = None
    for status in statuses:
        table.add_row(*map(Text, _cells(status)), style=STYLES[status.state])
    return table


def _age(statuses: tuple[Status, ...], k: int) -> int:
    # The last of those that are done, the first of those that wait.
    return -k if statuses[k].state == "done" else k


def _cells(status: Status) -> list[str]:
    def number(value: float | None) -> str:
        return "-" if value is None else amount_text(round(value))

    # Of a finished trial on the selection part, else in the latest training batches.
    share = status.train_accuracy if status.accuracy is None else status.accuracy
    return [
        status.id,
        status.state,
        status.stage or "-",
        f"{status.step:,}/{status.steps:,}",
        number(status.expected),
        number(status.exact),
        "-" if share is None else f"{100 * share:.1f} %",
        duration(status.seconds_left) if status.state == "running" else "-",
    ]


# One trial in this process ------------------------------------------------------------------------


@contextlib.contextmanager
def trial_display() -> Iterator[Callable[[Row], None]]:
    """What shows the rows of a trial's metrics: a bar per stage on a terminal, plain lines elsewhere."""
    if not sys.stderr.isatty():
        yield TrialLines()
        return
    progress = Progress(
        TextColumn("{task.description:<8}"), BarColumn(bar_width=30),
        TextColumn("{task.fields[count]}"), TimeElapsedColumn(), TextColumn("{task.fields[facts]}"),
        console=Console(stderr=True),
    )
    # The first row comes after seconds of compilation: until then a bar without an end tells that it lives.
    bars: dict[str, TaskID] = {"": progress.add_task("starting", total=None, count="", facts="compiling")}
    left = TimeLeft()

    def show(row: Row) -> None:
        stage = row["stage"]
        if stage not in bars:
            bars[stage] = progress.add_task(stage, total=row["stage_steps"], count="", facts="")
            progress.update(bars[""], visible=False)
        count = f"{row['stage_step']:,}/{row['stage_steps']:,}"
        facts = facts_text(row, left(row))
        progress.update(bars[stage], completed=row["stage_step"], count=count, facts=facts)

    with progress:
        yield show


class TrialLines:
    """A plain line at the end of each stage, and at most every 15 seconds before.

    Args:
      echo: Prints a line.
      clock: Seconds, ever rising.
    """

    def __init__(self, echo: Echo = to_stderr, clock: Callable[[], float] = time.monotonic) -> None:
        self._echo, self._clock, self._left = echo, clock, TimeLeft()
        self._last = clock()

    def __call__(self, row: Row) -> None:
        left, now = self._left(row), self._clock()
        if row["stage_step"] >= row["stage_steps"] or now - self._last >= LINE_EVERY:
            self._last = now
            place = f"{row['stage']} {row['stage_step']:,}/{row['stage_steps']:,}"
            self._echo(f"{place}: {facts_text(row, left)}")


class TimeLeft:
    """Estimates the seconds that a stage still takes, from the first row that it was shown of it."""

    def __init__(self) -> None:
        self._first: Row | None = None

    def __call__(self, row: Row) -> float | None:
        """Seconds until the end of the row's stage; None from its first row."""
        if self._first is None or self._first["stage"] != row["stage"]:
            self._first = row
            return None
        steps = row["stage_step"] - self._first["stage_step"]
        if steps <= 0:
            return None
        return (row["seconds"] - self._first["seconds"]) / steps * (row["stage_steps"] - row["stage_step"])


def facts_text(row: Row, left: float | None) -> str:
    """Loss, accuracy, costs and time left of a row of metrics."""
    part = "train" if "train_accuracy" in row else "select"
    parts = [f"loss {row['loss']:.3f}", f"{part} accuracy {100 * row[f'{part}_accuracy']:.1f} %"]
    if "expected_costs" in row:
        soft, hard = row["expected_costs"]["weight_bytes"], row["discrete_costs"]["weight_bytes"]
        parts.append(f"weight bytes {amount_text(round(soft))} expected, {amount_text(round(hard))} exact")
    if left is not None and row["stage_step"] < row["stage_steps"]:
        parts.append(f"{duration(left)} left")
    return ", ".join(parts)
