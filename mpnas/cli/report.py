"""`mpnas report`: the page of a front, written again from the files alone; needs neither JAX nor Ray."""

from pathlib import Path

import click

from mpnas.cli.front import opened
from mpnas.cli.options import FOLDER
from mpnas.cli.printing import short
from mpnas.report.page import write_page


@click.command("report", epilog="""\b
Example:
  mpnas report runs/digits""")
@click.argument("run", type=FOLDER)
def command(run: Path) -> None:
    """Write report.html beside the front of RUN.

    RUN is a run folder or its front.json. The page is one file that needs no network: the front, bits
    per layer, the searches, the verdict and the commands to make it again. It is made from front.json
    and from what the trials left beside it; a front without them gives a page with fewer figures.
    """
    folder, front = opened(run)
    click.echo(f"Written: {short(write_page(folder, front))}")
