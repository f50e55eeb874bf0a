"""One Tune run over trials that do not need each other."""

import logging
import os
import time
from pathlib import Path
from typing import Any

import jax

from mpnas.cost import Budget
from mpnas.sweep.bench import bench_of
from mpnas.sweep.plan import Plan
from mpnas.sweep.population import groups_of
from mpnas.sweep.tune.place import on_node
from mpnas.sweep.tune.resources import Resources
from mpnas.sweep.tune.waves import Wave

# A program of an accelerator has it alone.
RESOURCES_OF: dict[str, dict[str, float]] = {"gpu": {"cpu": 1, "gpu": 1}}


def fit(folder: Path, plan: Plan, wave: Wave, resources: Resources, private: Path) -> str | None:
    """Run a wave of trials to their ends; an error of the controller in words, None if there was none.

    Args:
      folder: The run folder, absolute.
      plan: Its plan.
      wave: Trials without a result.
      resources: How much runs at once, and how often a trial is tried.
      private: Folder for Tune's own files.
    """
    from ray import tune

    from mpnas.sweep.tune.listener import Listener

    # What went wrong in a trial stands in its folder; Tune would print its traceback at every attempt.
    logging.getLogger("ray.tune").setLevel(logging.CRITICAL)
    try:
        backend = jax.default_backend()
        listed, others = chosen(folder, plan, wave, backend)
        tune.Tuner(
            tune.with_resources(on_node, resources_of(plan, resources, backend)),
            param_space={**listed, "folder": str(folder), "hang_after": resources.hang_after},
            tune_config=tune.TuneConfig(
                reuse_actors=True, max_concurrent_trials=resources.cpus,
                trial_dirname_creator=lambda trial: trial.trial_id, **others,
            ),
            run_config=tune.RunConfig(
                name=time.strftime("%Y%m%d-%H%M%S"),
                # Ray's own records are of no use to anyone later: they hold pickles.
                storage_path=str(private / "tune"),
                verbose=0,
                failure_config=tune.FailureConfig(max_failures=resources.retries),
                callbacks=[Listener(folder, resources.retries)],
            ),
        ).fit()
    except Exception as error:  # noqa: BLE001 - whatever ends the controller, the trials' folders are whole
        return f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else 'no message'}"
    return None


def resources_of(plan: Plan, resources: Resources, backend: str) -> dict[str, float]:
    """What Ray sets aside for a trial: on a cluster as many processors as the plan gives it threads, or as
    its largest node has. On one machine `--cpus` is how many trials run at once.
    """
    found = {"cpu": 1.0} | RESOURCES_OF.get(backend, {})
    if resources.address is not None:
        import ray

        most = max((node["Resources"].get("CPU", 0.0) for node in ray.nodes() if node["Alive"]), default=1.0)
        found["cpu"] = max(1.0, min(float(plan.threads), most))
    return found


def chosen(
    folder: Path, plan: Plan, wave: Wave, backend: str
) -> tuple[dict[str, Any], dict[str, Any]]:
    """The trials as Tune takes them, and who proposes or stops them.

    What runs as one program is one trial of Tune; proposals, and searches that are stopped one by one, run
    apart. Each is told its own members only: Tune copies what all are told for every trial.
    """
    from ray import tune

    names = [spec.id for spec in wave.trials]
    if wave.proposing:
        from mpnas.sweep.tune.explorer import Explorer

        return {}, {
            "search_alg": Explorer(folder, plan, names),
            "num_samples": len(names) + plan.unproposed,
        }
    if not wave.peers:
        return {"trials": tune.grid_search(groups_of(plan, names, backend=backend))}, {}
    listed = {"trials": tune.grid_search([(name,) for name in names])}
    from mpnas.sweep.tune.halving import Halving

    # Scores are made of the rows on this side, so Tune would miss them in what the workers report.
    os.environ["TUNE_DISABLE_STRICT_METRIC_CHECKING"] = "1"
    bench = bench_of(plan)
    limits = Budget(wave.trials[0].budget).absolute(bench.net.space, bench.costs)
    return listed, {"scheduler": Halving(folder, plan, wave, limits)}
