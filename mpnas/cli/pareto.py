"""`mpnas pareto`: show a front, pick from it, validate it; needs neither JAX nor Ray."""

from pathlib import Path
from typing import Any

import click

from mpnas.cli.amount import amount, fraction
from mpnas.cli.exits import BAD_INPUT, stop
from mpnas.cli.front import opened
from mpnas.cli.options import FOLDER, pairs
from mpnas.cli.printing import percent, row, show
from mpnas.errors import ConfigError
from mpnas.pareto import pick, violations
from mpnas.report import bits_table, front_table, reference_table, rejected_table, verdict
from mpnas.report.tables import amount_text, table_of


@click.group("pareto")
def command() -> None:
    """Show, check or pick from a front.

    FRONT is a front.json, or the run folder that holds it. Fronts are plain data: these commands
    start at once and also read those of strangers.
    """


@command.command("show", epilog="""\b
Example:
  mpnas pareto show runs/digits""")
@click.argument("front", type=FOLDER)
@click.option("--dominated/--no-dominated", default=True, show_default=True,
              help="List points off the front, too.")
def show_front(front: Path, dominated: bool) -> None:
    """Print the tables of FRONT and the verdict on its searches."""
    _, document = opened(front)
    tables = [front_table(document, dominated=dominated), reference_table(document)]
    if document["rejected"]:
        tables.append(rejected_table(document))
    show(*tables)
    for sentence in verdict(document):
        click.echo(sentence)


@command.command("pick", epilog="""\b
Examples:
  mpnas pareto pick runs/digits --max weight_bytes=5kB
  mpnas pareto pick runs/digits --max-drop 1%            the smallest within one point""")
@click.argument("front", type=FOLDER)
@click.option("--max", "maxima", multiple=True, metavar="COST=AMOUNT",
              help="Largest cost, such as weight_bytes=5kB or bops=3e6. Repeatable.")
@click.option("--max-drop", metavar="SHARE",
              help="Largest loss of accuracy against the float network, such as 1% or 0.01.")
def pick_point(front: Path, maxima: tuple[str, ...], max_drop: str | None) -> None:
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
        elif unit == "fraction":
            row(table, name, percent(point["metrics"][name]["mean"]).removesuffix(" %"), "%")
        else:
            row(table, name, f"{point['metrics'][name]['mean']:.6g}", unit)
    return table


@command.command("validate", epilog="""\b
Example:
  mpnas pareto validate runs/digits""")
@click.argument("front", type=FOLDER)
def validate(front: Path) -> None:
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
