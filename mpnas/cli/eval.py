"""`mpnas eval`: trained weights measured, or a point held against its file."""

from pathlib import Path

import click
from rich.table import Table

from mpnas.cli.exits import BAD_INPUT, stop
from mpnas.cli.front import opened
from mpnas.cli.options import absolute, data_option, processors, set_option
from mpnas.cli.printing import percent, row, show
from mpnas.cli.prospect import configure_process
from mpnas.errors import ConfigError, FrontFileError
from mpnas.report.tables import amount_text, table_of
from mpnas.sweep.config import experiment_of
from mpnas.sweep.plan import load_plan
from mpnas.sweep.point import Measured, Part, float_accuracy, ids_of, measure_point, point_of


@click.command("eval", epilog="""\b
Examples:
  mpnas eval resnet8_cifar10 --data-dir data
  mpnas eval runs/digits --point p003""")
@click.argument("target")
@click.option("--point", "point_id", metavar="ID", help="Point or reference of a run's front.")
@click.option("--part", type=click.Choice(["train", "select", "test"]), default="test", show_default=True,
              help="Part of the data to measure accuracy on.")
@set_option
@data_option
def command(
    target: str, point_id: str | None, part: Part, overrides: tuple[str, ...], data_dir: Path | None
) -> None:
    """Measure trained weights, or check a point against its file.

    TARGET is an experiment that names trained weights: prints their accuracy. Or it is a run folder or
    front.json, with --point: the network is rebuilt from its checkpoint and assignment, all of its
    costs and its accuracy are computed anew and compared with the file; code 2 if they differ.
    """
    path = Path(target).expanduser()
    is_run = path.suffix == ".json" or (path / "front.json").exists() or (path / "plan.json").exists()
    if is_run or point_id is not None:
        _point(path, point_id, part, overrides, data_dir)
    else:
        _weights(target, part, overrides, data_dir)


def _weights(target: str, part: Part, overrides: tuple[str, ...], data_dir: Path | None) -> None:
    experiment, _ = experiment_of(target, overrides)
    configure_process(processors())
    found = float_accuracy(experiment, absolute(data_dir), part)
    click.echo(
        f"{experiment.name}: accuracy {percent(found.accuracy)} on the {found.rows:,} examples of part "
        f"'{part}' (float weights {experiment.weights})"
    )


def _point(
    path: Path, point_id: str | None, part: Part, overrides: tuple[str, ...], data_dir: Path | None
) -> None:
    if overrides or data_dir is not None:
        raise ConfigError(
            "--set and --data-dir go with an experiment; a point is measured as its run was made."
        )
    folder, front = opened(path)
    if point_id is None:
        raise FrontFileError(
            f"which point of {folder} is meant? Name one with --point; the front has {ids_of(front)}."
        )
    point_of(front, point_id)
    configure_process(load_plan(folder).threads)
    found = measure_point(folder, front, point_id, part)
    show(comparison(found))
    if found.differences:
        stop(f"{point_id} differs from its file: {' '.join(found.differences)}", BAD_INPUT)
    click.echo(f"{point_id} agrees with its file.")


def comparison(found: Measured) -> Table:
    """What the front says beside what was measured."""
    table = table_of(f"{found.point['id']}: {found.point['label']}", [""], ["front", "measured"])
    said = found.point["metrics"][found.metric]["mean"] if found.metric in found.point["metrics"] else None
    row(table, f"accuracy ({found.part})", percent(said), percent(found.accuracy))
    for name, cost in found.costs.items():
        written = found.point["costs"].get(name)
        row(table, name, "-" if written is None else amount_text(written), amount_text(cost))
    return table
