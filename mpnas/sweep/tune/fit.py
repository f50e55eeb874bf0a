"""One Tune run over trials that do not need each other."""

import logging
import time
from collections.abc import Sequence
from pathlib import Path

from mpnas.sweep.plan import TrialSpec
from mpnas.sweep.tune.place import on_node
from mpnas.sweep.tune.resources import Resources


def fit(folder: Path, wave: Sequence[TrialSpec], resources: Resources, private: Path) -> str | None:
    """Run a wave of trials to their ends; an error of the controller in words, None if there was none.

    Args:
      folder: The run folder, absolute.
      wave: Trials without a result.
      resources: How much runs at once, and how often a trial is tried.
      private: Folder for Tune's own files.
    """
    from ray import tune

    tuner = tune.Tuner(
        tune.with_resources(on_node, {"cpu": 1}),
        param_space={"trial": tune.grid_search([trial.id for trial in wave]), "folder": str(folder)},
        tune_config=tune.TuneConfig(
            reuse_actors=True, max_concurrent_trials=resources.cpus,
            trial_dirname_creator=lambda trial: trial.trial_id,
        ),
        run_config=tune.RunConfig(
            name=time.strftime("%Y%m%d-%H%M%S"),
            # Ray's own records are of no use to anyone later: they hold pickles.
            storage_path=str(private / "tune"),
            verbose=0,
            failure_config=tune.FailureConfig(max_failures=resources.retries),
        ),
    )
    # What went wrong in a trial stands in its folder; Tune would print its traceback at every attempt.
    logging.getLogger("ray.tune").setLevel(logging.CRITICAL)
    try:
        tuner.fit()
    except Exception as error:  # noqa: BLE001 - whatever ends the controller, the trials' folders are whole
        return f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else 'no message'}"
    return None
