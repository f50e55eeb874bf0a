"""`mpnas search`: one search under one budget, in this process."""

from pathlib import Path
from typing import Any

import click

from mpnas.cli.exits import INTERRUPTED, SOME_FAILED, stop
from mpnas.cli.finish import print_front, write_front
from mpnas.cli.live import trial_display
from mpnas.cli.options import (
    absolute,
    budget_of,
    data_option,
    out_option,
    pairs,
    processors,
    run_folder,
    set_option,
    threads_option,
)
from mpnas.cli.prepare import announce, begin
from mpnas.cli.printing import short, show
from mpnas.cli.prospect import budget_table, prospect
from mpnas.control import SEARCHERS
from mpnas.errors import ConfigError, nearest
from mpnas.report import bits_table
from mpnas.sweep.collect import front_of
from mpnas.sweep.config import controller_of, experiment_of, read_experiment
from mpnas.sweep.hold import held
from mpnas.sweep.plan import load_plan, plan_of
from mpnas.sweep.trial import run_trial


@click.command("search", epilog="""\b
Examples:
  mpnas search digits --controller gumbel --budget weight_bytes=0.2
  mpnas search my.toml --controller dbp --budget weight_bytes=5kB --budget bops=0.1""")
@click.argument("config")
@click.option("--controller", required=True, metavar="NAME", help=f"One of: {', '.join(SEARCHERS)}.")
@click.option(
    "--budget", "budgets", multiple=True, required=True, metavar="COST=AMOUNT",
    help="Largest cost: a share of the uniform 8-bit network (0.2 or 20%), or an amount (5kB). Repeatable.",
)
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, metavar="N",
              help="Of weights, order of data and noise.")
@out_option
@set_option
@data_option
@threads_option
def command(
    config: str,
    controller: str,
    budgets: tuple[str, ...],
    seed: int,
    out: Path | None,
    overrides: tuple[str, ...],
    data_dir: Path | None,
    threads: int | None,
) -> None:
    """Search one network of CONFIG under one budget, and train it.

    Runs a float network and one search, without Ray and without baselines. CONFIG is a TOML file or
    the name of a bundled experiment, of which model, data, space and recipe are used. The run folder
    is runs/<name>-search by default; called again, it goes on where it stopped.
    """
    experiment, table = experiment_of(config, overrides)
    table = restricted(table, controller, budget_of(pairs(budgets, "--budget", "weight_bytes=0.2")), seed)
    folder = run_folder(out, experiment.name, "-search")
    if threads is None:
        threads = load_plan(folder).threads if (folder / "plan.json").exists() else processors()
    plan = plan_of(table, read_experiment(table, config), threads=threads, data_dir=absolute(data_dir))
    found = prospect(plan)
    begin(found, folder)
    announce(plan, folder)
    show(budget_table(found.limits))
    try:
        with held(folder), trial_display() as display:
            for trial in plan.trials:
                record = run_trial(folder, trial.id, report=display)
                if record.status == "failed":
                    stop(f"trial '{trial.id}' failed: {record.reason}", SOME_FAILED)
    except KeyboardInterrupt:
        stop(f"interrupted; the same command goes on, or: mpnas resume {short(folder)}", INTERRUPTED)
    front = front_of(folder)
    files = write_front(front, folder)
    show(*(bits_table(point, front["run"]["sites"]) for point in front["points"]))
    print_front(front, files)


def restricted(
    table: dict[str, Any], controller: str, budget: dict[str, float | str], seed: int
) -> dict[str, Any]:
    """An experiment in its plain form, cut down to one controller, one budget, one seed, no baselines.

    Options that the experiment gives to the controller are kept.

    Raises:
      ConfigError: no controller of this name searches.
    """
    if controller not in SEARCHERS:
        raise ConfigError(f"unknown controller '{controller}'; nearest: {nearest(controller, SEARCHERS)}.")
    same = [spec for spec in table["controllers"] if controller_of(spec)[0] == controller]
    alone = {key: value for key, value in table.items() if key not in {"explore", "early_stopping"}}
    return alone | {
        "controllers": [same[0] if same else controller],
        "budgets": [budget],
        "seeds": [seed],
        "float_seeds": [],
        "references": {"uniform": [], "random": False},
    }
