"""`mpnas pareto compare`: two fronts held against each other."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import click

from mpnas.cli.front import opened
from mpnas.cli.options import FOLDER
from mpnas.cli.printing import row, show
from mpnas.pareto.compare import Comparison, compare
from mpnas.pareto.objectives import first_cost, select_metric
from mpnas.report.tables import amount_text, table_of


@click.command("compare", epilog="""\b
Example:
  mpnas pareto compare runs/gumbel runs/dbp""")
@click.argument("a", type=FOLDER)
@click.argument("b", type=FOLDER)
@click.option("--samples", type=click.IntRange(1, 100_000), default=1000, show_default=True,
              help="Resamplings of the seeds.")
@click.option("--json", "as_json", is_flag=True, help="Print everything as JSON.")
def command(a: Path, b: Path, samples: int, as_json: bool) -> None:
    """Hold the fronts A and B against each other.

    By hypervolume up to one reference point, by the additive epsilon indicator both ways (Zitzler et
    al., 2003), and cost by cost: where A reaches the better accuracy, where B does. Resampling the
    seeds of each label tells how much of the difference could be luck.
    """
    (_, one), (_, other) = opened(a), opened(b)
    found = compare(one, other, samples)
    if as_json:
        said = {"a": str(a), "b": str(b), "verdict": verdict(found), **dataclasses.asdict(found)}
        click.echo(json.dumps(said, sort_keys=True, indent=1, ensure_ascii=False, allow_nan=False))
        return
    click.echo(f"A: {a}\nB: {b}\n{verdict(found)}\n")
    show(numbers_table(found), stretch_table(found, one))
    for note in found.notes:
        click.echo(note)


def verdict(found: Comparison) -> str:
    """One line: which front is better, in which sense, and whether the seeds bear it out."""
    if not all(found.points):
        some = [name for name, count in zip("AB", found.points, strict=True) if count]
        return f"Only {some[0]} has points." if some else "Neither front has points."
    assert found.epsilon is not None  # as both have points
    matched = [value <= 0 for value in found.epsilon]
    if all(matched):
        return "A and B are the same front."
    if any(matched):
        better, worse = ("A", "B") if matched[0] else ("B", "A")
        text = f"{better} is better than {worse}: it matches or beats every point of {worse}"
    else:
        text = f"Neither is better everywhere; {_larger(found)}"
    return f"{text}; {_luck(found)}."


def _larger(found: Comparison) -> str:
    one, other = found.hypervolume
    if one == other:
        return "both cover the same volume"
    better, worse = ("A", "B") if one > other else ("B", "A")
    less = min(one, other)
    by = f"{100 * abs(one - other) / less:.2g} % " if less else ""
    return f"{better} covers {by}more volume than {worse}"


def _luck(found: Comparison) -> str:
    if found.bootstrap.ends is None:
        return str(found.bootstrap.why)
    low, high = found.bootstrap.ends
    level = f"{100 * found.bootstrap.level:.0f} % interval of A - B {low:,.6g} to {high:,.6g}"
    return f"{'more' if low > 0 or high < 0 else 'no more'} than the luck of the seeds ({level})"


def numbers_table(found: Comparison) -> Any:
    """Hypervolume, epsilon and points of both fronts."""
    table = table_of("Fronts", ["measure"], ["A", "B"])
    row(table, "points on the front", *found.points)
    row(table, "hypervolume", *(f"{value:,.6g}" for value in found.hypervolume))
    if found.share is not None:
        row(table, "share of the reference box [%]", *(f"{100 * value:.2f}" for value in found.share))
    if found.epsilon is not None:
        row(table, "additive epsilon against the other", *(f"{value:.4f}" for value in found.epsilon))
    corner = ", ".join(f"{name} {value:,.6g}" for name, value in found.reference_point.items())
    table.caption = (
        f"reference point: {corner} ({found.rule})\nepsilon: least improvement that leaves no point of the "
        f"other unmatched; {found.normalisation}"
    )
    return table


def stretch_table(found: Comparison, front: dict[str, Any]) -> Any:
    """Where along the first cost which front is better."""
    cost, metric = first_cost(front), select_metric(front)
    scale, unit = (100, "points") if metric["unit"] == "fraction" else (1, metric["unit"])
    table = table_of(
        f"Best {metric['name']} up to a cost", [], [f"from {cost['name']}", "to below"],
        ["better", f"by up to [{unit}]"],
    )
    for part in found.stretches:
        end = "-" if part.end is None else amount_text(part.end)
        gap = "the other has nothing as cheap" if part.gap is None else f"{scale * part.gap:.2f}"
        row(table, amount_text(part.start), end, part.better, "-" if part.better == "equal" else gap)
    return table
