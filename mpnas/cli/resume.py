"""`mpnas resume`: what an interrupted run has left undone, and its front."""

from pathlib import Path

import click

from mpnas.cli.finish import finish
from mpnas.cli.options import FOLDER, cpus_option
from mpnas.cli.prospect import prospect
from mpnas.cli.sweep import announce
from mpnas.sweep.plan import load_plan


@click.command("resume", epilog="""\b
Example:
  mpnas resume runs/digits""")
@click.argument("folder", metavar="DIR", type=FOLDER)
@cpus_option
def command(folder: Path, cpus: int | None) -> None:
    """Finish the run in DIR, and write its front again.

    Trials that have a result are kept as they are; the others go on from their last checkpoints, with
    the settings that the run began with.
    """
    folder = folder.expanduser().resolve()
    plan = load_plan(folder)
    prospect(plan).refuse()
    announce(plan, folder)
    finish(folder, plan, cpus)
