"""Finishing a run: its pending trials, then its front, tables and pictures; for `sweep` and `resume`."""

import contextlib
import os
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from mpnas.cli.exits import INTERRUPTED, SOME_FAILED, SWEEP_FAILED, stop
from mpnas.cli.live import sweep_display
from mpnas.cli.options import Machine
from mpnas.cli.printing import short, show
from mpnas.errors import BudgetError
from mpnas.pareto import pick, save
from mpnas.report import front_table, gap_warnings, reference_table, rejected_table, verdict, volume_text
from mpnas.report.events import write_events
from mpnas.report.evidence import evidence_of
from mpnas.report.page import write_page
from mpnas.report.plots import bits_png, front_png
from mpnas.sweep.collect import front_of
from mpnas.sweep.early import STOPPED
from mpnas.sweep.folder import has_result, outline_of
from mpnas.sweep.plan import Plan, load_plan
from mpnas.sweep.remote import Twin
from mpnas.sweep.tune.drive import run_pending
from mpnas.sweep.watch import Reader, Watch


def finish(folder: Path, machine: Machine, twin: Twin | None = None) -> None:
    """Run what has no result, write the front and print it; ends the command with its exit code.

    Args:
      folder: The run folder, absolute; the caller holds it.
      machine: Where, and how much at once.
      twin: Where else the run lives; None if only here.
    """
    # Ray's daemons are forked and at once replaced by other programs, so JAX's threads are not missed.
    warnings.filterwarnings("ignore", message=r"os\.fork\(\) was called", category=RuntimeWarning)
    again = _again(folder, twin)

    def lost(words: str) -> None:
        # Another thread: the main one hangs in Ray, which answers to nothing any more.
        cursor = "\x1b[?25h\n" if sys.stderr.isatty() else ""
        done = _done(folder, load_plan(folder))
        click.echo(f"{cursor}mpnas: the sweep itself failed: {words}. {done}. {again}", err=True)
        with contextlib.suppress(OSError):
            sys.stdout.flush()
        os._exit(SWEEP_FAILED)

    with contextlib.nullcontext() if twin is None else twin.sending():
        with sweep_display() as display, Watch(Reader(folder, outline_of(folder)), display):
            outcome = run_pending(folder, machine.resources(lost))
        plan = load_plan(folder)  # with what was proposed meanwhile
        if outcome.interrupted:
            stop(f"interrupted; {_done(folder, plan)}. {again}", INTERRUPTED)
        if outcome.error is not None:
            stop(f"the sweep itself failed: {outcome.error}. {_done(folder, plan)}. {again}", SWEEP_FAILED)
        front = front_of(folder)
        files = write_front(front, folder)
    print_front(front, [*files, folder / "tensorboard"])
    # To stop a search that falls behind is what was asked for, no failure.
    if count := sum(not row["reason"].startswith(STOPPED) for row in front["rejected"]):
        stop(f"{count} of {len(plan.trials)} trials failed; the reasons are under 'Rejected'.", SOME_FAILED)


@contextlib.contextmanager
def resumable(folder: Path, twin: Twin | None = None) -> Iterator[None]:
    """Where Ctrl-C comes before the first trial begins: the run is there already, so say how to go on."""
    try:
        yield
    except KeyboardInterrupt:
        stop(f"interrupted before a trial began. {_again(folder, twin)}", INTERRUPTED)


def write_front(front: dict[str, Any], folder: Path) -> list[Path]:
    """Write `front.json`, `report.html`, pictures and TensorBoard events; the files that one looks at."""
    save(front, folder / "front.json")
    front_png(front, folder / "front.png")
    write_events(folder, evidence_of(folder, front))
    files = [folder / "front.json", folder / "front.png", write_page(folder, front)]
    try:
        best = pick(front, {})
    except BudgetError:
        return files  # no search has given a point
    bits_png(front, best, folder / "bits.png")
    return [*files, folder / "bits.png"]


def print_front(front: dict[str, Any], files: list[Path]) -> None:
    """Print tables, verdict and where everything is."""
    tables = [front_table(front), reference_table(front)]
    if front["rejected"]:
        tables.append(rejected_table(front))
    show(*tables)
    for sentence in filter(None, (volume_text(front), *verdict(front), *gap_warnings(front))):
        click.echo(sentence)
    if files:
        click.echo("\nWritten: " + ", ".join(short(path) for path in files))


def _again(folder: Path, twin: Twin | None) -> str:
    return f"Go on with: mpnas resume {short(folder) if twin is None else twin.remote.uri}"


def _done(folder: Path, plan: Plan) -> str:
    done = sum(has_result(folder, trial.id) for trial in plan.trials)
    left = plan.unproposed
    coming = f", {left} budget{'s are' if left > 1 else ' is'} still to be proposed" if left else ""
    return f"{done} of {len(plan.trials)} trials are done{coming}, and the others keep their checkpoints"
