"""`mpnas sweep`: every trial of an experiment, and its front."""

from pathlib import Path

import click

from mpnas.cli.finish import finish
from mpnas.cli.options import (
    absolute,
    address_option,
    cpus_option,
    data_option,
    processors,
    set_option,
    threads_option,
)
from mpnas.cli.printing import short, show
from mpnas.cli.prospect import budget_table, done_text, prospect, trials_text
from mpnas.cli.twin import Place, place_option, run_place
from mpnas.sweep.config import Experiment, experiment_of
from mpnas.sweep.plan import Plan, load_plan, plan_of, save_plan


@click.command("sweep", epilog="""\b
Examples:
  mpnas sweep digits
  mpnas sweep my.toml --out runs/try --set recipe.search.steps=200 --cpus 4
  mpnas sweep my.toml --address auto --out s3://bucket/try""")
@click.argument("config")
@place_option
@set_option
@data_option
@cpus_option
@address_option
@threads_option
def command(
    config: str,
    out: Place | None,
    overrides: tuple[str, ...],
    data_dir: Path | None,
    cpus: int | None,
    address: str | None,
    threads: int | None,
) -> None:
    """Run every trial of CONFIG, and write the front of accuracy against cost.

    CONFIG is a TOML file or the name of a bundled experiment. The trials are float networks, searches
    under each budget, and the baselines to judge them by; they run side by side. In the run folder
    there are then front.json, front.png and bits.png. Called again on the folder of the same
    experiment, it finishes what is not done; Ctrl-C leaves a run that can be resumed.
    """
    experiment, table = experiment_of(config, overrides)
    folder, twin = run_place(out, experiment.name)
    threads = threads or _threads(folder, experiment, cpus or processors())
    plan = plan_of(table, experiment, threads=threads, data_dir=absolute(data_dir))
    found = prospect(plan)
    found.refuse()
    save_plan(plan, folder)
    announce(plan, folder)
    show(budget_table(found.limits))
    finish(folder, plan, cpus, address, twin)


def announce(plan: Plan, folder: Path) -> None:
    """Say what is about to run, and what is done already."""
    click.echo(f"{plan.experiment.name} in {short(folder)}: {trials_text(plan)}; {done_text(plan, folder)}.")


def _threads(folder: Path, experiment: Experiment, cpus: int) -> int:
    """Threads per trial where nobody said: those of the run that is there, else one, or all for one trial."""
    if (folder / "plan.json").exists():
        return load_plan(folder).threads
    kinds = [trial.kind == "float" for trial in plan_of({}, experiment).trials]
    at_once = min(cpus, max(kinds.count(True), kinds.count(False)))
    return processors() if at_once == 1 else 1
