"""`mpnas resume`: what an interrupted run has left undone, and its front."""

import click

from mpnas.cli.finish import finish
from mpnas.cli.options import address_option, cpus_option
from mpnas.cli.prospect import prospect
from mpnas.cli.sweep import announce
from mpnas.cli.twin import PLACE, Place, run_place
from mpnas.sweep.plan import load_plan


@click.command("resume", epilog="""\b
Example:
  mpnas resume runs/digits""")
@click.argument("place", metavar="DIR|URI", type=PLACE)
@cpus_option
@address_option
def command(place: Place, cpus: int | None, address: str | None) -> None:
    """Finish the run in DIR or at URI, and write its front again.

    Trials that have a result are kept as they are; the others go on from their last checkpoints, with
    the settings that the run began with.
    """
    folder, twin = run_place(place, "")
    plan = load_plan(folder)
    prospect(plan).refuse()
    announce(plan, folder)
    finish(folder, plan, cpus, address, twin)
