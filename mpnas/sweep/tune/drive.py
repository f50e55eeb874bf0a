"""Driving a sweep: the pending trials of a plan, wave by wave, through one session with Ray."""

from pathlib import Path

from mpnas.sweep.plan import Plan, TrialSpec, load_plan
from mpnas.sweep.tune.fit import fit
from mpnas.sweep.tune.resources import Outcome, Resources
from mpnas.sweep.tune.session import session
from mpnas.sweep.tune.stop import Stop


def run_pending(folder: Path, resources: Resources) -> Outcome:
    """Run every trial of the plan that has no result, float networks first.

    Args:
      folder: The run folder, absolute; it holds `plan.json`.
      resources: How much runs at once.

    Returns:
      How it ended; which trials have results is for the caller to look up.
    """
    plan = load_plan(folder)
    if not any(waves := waves_of(folder, plan)):
        return Outcome()
    stop = Stop()
    try:
        with session(resources, plan, folder, stop) as private:
            stop.listen()
            for wave in waves:
                if wave and not stop.heard and (error := fit(folder, wave, resources, private)):
                    return Outcome(interrupted=stop.heard, error=error)
            return Outcome(interrupted=stop.heard)
    except KeyboardInterrupt:
        return Outcome(interrupted=True)
    finally:
        stop.restore()


def waves_of(folder: Path, plan: Plan) -> list[list[TrialSpec]]:
    """Trials without a result: float networks, then those that start from them."""
    pending = [trial for trial in plan.trials if not has_result(folder, trial.id)]
    return [[t for t in pending if (t.kind == "float") is first] for first in (True, False)]


def has_result(folder: Path, trial_id: str) -> bool:
    """Whether a trial is over."""
    return (folder / "trials" / trial_id / "result.json").exists()
