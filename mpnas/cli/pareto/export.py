"""`mpnas pareto export`: a front for other programs."""

from pathlib import Path

import click

from mpnas.cli.front import new_file, opened
from mpnas.cli.options import FOLDER, overwrite_option
from mpnas.cli.printing import short
from mpnas.errors import FrontFileError
from mpnas.pareto.spreadsheet import csv_of
from mpnas.pareto.study import save_study


@click.command("export", epilog="""\b
Examples:
  mpnas pareto export runs/digits --format csv --out digits.csv
  mpnas pareto export runs/digits --format optuna --out digits.db""")
@click.argument("front", type=FOLDER)
@click.option("--format", "kind", type=click.Choice(["csv", "optuna"]), required=True,
              help="A table, or a study for Optuna's plots and dashboard.")
@click.option("--out", type=FOLDER, metavar="PATH", required=True,
              help="File to write; for optuna one that ends in .db (SQLite) or .log (journal).")
@overwrite_option
def command(front: Path, kind: str, out: Path, overwrite: bool) -> None:
    """Write FRONT as CSV or as an Optuna study.

    CSV has a row per point and reference, with bits per site as `8x2 0x1`: two channels of 8 bits, one
    left out. Text that a spreadsheet would compute is marked as text. A study holds the points, with the
    objectives that decide; its best trials are the front.
    """
    target = new_file(out, overwrite)
    _, document = opened(front)
    if kind == "csv":
        try:
            target.write_text(csv_of(document), encoding="utf-8", newline="")
        except OSError as error:
            raise FrontFileError(f"{target} cannot be written: {error.strerror}.") from error
        click.echo(f"{len(document['points']) + len(document['references'])} rows.")
    else:
        click.echo(f"Study '{save_study(document, target)}', {len(document['points'])} trials.")
    click.echo(f"Written: {short(target)}")
