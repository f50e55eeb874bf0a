"""`mpnas pareto show`: a front as tables."""

from pathlib import Path

import click

from mpnas.cli.front import opened
from mpnas.cli.options import FOLDER
from mpnas.cli.printing import show
from mpnas.report import front_table, reference_table, rejected_table, verdict, volume_text
from mpnas.report.tables import exports_table


@click.command("show", epilog="""\b
Example:
  mpnas pareto show runs/digits""")
@click.argument("front", type=FOLDER)
@click.option("--dominated/--no-dominated", default=True, show_default=True,
              help="List points off the front, too.")
def command(front: Path, dominated: bool) -> None:
    """Print the tables of FRONT and the verdict on its searches."""
    _, document = opened(front)
    tables = [front_table(document, dominated=dominated), reference_table(document)]
    if document["rejected"]:
        tables.append(rejected_table(document))
    if (exports := exports_table(document)) is not None:
        tables.append(exports)
    show(*tables)
    for sentence in filter(None, (volume_text(document), *verdict(document))):
        click.echo(sentence)
