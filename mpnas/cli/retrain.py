"""`mpnas retrain`: the network of one point, trained again."""

from pathlib import Path
from typing import Any

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
from mpnas.sweep.point import METRIC_OF, point_of
from mpnas.sweep.retraining import Retrained, retrain_point


@click.command("retrain", epilog="""\b
Examples:
  mpnas retrain runs/digits --point p003
  mpnas retrain runs/digits --point p003 --recipe sdq --seeds 2 --compare
  mpnas retrain runs/digits --point p003 --recipe distil --teacher my_net:teacher
  mpnas retrain runs/digits --point p003 --set recipe.retrain.steps=5000""")
@click.argument("run", type=FOLDER)
@click.option("--point", "point_id", required=True, metavar="ID", help="Point or reference of the front.")
@click.option("--recipe", metavar="NAME",
              help="fine-tune, scratch, distil, sdq or one-to-one; without it, the recipe of the run.")
@click.option("--seeds", type=int, default=1, metavar="N", show_default=True,
              help="Train with so many seeds, and tell their mean and spread.")
@click.option("--teacher", default="float", metavar="NAME", show_default=True,
              help="Whom it learns from: float, a checkpoint folder, or module:callable.")
@click.option("--compare", is_flag=True,
              help="Train without teacher and bins as well, where there are both also with bins alone, and "
                   "tell the gains.")
@click.option("--set", "overrides", multiple=True, metavar="KEY=VALUE",
              help="Override a key of the retraining, such as recipe.retrain.steps=5000. Repeatable.")
def command(
    run: Path, point_id: str, recipe: str | None, seeds: int, teacher: str, compare: bool,
    overrides: tuple[str, ...],
) -> None:
    """Train the network of one point of RUN again.

    RUN is a run folder or its front.json. The assignment stays; training starts from the float network
    of the point's seed (scratch: from fresh weights), with the recipe of the run unless another is named
    or its keys are overridden. The result is written to RUN/retrained/<point>[-<recipe>]/ (with --set or
    --teacher a digest of them is added to the name) and the front is left alone. Called again, an
    interrupted training goes on.
    """
    folder, front = opened(run)
    point_of(front, point_id)
    configure_process(load_plan(folder).threads)
    try:
        with trial_display() as display:
            done = retrain_point(folder, front, point_id, overrides, recipe=recipe, seeds=seeds,
                                 teacher=teacher, compare=compare, report=display)
    except KeyboardInterrupt:
        stop("interrupted; the same command goes on from the last checkpoint.", INTERRUPTED)
    show(before_and_after(done))
    checkpoints = ", ".join(short(done.folder / f"seed{r.seed}" / "checkpoint") for r in done.records)
    click.echo(f"Written: {short(done.folder / 'result.json')}, {checkpoints}")


def before_and_after(done: Retrained) -> Table:
    """The metrics and costs of a point in its front, and after training it again."""
    document = done.document
    against = [("plain", "gain")] if done.plain else []
    against += [("bins", "gain_over_bins")] if done.binned else []
    columns = ["before", "after", *(name.replace("_", " ") for pair in against for name in pair)]
    title = f"{done.point['id']}: {done.point['label']}"
    if document["recipe"] is not None:
        title += f", {document['recipe']}"
    if len(done.records) > 1:
        title += f", {len(done.records)} seeds"
    table = table_of(title, ["", "part"], columns)
    for part, name in METRIC_OF.items():
        cells = [percent(done.point["metrics"][name]["mean"]), with_spread(document["metrics"][name], "std")]
        for other, gain in against:
            cells.append(with_spread(document[other][name], "std"))
            cells.append(with_spread(document[gain][name], "stderr"))
        row(table, "accuracy", part, *cells)
    for name, cost in done.record.costs.items():
        cells = [amount_text(done.point["costs"][name]), amount_text(cost)]
        row(table, name, "", *cells, *[""] * (len(columns) - 2))
    return table


def with_spread(found: dict[str, Any], spread: str) -> str:
    """A mean with its deviation or standard error, in per cent; without one where there is one seed only."""
    if found[spread] is None:
        return percent(found["mean"])
    return f"{100 * found['mean']:.2f} ± {100 * found[spread]:.2f} %"
