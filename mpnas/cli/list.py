"""`mpnas list`: the runs in a folder."""

import time
from pathlib import Path

import click

from mpnas.cli.options import FOLDER
from mpnas.cli.printing import duration, percent, row, short, show
from mpnas.cli.status import look
from mpnas.errors import RunFolderError
from mpnas.report.tables import table_of
from mpnas.sweep.folder import outline_of
from mpnas.sweep.standing import standing_of


@click.command("list", epilog="""\b
Examples:
  mpnas list
  mpnas list /mnt/shared/runs""")
@click.argument("root", metavar="[ROOT]", type=FOLDER, default=Path("runs"))
def command(root: Path) -> None:
    """List the runs in ROOT (default: runs), newest first."""
    root = root.expanduser().resolve()
    if not root.is_dir():
        raise RunFolderError(f"there is no folder {root}. Name the one that holds your runs.")
    folders = sorted(
        (path.parent for path in root.glob("*/plan.json")),
        key=lambda f: -(f / "plan.json").stat().st_mtime,
    )
    if not folders:
        raise RunFolderError(f"{root} holds no run. Start one with mpnas sweep.")
    table = table_of("Runs", ["folder", "experiment", "state"], ["done", "failed", "on front", "hypervolume"],
                     ["begun"])
    for folder in folders:
        age = f"{duration(time.time() - (folder / 'plan.json').stat().st_mtime)} ago"
        try:
            statuses, holder = look(folder)
        except RunFolderError as error:
            row(table, short(folder), "-", "damaged", "-", "-", "-", "-", str(error))
            continue
        done, failed = (sum(s.state == state for s in statuses) for state in ("done", "failed"))
        standing = standing_of(statuses)
        volume = percent(standing.hypervolume if standing.front else None)
        state = "running" if holder else "done" if done + failed == len(statuses) else "interrupted"
        row(table, short(folder), outline_of(folder).name, state, f"{done}/{len(statuses)}", failed,
            len(standing.front), volume, age)
    show(table)
