"""`mpnas pareto merge`: one front of those of several sweeps."""

from pathlib import Path
from typing import Any

import click

from mpnas.cli.front import new_file, opened
from mpnas.cli.options import FOLDER, overwrite_option
from mpnas.cli.printing import short
from mpnas.pareto import save
from mpnas.pareto.artifacts import relocated
from mpnas.pareto.merge import merge


@click.command("merge", epilog="""\b
Example:
  mpnas pareto merge runs/digits runs/digits-long --out runs/both.json""")
@click.argument("fronts", metavar="FRONT...", type=FOLDER, nargs=-1, required=True)
@click.option("--out", type=FOLDER, metavar="FILE", required=True, help="Where to write the merged front.")
@overwrite_option
def command(fronts: tuple[Path, ...], out: Path, overwrite: bool) -> None:
    """Make one front of those of several sweeps of one network.

    Dominance, ids and hypervolume are those of all points together. Trials that have the same name in
    two runs get that of their run before it, and so do labels where the runs differ in more than their
    seeds. Neither the order of the fronts nor one given twice changes a byte. Files of a point are
    named from the folder of FILE; runs that do not lie below it are merged without them.
    """
    target = new_file(out, overwrite)
    moved, lost = [], []
    for path in fronts:
        folder, document = opened(path)
        place = folder.relative_to(target.parent).as_posix() if folder.is_relative_to(target.parent) else None
        moved.append(relocated(document, place))
        count = sum(bool(row["artifacts"]) for row in document["points"] + document["references"])
        if place is None and count:
            lost.append((path, count))
    merged = merge(moved, [str(path) for path in fronts])
    save(merged, target)
    click.echo(summary(merged))
    for path, count in lost:
        click.echo(
            f"Left out: the checkpoints and exports of {count} networks of {path}, which does not lie below "
            f"{target.parent}. To keep them, write FILE into a folder above all runs."
        )
    click.echo(f"Written: {short(target)}")


def summary(merged: dict[str, Any]) -> str:
    """What was merged, in a sentence or two."""
    names = [run["name"] for run in merged["run"].get("merged", [{"name": merged["run"]["id"]}])]
    points = merged["points"]
    parts = [
        f"{len(names)} run{'s' if len(names) > 1 else ''} ({', '.join(names)})",
        f"{len(points)} points, {sum(point['nondominated'] for point in points)} of them on the front",
        f"{len(merged['references'])} references",
        f"{len(merged['rejected'])} rejected",
    ]
    if "hypervolume" in merged:
        parts.append(f"hypervolume {merged['hypervolume']['value']:,.6g}")
    return "Merged: " + "; ".join(parts) + "."
