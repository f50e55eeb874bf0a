"""`mpnas clean`: what a run folder can do without."""

from pathlib import Path

import click

from mpnas.cli.options import FOLDER
from mpnas.cli.printing import row, short, show
from mpnas.report.tables import table_of
from mpnas.sweep.clean import leftovers, remove
from mpnas.sweep.folder import plan_document
from mpnas.sweep.hold import held


@click.command("clean", epilog="""\b
Examples:
  mpnas clean runs/digits                  show what could go
  mpnas clean runs/digits --yes            remove it
  mpnas clean runs/digits --dominated --yes""")
@click.argument("folder", metavar="DIR", type=FOLDER)
@click.option("--dominated", is_flag=True,
              help="Also checkpoints of points off the front and of baselines; they can no longer be "
                   "evaluated or handed on, only trained again.")
@click.option("--yes", is_flag=True, help="Remove it; without this it is only shown.")
def command(folder: Path, dominated: bool, yes: bool) -> None:
    """Show, or with --yes remove, what the run in DIR can do without.

    That is what faults have left: damaged checkpoints that were set aside, half-written files, tracebacks
    of trials that ended well, unfinished retrainings. The front stays whole; a living run is not touched.
    """
    folder = folder.expanduser().resolve()
    plan_document(folder)
    with held(folder):
        found = leftovers(folder, dominated=dominated)
        if not found:
            click.echo(f"{short(folder)} holds nothing that it can do without.")
            return
        table = table_of("Can go", ["path", "why"], ["bytes"])
        for one in found:
            row(table, one.path.relative_to(folder).as_posix(), one.why, f"{one.size:,}")
        show(table)
        total = sum(one.size for one in found)
        if yes:
            remove(folder, found)
            click.echo(f"Removed {total:,} bytes.")
        else:
            click.echo(f"{total:,} bytes. Remove them with: mpnas clean {short(folder)} --yes")
