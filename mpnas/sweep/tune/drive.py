"""Driving a sweep: the pending trials of a plan, wave by wave, through one session with Ray."""

from pathlib import Path

from mpnas.sweep.plan import load_plan
from mpnas.sweep.tune.fit import fit
from mpnas.sweep.tune.resources import Outcome, Resources
from mpnas.sweep.tune.session import NotStarted, session
from mpnas.sweep.tune.stop import Stop
from mpnas.sweep.tune.waves import waves_of


def run_pending(folder: Path, resources: Resources) -> Outcome:
    """Run every trial of the plan that has no result, and those under budgets that it has proposed.

    Args:
      folder: The run folder, absolute; it holds `plan.json`.
      resources: How much runs at once.

    Returns:
      How it ended; which trials have results is for the caller to look up.
    """
    plan = load_plan(folder)
    if not (waves := waves_of(folder, plan)):
        return Outcome()
    stop = Stop()
    try:
        with session(resources, plan, folder, stop) as private:
            stop.listen()
            for wave in waves:
                if not stop.heard and (error := fit(folder, plan, wave, resources, private)):
                    return Outcome(interrupted=stop.heard, error=error)
            return Outcome(interrupted=stop.heard)
    except NotStarted as error:
        return Outcome(interrupted=stop.heard, error=str(error))
    except KeyboardInterrupt:
        return Outcome(interrupted=True)
    finally:
        stop.restore()
