"""`mpnas status`: how a run stands, from its folder alone."""

import dataclasses
import json
import math
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.live import Live

from mpnas.cli.live import LINE_EVERY, Screen, overall_text, statuses_table
from mpnas.cli.options import FOLDER
from mpnas.cli.printing import show
from mpnas.sweep.folder import outline_of
from mpnas.sweep.hold import Holder, holder_of
from mpnas.sweep.standing import standing_of
from mpnas.sweep.watch import Pace, Reader, Status

LOOK_EVERY = 1.0  # seconds


@click.command("status", epilog="""\b
Examples:
  mpnas status runs/digits
  mpnas status runs/digits --watch
  mpnas status runs/digits --json""")
@click.argument("folder", metavar="DIR", type=FOLDER)
@click.option("--json", "as_json", is_flag=True, help="Print JSON: one object, or with --watch one a line.")
@click.option("--watch", is_flag=True, help="Look again and again until the run ends.")
def command(folder: Path, as_json: bool, watch: bool) -> None:
    """Show how the run in DIR stands: its trials, its front so far, who runs it.

    Reads the files of the run and nothing else, so it works beside a living run of another terminal or,
    on a shared folder, of another machine.
    """
    folder = folder.expanduser().resolve()
    if watch:
        _watch(folder, as_json)
    else:
        statuses, holder = look(folder)
        if as_json:
            click.echo(json.dumps(status_json(folder, statuses, holder), indent=1, sort_keys=True))
            return
        show(statuses_table(statuses))
        for line in summary(statuses, holder):
            click.echo(line)


Look = tuple[tuple[Status, ...], Holder | None]


def look(folder: Path) -> Look:
    """The statuses of a run at this moment, and who runs it; what nobody runs is not running."""
    return next(looks(folder))


def looks(folder: Path) -> Iterator[Look]:
    """What `look` gives, again and again; results are read once for as long as the holder is the same."""
    reader, began = None, math.nan
    while True:
        holder = holder_of(folder)
        since = math.inf if holder is None else holder.since
        if reader is None or since != began:
            reader, began = Reader(folder, outline_of(folder), since=since), since
        statuses = reader.look()
        if holder is None:
            statuses = tuple(
                dataclasses.replace(s, state="interrupted") if s.state == "waiting" and s.step else s
                for s in statuses
            )
        yield statuses, holder


def _watch(folder: Path, as_json: bool) -> None:
    if as_json or not sys.stdout.isatty():
        for statuses, holder in looks(folder):
            if as_json:
                click.echo(json.dumps(status_json(folder, statuses, holder), sort_keys=True))
            else:
                click.echo("; ".join(summary(statuses, holder)))
            if holder is None:
                return
            time.sleep(LOOK_EVERY if as_json else LINE_EVERY)
    console = Console()
    screen = Screen(console.size.height)
    with Live(console=console, refresh_per_second=2) as live:
        for statuses, holder in looks(folder):
            live.update(screen(statuses))
            if holder is None:
                return
            time.sleep(LOOK_EVERY)


def summary(statuses: tuple[Status, ...], holder: Holder | None) -> list[str]:
    """The run on a few lines."""
    overall = Pace().overall(statuses)
    said = standing_of(statuses).text()
    who = "nobody runs it" if holder is None else f"run by process {holder.pid} on {holder.host or 'a host'}"
    if holder is None and overall.over < overall.trials:
        who += "; go on with mpnas resume"
    return [overall_text(overall, alive=holder is not None), *([said] if said else []), who]


def status_json(folder: Path, statuses: tuple[Status, ...], holder: Holder | None) -> dict[str, Any]:
    """A run at one moment as plain data."""
    standing = standing_of(statuses)
    overall = dataclasses.asdict(Pace().overall(statuses))
    overall.pop("seconds_left")  # from a single look there is no pace
    return {
        "run": outline_of(folder).name,
        "holder": None if holder is None else dataclasses.asdict(holder),
        "overall": overall,
        "front": [{standing.cost: cost, "accuracy": accuracy} for cost, accuracy in standing.front],
        "hypervolume": standing.hypervolume,
        "trials": [dataclasses.asdict(status) for status in statuses],
    }
