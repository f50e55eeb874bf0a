"""`mpnas pareto validate`: a front held against its promises."""

from pathlib import Path

import click

from mpnas.cli.exits import BAD_INPUT, stop
from mpnas.cli.front import opened
from mpnas.cli.options import FOLDER
from mpnas.pareto import violations


@click.command("validate", epilog="""\b
Example:
  mpnas pareto validate runs/digits""")
@click.argument("front", type=FOLDER)
def command(front: Path) -> None:
    """Check that FRONT keeps its promises; code 2 if it breaks one.

    Ten invariants: schema, dominance, decisions, ties, statistics, canonical bytes, and the hashes of
    the files beside it. That costs follow from assignments needs the network: mpnas eval RUN --point.
    """
    folder, document = opened(front)
    broken = violations(document, root=folder)
    for sentence in broken:
        click.echo(sentence)
    if broken:
        stop(f"the front breaks {len(broken)} of its promises.", BAD_INPUT)
    click.echo(f"Sound: {len(document['points'])} points, {len(document['references'])} references, "
               f"{len(document['rejected'])} rejected.")
