"""`mpnas resume`: what an interrupted run has left undone, and its front."""

from pathlib import Path

import click

from mpnas.cli.finish import finish, resumable
from mpnas.cli.options import Machine, machine_options
from mpnas.cli.prepare import announce, begin, foresee
from mpnas.cli.prospect import prospect
from mpnas.cli.twin import PLACE, Place, run_place
from mpnas.errors import RunFolderError
from mpnas.sweep.folder import home_of
from mpnas.sweep.hold import held
from mpnas.sweep.home import read_record
from mpnas.sweep.plan import Plan, load_plan


@click.command("resume", epilog="""\b
Examples:
  mpnas resume runs/digits
  mpnas resume runs/digits --retry-failed""")
@click.argument("place", metavar="DIR|URI", type=PLACE)
@click.option("--retry-failed", is_flag=True,
              help="Also run trials again that ended in failure, from their beginning, or whose result is "
                   "damaged, from their last checkpoint.")
@machine_options
def command(place: Place, retry_failed: bool, machine: Machine) -> None:
    """Finish the run in DIR or at URI, and write its front again.

    Trials that have a result are kept as they are; the others go on from their last checkpoints, with
    the settings that the run began with. If the model or the data have changed since, it is refused.
    """
    folder, twin = run_place(place, "")
    load_plan(folder)  # before a lock is made in what is no run folder
    with held(folder):
        plan = load_plan(folder)
        found = prospect(plan)
        begin(found, folder)
        if retry_failed and (names := forget_failures(folder, plan)):
            click.echo(f"Trying again: {', '.join(names)}.")
        announce(plan, folder)
        with resumable(folder, twin):
            foresee(found, folder, machine.at_once)
        finish(folder, machine, twin)


def forget_failures(folder: Path, plan: Plan) -> list[str]:
    """Set results and checkpoints of failed trials, and damaged results, aside in a held folder; whose."""
    names = []
    for spec in plan.trials:
        home = home_of(folder, spec.id)
        status = _status(home / "result.json", spec.id)
        if status in {None, "done"}:
            continue
        number = 1 + len(list(home.glob("damaged-result-*")))
        if status == "failed":
            # Its checkpoint would lead to the same end. Behind a damaged result it may be the final one.
            if (home / "checkpoint").exists():
                (home / "checkpoint").rename(home / f"damaged-checkpoint-{number}")
            (home / "metrics.jsonl").unlink(missing_ok=True)
        (home / "result.json").rename(home / f"damaged-result-{number}")
        names.append(spec.id)
    return names


def _status(result: Path, trial: str) -> str | None:
    """`done`, `failed`, `damaged`, or None without a result."""
    if not result.exists():
        return None
    try:
        record = read_record(result)
    except RunFolderError:
        return "damaged"
    return record.status if record.trial == trial else "damaged"
