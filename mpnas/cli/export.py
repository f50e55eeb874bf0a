"""`mpnas export`: a point of a front as a file for elsewhere."""

from pathlib import Path

import click
from rich.table import Table

from mpnas.cli.front import front_file, new_file, opened
from mpnas.cli.options import FOLDER, overwrite_option
from mpnas.cli.printing import row, short, show
from mpnas.cli.prospect import configure_process
from mpnas.errors import ConfigError
from mpnas.export.ops import ROUNDINGS
from mpnas.report.page import write_page
from mpnas.report.tables import parity_text, table_of
from mpnas.sweep.exported import COMPARED, Exported, export_point, place_of
from mpnas.sweep.formats import FORMATS, STORAGES, Format, format_named
from mpnas.sweep.plan import load_plan


class Inputs(click.ParamType):
    """A number of inputs, or `all`."""

    name = "inputs"

    def convert(self, value: object, param: object, ctx: object) -> int | str:
        """`value` as a number >= 1, or as `all`."""
        text = str(value)
        if text == "all" or text.isascii() and text.isdigit() and int(text) > 0:
            return text if text == "all" else int(text)
        return self.fail(f"{text!r} is neither a number of inputs above 0 nor 'all'.")


@click.command("export", epilog="""\b
Examples:
  mpnas export runs/digits --point p003
  mpnas export runs/digits --point p003 --out p003.mpnas --inputs all
  mpnas export runs/digits --point p003 --format onnx --out p003.onnx
  mpnas export runs/digits --point p003 --format onnx --storage packed
  mpnas export runs/digits --point p003 --format qwix --out rules.py
  mpnas export runs/digits --point p003 --weights runs/digits/retrained/p003-sdq/seed0""")
@click.argument("run", type=FOLDER)
@click.option("--point", "point_id", required=True, metavar="ID", help="Point or reference of the front.")
@click.option("--format", "name", type=click.Choice(list(FORMATS)), default="packed", show_default=True,
              help="Kind of file.")
@click.option("--out", type=FOLDER, metavar="FILE",
              help="File to write; default RUN/exports/<trial>, with the suffix of the format.")
@click.option("--weights", type=FOLDER, metavar="DIR",
              help="Seed of a retraining, RUN/retrained/<point>-<recipe>/seed<n>, whose weights are exported "
                   "instead of the trial's; its record then has the export, and the front does not.")
@click.option("--storage", type=click.Choice(STORAGES),
              help="onnx: kernels in bytes (the default), or each channel in 2, 4, 8 or 16 bits.")
@click.option("--vnni", is_flag=True, default=None,
              help="onnx: kernels of 8 bits in signed bytes, for processors with VNNI, or ARM's.")
@click.option("--rounding", type=click.Choice(ROUNDINGS),
              help="packed, onnx: how an accumulator becomes a code; single_round, the default, is the "
                   "only one that the network itself does.")
@click.option("--inputs", type=Inputs(), metavar="N|all",
              help=f"Inputs of the test part that parity is measured on; default {COMPARED}.")
@overwrite_option
def command(
    run: Path, point_id: str, name: str, out: Path | None, weights: Path | None, storage: str | None,
    vnni: bool | None, rounding: str | None, inputs: int | str | None, overwrite: bool,
) -> None:
    """Write the network of one point of RUN as a file.

    RUN is a run folder or its front.json. The network is rebuilt from its checkpoint and assignment, and
    what the file computes is compared with it on inputs of the test part. File, digest and parity go into
    the record of its trial and into the front; mpnas eval RUN --point checks them. What is recorded lies in
    the run folder: a FILE outside of it is a copy of RUN/exports/<trial>. There an export of the same point
    and options is replaced. While a sweep lives, nothing is exported from its run.

    \b
    packed     integers alone, its weights in exactly as many bits as weight_bytes counts;
               mpnas.export.unpack and the C in mpnas/export/c read it
    onnx       for onnxruntime: QuantizeLinear and DequantizeLinear around integers (extra: onnx)
    stablehlo  the discretised network as a program of JAX, its weights in floats
    csv, qwix  the bits of each layer as a table, or as rules for qwix (Python if FILE ends in .py)
    """
    file = front_file(run)
    folder, front = opened(file)
    python = name == "qwix" and out is not None and out.suffix == ".py"
    kind = format_named(
        name, storage=storage, vnni=vnni, rounding=rounding, language="python" if python else None,
    )
    if inputs is not None and not kind.runs:
        raise ConfigError(f"--inputs says what a file is run on; nothing runs the format {name}.")
    target = None if out is None else new_file(out, overwrite)
    source = None if weights is None else weights.expanduser().resolve()
    place_of(folder, front, point_id, kind, target, source)
    configure_process(load_plan(folder).threads)
    count = None if inputs == "all" else int(inputs or COMPARED)
    done = export_point(file, front, point_id, kind, target, weights=source, inputs=count)
    show(told(done))
    said(done, kind, folder, target)


def said(done: Exported, kind: Format, folder: Path, out: Path | None) -> None:
    """Print where everything is."""
    if done.entry["float_ops"] and kind.runs:
        click.echo(f"In float: {', '.join(done.entry['float_ops'])}.")
    files = [done.path] if out in (None, done.path) else [out, done.path]
    if not done.recorded:
        click.echo(f"Not recorded in the front: {short(folder)} cannot be written to.")
    elif (folder / "report.html").exists():
        files.append(write_page(folder, done.front))
    click.echo("Written: " + ", ".join(short(path) for path in files if path is not None))


def told(done: Exported) -> Table:
    """What the file is made of, beside what the front says of it, and how far it is from the network."""
    point, length = done.found.point, done.entry["file_bytes"]
    table = table_of(f"{point['id']}: {point['label']}", [""], ["bits", "bytes"])
    for name, bits in {**done.written.sizes, "file": 8 * length}.items():
        row(table, name, f"{bits:,}", f"{bits / 8:,g}")
    said = point["costs"].get("weight_bytes")
    if said is not None:
        row(table, "weight_bytes of the front", f"{8 * said:,g}", f"{said:,g}")
    if "parity" in done.entry:
        table.caption = f"against the network, {parity_text(done.entry['parity'])}"
    return table
