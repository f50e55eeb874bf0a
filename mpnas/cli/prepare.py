"""Before a run: what it would do, whether it can, how long it takes; for `sweep`, `resume` and `search`."""

from pathlib import Path

import click
from rich.table import Table

from mpnas.cli.printing import duration, row, short, show
from mpnas.cli.prospect import Prospect, budget_table, done_text, trials_text
from mpnas.pareto.summary import budget_text
from mpnas.report.tables import table_of
from mpnas.sweep.config import controller_of
from mpnas.sweep.estimate import Estimate, estimate
from mpnas.sweep.folder import has_result
from mpnas.sweep.made_from import made_from, refuse_changed
from mpnas.sweep.plan import Plan, TrialSpec, save_plan


def begin(found: Prospect, folder: Path) -> None:
    """Write the plan, or make sure that it is still the one of the folder.

    Raises:
      BudgetError: a budget cannot be met.
      RunFolderError: the folder holds another plan, or model or data have changed since it began.
    """
    found.refuse()
    now = made_from(found.plan, found.bench)
    if (folder / "plan.json").exists():
        refuse_changed(folder, found.plan, now)
    save_plan(found.plan, folder, now)


def announce(plan: Plan, folder: Path) -> None:
    """Say what is about to run, and what is done already."""
    click.echo(f"{plan.experiment.name} in {short(folder)}: {trials_text(plan)}; {done_text(plan, folder)}.")


def foresee(found: Prospect, folder: Path, at_once: int) -> Estimate | None:
    """Measure a few steps and say how long the run will take; None if there is nothing left to run."""
    pending = pending_of(found.plan, folder) + found.plan.stand_ins()
    if not pending:
        return None
    guess = estimate(found.plan, found.bench, pending, at_once)
    click.echo(
        f"Estimate: {duration(guess.wall_seconds)} for {len(pending)} trials, {at_once} at a time "
        f"({duration(guess.work_seconds)} of work), and {guess.stored_bytes / 1e6:,.1f} MB of checkpoints."
    )
    return guess


def pending_of(plan: Plan, folder: Path) -> list[TrialSpec]:
    """The trials that have no result, without those that are not proposed yet."""
    return [trial for trial in plan.trials if not has_result(folder, trial.id)]


def rehearse(found: Prospect, folder: Path, at_once: int) -> None:
    """Print everything about a run that has not begun; nothing is started or written.

    Raises:
      BudgetError: a budget cannot be met.
      RunFolderError: the folder holds another plan, or model or data have changed since it began.
    """
    if (folder / "plan.json").exists():
        refuse_changed(folder, found.plan, made_from(found.plan, found.bench))
        save_plan(found.plan, folder)  # only compares
    announce(found.plan, folder)
    show(trial_table(found.plan, folder), budget_table(found.limits))
    found.refuse()
    guess = foresee(found, folder, at_once)
    if guess is not None:
        show(step_table(found.plan, guess))
    click.echo("Nothing was started.")


def trial_table(plan: Plan, folder: Path) -> Table:
    """One row per trial of a plan."""
    table = table_of("Trials", ["trial", "kind", "budget", "starts from"], ["steps"], ["state"])
    for spec in plan.trials:
        stages = ", ".join(f"{steps:,} {stage}" for stage, steps in plan.stages(spec).items())
        state = "done" if has_result(folder, spec.id) else "to do"
        asked = budget_text(spec.budget) or "-"
        row(table, spec.id, spec.kind, asked, spec.needs or "-", stages or "-", state)
    return table


def step_table(plan: Plan, guess: Estimate) -> Table:
    """What one step of each kind takes."""
    table = table_of("Measured", ["stage", "controller"], ["seconds per step"])
    for (stage, number), seconds in guess.step_seconds.items():
        name = "-" if number is None else controller_of(plan.experiment.controllers[number])[0]
        row(table, stage, name, f"{seconds:.4f}")
    return table
