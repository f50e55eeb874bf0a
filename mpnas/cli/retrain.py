"""`mpnas retrain`: the network of one point, trained again."""

from pathlib import Path

import click
from rich.table import Table

from mpnas.cli.exits import INTERRUPTED, stop
from mpnas.cli.front import opened
from mpnas.cli.live import trial_display
from mpnas.cli.options import FOLDER
from mpnas.cli.printing import percent, row, short, show
from mpnas.cli.prospect import configure_process
from mpnas.report.tables import amount_text, table_of
from mpnas.sweep.plan import load_plan
from mpnas.sweep.point import METRIC_OF, Retrained, point_of, retrain_point


@click.command("retrain", epilog="""\b
Examples:
  mpnas retrain runs/digits --point p003
  mpnas retrain runs/digits --point p003 --set recipe.retrain.steps=5000""")
@click.argument("run", type=FOLDER)
@click.option("--point", "point_id", required=True, metavar="ID", help="Point or reference of the front.")
@click.option("--set", "overrides", multiple=True, metavar="KEY=VALUE",
              help="Override a key of the retraining, such as recipe.retrain.steps=5000. Repeatable.")
def command(run: Path, point_id: str, overrides: tuple[str, ...]) -> None:
    """Train the network of one point of RUN again.

    RUN is a run folder or its front.json. The assignment stays; training starts from the float network
    of the point's seed, with the recipe of the run unless it is overridden. The result is written to
    RUN/retrained/<point>/ and the front is left alone. Called again, an interrupted training goes on.
    """
    folder, front = opened(run)
    point_of(front, point_id)
    configure_process(load_plan(folder).threads)
    try:
        with trial_display() as display:
            done = retrain_point(folder, front, point_id, overrides, report=display)
    except KeyboardInterrupt:
        stop("interrupted; the same command goes on from the last checkpoint.", INTERRUPTED)
    show(before_and_after(done))
    click.echo(f"Written: {short(done.folder / 'result.json')}, {short(done.folder / 'checkpoint')}")


def before_and_after(done: Retrained) -> Table:
    """The metrics and costs of a point in its front, and after training it again."""
    table = table_of(f"{done.point['id']}: {done.point['label']}", ["", "part"], ["before", "after"])
    for part, name in METRIC_OF.items():
        before = done.point["metrics"][name]["mean"]
        row(table, "accuracy", part, percent(before), percent(done.record.metrics[name]))
    for name, cost in done.record.costs.items():
        row(table, name, "", amount_text(done.point["costs"][name]), amount_text(cost))
    return table
