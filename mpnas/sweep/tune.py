"""Ray Tune places and restarts trials; this is the one file that imports it.

Ray owns no durable state: a trial is an id, its state is in its folder, and a resume is a new Tune run
over the ids without a result. A local Ray listens on loopback only, needs a token made for this run,
starts no dashboard and sends no usage statistics; its memory monitor is off, because one trial that it
kills would end the whole sweep.
"""

import contextlib
import dataclasses
import logging
import os
import secrets
import shutil
import signal
import tempfile
import time
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mpnas.errors import MpnasError
from mpnas.sweep.attempt import Fenced
from mpnas.sweep.plan import TrialSpec, load_plan

LOCAL_ENVIRONMENT = {
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",  # the only switch that binds every socket to 127.0.0.1
    "RAY_AUTH_MODE": "token",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_USAGE_STATS_REPORT_URL": "http://127.0.0.1:9/",
    "RAY_memory_monitor_refresh_ms": "0",
    "RAY_AIR_NEW_OUTPUT": "0",
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_DISABLE_SIGINT_HANDLER": "1",  # Tune's own would end one wave, and the next one would start
    "RAY_DISABLE_IMPORT_WARNING": "1",
    "TUNE_WARN_EXCESSIVE_EXPERIMENT_CHECKPOINT_SYNC_THRESHOLD_S": "0",
}
OBJECT_STORE_BYTES = 100_000_000


@dataclasses.dataclass(frozen=True)
class Resources:
    """What a local sweep may use.

    Attributes:
      cpus: Trials that run at the same time, one per processor.
      retries: How often a trial whose worker died is started again.
    """

    cpus: int
    retries: int = 3


@dataclasses.dataclass(frozen=True)
class Outcome:
    """How a Tune run ended: `interrupted` by a signal, or `error` of the controller itself, in words."""

    interrupted: bool = False
    error: str | None = None


def run_pending(folder: Path, resources: Resources) -> Outcome:
    """Run every trial of the plan that has no result, float networks first.

    Args:
      folder: The run folder, absolute; it holds `plan.json`.
      resources: How much runs at once.

    Returns:
      How it ended; which trials have results is for the caller to look up.
    """
    plan = load_plan(folder)
    waves = [
        [t for t in plan.trials if (t.kind == "float") is first and not has_result(folder, t.id)]
        for first in (True, False)
    ]
    if not any(waves):
        return Outcome()
    for name, value in LOCAL_ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))
    private = tempfile.mkdtemp(prefix="mpnas-")  # 0700; Ray makes its own folders world-writable
    stop = _Stop()
    try:
        _start(private, resources, plan.threads)
        stop.listen()
        for wave in waves:
            if wave and not stop.heard:
                error = _fit(folder, wave, resources, Path(private))
                if error is not None:
                    return Outcome(interrupted=stop.heard, error=error)
        return Outcome(interrupted=stop.heard)
    except KeyboardInterrupt:
        return Outcome(interrupted=True)
    finally:
        import ray

        stop.ignore()
        ray.shutdown()
        stop.restore()
        shutil.rmtree(private, ignore_errors=True)


def has_result(folder: Path, trial_id: str) -> bool:
    """Whether a trial is over."""
    return (folder / "trials" / trial_id / "result.json").exists()


class _Stop:
    """Turns the first Ctrl-C or SIGTERM into a graceful end of the Tune run; the second acts at once."""

    def __init__(self) -> None:
        self.heard = False
        self._old: dict[int, Any] = {}

    def listen(self) -> None:
        # Until Tune listens to it, SIGUSR1 would end the process.
        self._old[signal.SIGUSR1] = signal.signal(signal.SIGUSR1, signal.SIG_IGN)
        for number in (signal.SIGINT, signal.SIGTERM):
            self._old[number] = signal.signal(number, self._hear)

    def ignore(self) -> None:
        """Nothing may cut the shutdown of Ray short: it takes seconds, and would leave its daemons."""
        for number in (signal.SIGINT, signal.SIGTERM):
            self._old.setdefault(number, signal.signal(number, signal.SIG_IGN))

    def restore(self) -> None:
        for number, handler in self._old.items():
            signal.signal(number, handler)

    def _hear(self, number: int, frame: Any) -> None:
        if self.heard:
            raise KeyboardInterrupt
        self.heard = True
        signal.raise_signal(signal.SIGUSR1)  # Tune stops its trials and returns from fit()


def _start(private: str, resources: Resources, threads: int) -> None:
    import ray

    ray.init(
        address="local",
        include_dashboard=False,
        num_cpus=resources.cpus,
        object_store_memory=OBJECT_STORE_BYTES,
        log_to_driver=False,
        logging_level="error",  # type: ignore[arg-type]
        _temp_dir=os.path.join(private, "r"),
        runtime_env={"env_vars": worker_environment(threads)},
    )


def worker_environment(threads: int) -> dict[str, str]:
    """Environment of a trial's process: results depend on the number of threads in their last bits."""
    return {
        "JAX_PLATFORMS": os.environ.get("JAX_PLATFORMS", "cpu"),
        "NPROC": str(threads),
        "PYTHONPATH": os.pathsep.join([os.getcwd(), os.environ.get("PYTHONPATH", "")]).rstrip(os.pathsep),
    }


def _fit(folder: Path, wave: Sequence[TrialSpec], resources: Resources, private: Path) -> str | None:
    """One Tune run over trials that do not need each other; an error of the controller in words."""
    from ray import tune

    tuner = tune.Tuner(
        tune.with_resources(_on_worker, {"cpu": 1}),
        param_space={"trial": tune.grid_search([trial.id for trial in wave]), "folder": str(folder)},
        tune_config=tune.TuneConfig(reuse_actors=True, trial_dirname_creator=lambda trial: trial.trial_id),
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


def _on_worker(config: dict[str, Any]) -> None:
    """What a worker runs: one trial, its rows reported to Tune."""
    from ray import tune

    from mpnas.sweep.trial import run_trial
    from mpnas.sweep.worker import prepare

    prepare()
    folder = Path(config["folder"])
    home = folder / "trials" / config["trial"]
    try:
        run_trial(folder, config["trial"], report=lambda row: tune.report({"step": row["step"]}))
    except Fenced:
        pass  # the folder belongs to the newer attempt
    except MpnasError as error:
        # Deterministic: another attempt would end the same way. The words are for the driver to show.
        _leave_words(home, str(error))
    except Exception as error:
        # A defect, or a full disk: tried again by Tune, and told if that does not help either.
        _leave_words(home, f"{type(error).__name__}: {error}", traceback.format_exc())
        raise
    tune.report({"step": -1})


def _leave_words(home: Path, words: str, trace: str | None = None) -> None:
    """Write why a trial ended into its folder; a defect's traceback beside it."""
    with contextlib.suppress(OSError):
        home.mkdir(parents=True, exist_ok=True)
        (home / "error.txt").write_text(f"{words}\n", encoding="utf-8")
        if trace is not None:
            (home / "traceback.txt").write_text(trace, encoding="utf-8")
