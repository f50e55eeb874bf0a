"""`mpnas export`: a point of a front as a file for elsewhere."""

from pathlib import Path

import click
from rich.table import Table

from mpnas.cli.front import new_file, opened
from mpnas.cli.options import FOLDER, overwrite_option
from mpnas.cli.printing import row, short, show
from mpnas.cli.prospect import configure_process
from mpnas.export.parity import Parity
from mpnas.report.tables import table_of
from mpnas.sweep.exported import EXPORTERS, Shipped, Written, export_point
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
    what the file computes is compared with it on images of the test part.

    \b
    packed     integers alone, its weights in exactly as many bits as weight_bytes counts;
               mpnas.export.unpack and the C in mpnas/export/c read it
    onnx       for onnxruntime: QuantizeLinear and DequantizeLinear around integers (extra: onnx)
    stablehlo  the discretised network as a program of JAX, its weights in floats
    csv, qwix  the bits of each layer as a table, or as rules for qwix
    """
    folder, front = opened(run)
    point_of(front, point_id)
    path = new_file(out, overwrite)
    configure_process(load_plan(folder).threads)
    shipped, written, parity = export_point(folder, front, point_id, kind, path)
    show(told(shipped, written, parity, path))
    click.echo(f"Written: {short(path)}")


def told(shipped: Shipped, written: Written, parity: Parity | None, path: Path) -> Table:
    """What the file is made of, beside what the front says of it, and how far it is from the network."""
    point = shipped.found.point
    table = table_of(f"{point['id']}: {point['label']}", [""], ["bits", "bytes"])
    length = path.stat().st_size
    for name, bits in {**written.sizes, "file": 8 * length}.items():
        row(table, name, f"{bits:,}", f"{bits / 8:,g}")
    said = point["costs"].get("weight_bytes")
    if said is not None:
        row(table, "weight_bytes of the front", f"{8 * said:,g}", f"{said:,g}")
    if parity is not None:
        table.caption = (
            f"against the network, {parity.n:,} test inputs: {100 * parity.mismatch_rate:.2f} % other "
            f"answers, largest difference of an output {parity.max_abs_diff:.3g}"
        )
        if parity.metric_diff is not None:
            table.caption += f", accuracy {100 * parity.metric_diff:+.2f} points"
    return table
