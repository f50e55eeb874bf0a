"""One trial as a plain function that owns its folder: run it again and it goes on where it stopped.

Nothing here knows who calls it: Ray, a test, or a person. What a trial's folder holds is told in
`home.py`, what a trial consists of in `stages.py`. A trial that another attempt has taken over stops at
its next report or checkpoint (fenced).
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from mpnas.errors import BudgetError, NonFiniteLossError
from mpnas.pareto import Record
from mpnas.sweep.bench import Bench, bench_of
from mpnas.sweep.folder import home_of
from mpnas.sweep.home import REPORTS, Alive, Home, read_record
from mpnas.sweep.plan import load_plan
from mpnas.sweep.stages import float_trial, searched_trial

__all__ = ["REPORTS", "Bench", "bench_of", "run_trial"]


def run_trial(
    folder: Path, trial_id: str, *, report: Callable[[dict[str, Any]], None] | None = None,
    alive: Alive | None = None,
) -> Record:
    """Run a trial to its end, from wherever an earlier attempt left it.

    Args:
      folder: The run folder; it holds `plan.json`.
      trial_id: A trial of that plan.
      report: Called with each row of metrics.
      alive: Called with where the trial is, at each row and each checkpoint.

    Returns:
      Its record, also in `result.json`: status `failed` with the reason for a loss that is not finite
      or a budget that cannot be met.

    Raises:
      RunFolderError: no plan there, no such trial, a damaged result, or the trial that it needs has no
        result.
      CheckpointError: the float network that it starts from is lost.
      Fenced: a newer attempt of the same trial has started.
    """
    plan = load_plan(folder)
    spec = plan.trial(trial_id)
    done = home_of(folder, trial_id) / "result.json"
    if done.exists():
        return read_record(done)
    with Home(plan, spec, folder, report, alive) as home:
        try:
            record = float_trial(home) if spec.kind == "float" else searched_trial(home)
        except (NonFiniteLossError, BudgetError) as error:
            record = home.failed(error)
        return home.finish(record)
