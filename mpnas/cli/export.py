"""`mpnas export`: a point of a front as a file for elsewhere."""

from pathlib import Path

import click
from rich.table import Table

from mpnas.cli.front import new_file, opened
from mpnas.cli.options import FOLDER, overwrite_option
from mpnas.cli.printing import row, short, show
from mpnas.cli.prospect import configure_process
from mpnas.report.tables import table_of
from mpnas.sweep.exported import EXPORTERS, Exported, Lowered, export_point
from mpnas.sweep.plan import load_plan
from mpnas.sweep.point import point_of


@click.command("export", epilog="""\b
Examples:
  mpnas export runs/digits --point p003 --out p003.mpnas
  mpnas export runs/digits/front.json --point p003 --format packed --out p003.mpnas""")
@click.argument("run", type=FOLDER)
@click.option("--point", "point_id", required=True, metavar="ID", help="Point or reference of the front.")
@click.option("--format", "kind", type=click.Choice(list(EXPORTERS)), default="packed", show_default=True,
              help="Kind of file.")
@click.option("--out", type=FOLDER, required=True, metavar="FILE", help="File to write.")
@overwrite_option
def command(run: Path, point_id: str, kind: str, out: Path, overwrite: bool) -> None:
    """Write the network of one point of RUN as a file.

    RUN is a run folder or its front.json. The network is rebuilt from its checkpoint and assignment, and
    becomes a graph of integers. packed: one file with its weights in exactly as many bits as the cost
    weight_bytes counts, and the graph; mpnas.export.unpack and the C in mpnas/export/c read it.
    """
    folder, front = opened(run)
    point_of(front, point_id)
    path = new_file(out, overwrite)
    configure_process(load_plan(folder).threads)
    lowered, made = export_point(folder, front, point_id, kind, path)
    show(sizes(lowered, made))
    click.echo(f"Written: {short(path)}")


def sizes(lowered: Lowered, made: Exported) -> Table:
    """What the file is made of, beside what the front says of it."""
    table = table_of(f"{lowered.point['id']}: {lowered.point['label']}", [""], ["bits", "bytes"])
    for name, bits in made.sizes.items():
        row(table, name, f"{bits:,}", f"{bits / 8:,g}")
    row(table, "file", f"{8 * len(made.data):,}", f"{len(made.data):,}")
    said = lowered.point["costs"].get("weight_bytes")
    if said is not None:
        row(table, "weight_bytes of the front", f"{8 * said:,g}", f"{said:,g}")
    return table
