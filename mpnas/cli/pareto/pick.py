"""`mpnas pareto pick`: the point of a front that a device can afford."""

from pathlib import Path
from typing import Any

import click

from mpnas.cli.amount import amount, fraction
from mpnas.cli.front import opened
from mpnas.cli.options import FOLDER, pairs
from mpnas.cli.printing import percent, row, show
from mpnas.errors import ConfigError
from mpnas.pareto import pick
from mpnas.report import bits_table
from mpnas.report.tables import amount_text, table_of


@click.command("pick", epilog="""\b
Examples:
  mpnas pareto pick runs/digits --max weight_bytes=5kB
  mpnas pareto pick runs/digits --max-drop 1%            the smallest within one point""")
@click.argument("front", type=FOLDER)
@click.option("--max", "maxima", multiple=True, metavar="COST=AMOUNT",
              help="Largest cost, such as weight_bytes=5kB or bops=3e6. Repeatable.")
@click.option("--max-drop", metavar="SHARE",
              help="Largest loss of accuracy against the float network, such as 1% or 0.01.")
def command(front: Path, maxima: tuple[str, ...], max_drop: str | None) -> None:
    """Pick the best point of FRONT for a device.

    Under --max the most accurate point is picked, with --max-drop alone the smallest one. Accuracy is
    that on the selection part: the test part selects nothing.
    """
    folder, document = opened(front)
    limits = {name: amount(name, text) for name, text in pairs(maxima, "--max", "weight_bytes=5kB").items()}
    drop = None if max_drop is None else fraction("--max-drop", max_drop)
    if not limits and drop is None:
        raise ConfigError("a pick needs a bound: --max weight_bytes=5kB, or --max-drop 1%.")
    point = pick(document, limits, drop)
    click.echo(f"{point['id']}: {point['label']}, seed {point['seed']} (trial {point['trial']})")
    show(point_table(document, point), bits_table(point, document["run"]["sites"]))
    if "checkpoint" in point["artifacts"]:
        click.echo(f"Checkpoint: {folder / point['artifacts']['checkpoint']}")


def point_table(front: dict[str, Any], point: dict[str, Any]) -> Any:
    """Every objective of one point."""
    table = table_of("Objectives", ["objective"], ["value"], ["unit"])
    for objective in front["objectives"]:
        name, unit = objective["name"], objective["unit"]
        if objective["kind"] == "cost":
            cost = point["costs"].get(name)
            row(table, name, "-" if cost is None else amount_text(cost), unit)
            continue
        mean = point["metrics"].get(name, {}).get("mean")
        if unit == "fraction":
            row(table, name, percent(mean).removesuffix(" %"), "%")
        else:
            row(table, name, "-" if mean is None else f"{mean:.6g}", unit)
    return table
