"""`mpnas pareto`: one file a verb over fronts that are there; needs neither JAX nor Ray."""

import click

from mpnas.cli.lazy import LazyGroup

VERBS = {
    "show": "Print the tables of a front and the verdict on its searches.",
    "pick": "Pick the best point for a device.",
    "merge": "Make one front of those of several sweeps.",
    "compare": "Hold two fronts against each other.",
    "export": "Write a front as CSV or as an Optuna study.",
    "validate": "Check that a front keeps its promises.",
}


@click.group("pareto", cls=LazyGroup, package="mpnas.cli.pareto", verbs=VERBS)
def command() -> None:
    """Show, pick from, merge, compare, export or check fronts.

    FRONT is a front.json, or the run folder that holds it. Fronts are plain data: these commands
    start at once and also read those of strangers.
    """
