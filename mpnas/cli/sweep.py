"""`mpnas sweep`: every trial of an experiment, and its front."""

import dataclasses
from pathlib import Path

import click

from mpnas.cli.finish import finish, resumable
from mpnas.cli.grid import gridded
from mpnas.cli.options import (
    Machine,
    absolute,
    data_option,
    machine_options,
    processors,
    set_option,
    threads_option,
)
from mpnas.cli.prepare import announce, begin, foresee, rehearse
from mpnas.cli.printing import show
from mpnas.cli.prospect import budget_table, prospect
from mpnas.cli.twin import Place, place_option, run_place
from mpnas.sweep.config import Experiment, experiment_of, read_experiment
from mpnas.sweep.hold import held, refuse_held
from mpnas.sweep.plan import load_plan, plan_of


@click.command("sweep", epilog="""\b
Examples:
  mpnas sweep digits
  mpnas sweep digits --budgets weight_bytes=0.15,0.25,0.4 --seeds 3 --controllers gumbel,dbp,random
  mpnas sweep my.toml --out runs/try --set recipe.search.steps=200 --cpus 4
  mpnas sweep my.toml --dry-run
  mpnas sweep my.toml --address auto --out s3://bucket/try""")
@click.argument("config")
@click.option("--budgets", multiple=True, metavar="COST=AMOUNT,...",
              help="Budgets instead of those in CONFIG, one per amount: a share of the uniform 8-bit network "
                   "(0.2 or 20%), or an amount (5kB). With + between costs both hold at once. Repeatable.")
@click.option("--seeds", metavar="N", help="How many seeds, or a list of them: 3, or 0,3,7.")
@click.option("--controllers", metavar="NAME,...",
              help="Controllers instead of those in CONFIG; uniform and random are the baselines.")
@click.option("--dry-run", is_flag=True, help="Print the plan and an estimate of the time; start nothing.")
@place_option
@set_option
@data_option
@machine_options
@threads_option
def command(
    config: str,
    budgets: tuple[str, ...],
    seeds: str | None,
    controllers: str | None,
    dry_run: bool,
    out: Place | None,
    overrides: tuple[str, ...],
    data_dir: Path | None,
    machine: Machine,
    threads: int | None,
) -> None:
    """Run every trial of CONFIG, and write the front of accuracy against cost.

    CONFIG is a TOML file or the name of a bundled experiment. The trials are float networks, searches
    under each budget, and the baselines to judge them by; they run side by side. In the run folder
    there are then front.json, report.html, front.png and bits.png. Called again on the folder of the same
    experiment, it finishes what is not done; Ctrl-C leaves a run that can be resumed.
    """
    _, table = experiment_of(config, overrides)
    table = gridded(table, budgets, seeds, controllers)
    experiment = read_experiment(table, config)
    folder, twin = run_place(out, experiment.name, fetch=not dry_run)
    threads = threads or _threads(folder, experiment, machine.at_once)
    found = prospect(plan_of(table, experiment, threads=threads, data_dir=absolute(data_dir)))
    if dry_run:
        rehearse(found, folder, machine.at_once)
        return
    refuse_held(folder)
    begin(found, folder)
    with held(folder):
        found = dataclasses.replace(found, plan=load_plan(folder))  # with what an earlier call has proposed
        announce(found.plan, folder)
        show(budget_table(found.limits))
        with resumable(folder, twin):
            foresee(found, folder, machine.at_once)
        finish(folder, machine, twin)


def _threads(folder: Path, experiment: Experiment, cpus: int) -> int:
    """Threads per trial where nobody said: those of the run that is there, else one, or all for one trial."""
    if (folder / "plan.json").exists():
        return load_plan(folder).threads
    plan = plan_of({}, experiment)
    kinds = [trial.kind == "float" for trial in plan.trials]
    at_once = min(cpus, max(kinds.count(True), kinds.count(False), plan.unproposed))
    return processors() if at_once == 1 else 1
