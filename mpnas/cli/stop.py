"""`mpnas stop`: a living run asked to end."""

from pathlib import Path

import click

from mpnas.cli.exits import SWEEP_FAILED
from mpnas.cli.exits import stop as end
from mpnas.cli.options import FOLDER
from mpnas.cli.printing import short
from mpnas.errors import RunFolderError
from mpnas.sweep.folder import plan_document
from mpnas.sweep.hold import ask_to_stop, holder_of, wait_until_free


@click.command("stop", epilog="""\b
Example:
  mpnas stop runs/digits""")
@click.argument("folder", metavar="DIR", type=FOLDER)
@click.option("--now", is_flag=True, help="End at once; work since the last checkpoints is done again later.")
@click.option("--wait", "seconds", type=click.FloatRange(min=0), default=120.0, show_default=True,
              metavar="SECONDS", help="How long to wait for its end.")
def command(folder: Path, now: bool, seconds: float) -> None:
    """Ask the run in DIR to end, as Ctrl-C in its terminal does; mpnas resume goes on with it.

    Works from any terminal, and on a shared folder from any machine.
    """
    folder = folder.expanduser().resolve()
    plan_document(folder)
    holder = holder_of(folder)
    if holder is None:
        raise RunFolderError(f"nobody runs {folder}, so there is nothing to stop.")
    ask_to_stop(folder, at_once=now)
    if not wait_until_free(folder, seconds):
        end(f"process {holder.pid} on {holder.host} has not ended in {seconds:g} s. Ask again with --now, "
            "or end it there.", SWEEP_FAILED)
    click.echo(f"{short(folder)} has ended. Go on with: mpnas resume {short(folder)}")
