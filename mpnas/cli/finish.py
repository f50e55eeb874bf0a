"""Finishing a run: its pending trials, then its front, tables and pictures; for `sweep` and `resume`."""

import contextlib
import os
import sys
import warnings
from pathlib import Path
from typing import Any

import click

from mpnas.cli.exits import INTERRUPTED, SOME_FAILED, SWEEP_FAILED, stop
from mpnas.cli.hold import held
from mpnas.cli.live import sweep_display
from mpnas.cli.options import processors
from mpnas.cli.printing import short, show
from mpnas.errors import BudgetError
from mpnas.pareto import pick, save
from mpnas.report import front_table, gap_warnings, reference_table, rejected_table, verdict
from mpnas.report.plots import bits_png, front_png
from mpnas.sweep.collect import front_of
from mpnas.sweep.plan import Plan
from mpnas.sweep.remote import Twin
from mpnas.sweep.tune import Resources, has_result, run_pending
from mpnas.sweep.watch import Reader, Watch


def finish(
    folder: Path, plan: Plan, cpus: int | None, address: str | None = None, twin: Twin | None = None
) -> None:
    """Run what has no result, write the front and print it; ends the command with its exit code.

    Args:
      folder: The run folder, absolute.
      plan: Its plan.
      cpus: Trials at the same time; None for as many as there are processors.
      address: A running cluster; None for this machine alone.
      twin: Where else the run lives; None if only here.
    """
    # Ray's daemons are forked and at once replaced by other programs, so JAX's threads are not missed.
    warnings.filterwarnings("ignore", message=r"os\.fork\(\) was called", category=RuntimeWarning)
    again = f"Go on with: mpnas resume {short(folder) if twin is None else twin.remote.uri}"

    def lost(words: str) -> None:
        # Another thread: the main one hangs in Ray, which answers to nothing any more.
        cursor = "\x1b[?25h\n" if sys.stderr.isatty() else ""
        done = _done(folder, plan)
        click.echo(f"{cursor}mpnas: the sweep itself failed: {words}. {done}. {again}", err=True)
        with contextlib.suppress(OSError):
            sys.stdout.flush()
        os._exit(SWEEP_FAILED)

    resources = Resources(
        cpus=cpus or (processors() if address is None else None), address=address, lost=lost
    )
    with held(folder), contextlib.nullcontext() if twin is None else twin.sending():
        with sweep_display() as display, Watch(Reader(folder, plan), display):
            outcome = run_pending(folder, resources)
        if outcome.interrupted:
            stop(f"interrupted; {_done(folder, plan)}. {again}", INTERRUPTED)
        if outcome.error is not None:
            stop(f"the sweep itself failed: {outcome.error}. {_done(folder, plan)}. {again}", SWEEP_FAILED)
        front = front_of(folder)
        files = write_front(front, folder)
    print_front(front, files)
    if count := len(front["rejected"]):
        stop(f"{count} of {len(plan.trials)} trials failed; the reasons are under 'Rejected'.", SOME_FAILED)


def write_front(front: dict[str, Any], folder: Path) -> list[Path]:
    """Write `front.json`, `front.png` and, of the best point, `bits.png`; the files written."""
    save(front, folder / "front.json")
    front_png(front, folder / "front.png")
    files = [folder / "front.json", folder / "front.png"]
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
    for sentence in (*verdict(front), *gap_warnings(front)):
        click.echo(sentence)
    if files:
        click.echo("\nWritten: " + ", ".join(short(path) for path in files))


def _done(folder: Path, plan: Plan) -> str:
    done = sum(has_result(folder, trial.id) for trial in plan.trials)
    return f"{done} of {len(plan.trials)} trials are done, and the others keep their checkpoints"
