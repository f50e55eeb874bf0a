"""A session with Ray: started on this machine, on loopback alone, and ended with everything it started.

A local Ray listens on loopback only, needs a token made for this run, starts no dashboard and sends no
usage statistics; its memory monitor is off, because one trial that it kills would end the whole sweep.
"""

import contextlib
import os
import secrets
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from mpnas.sweep.tune.resources import Resources
from mpnas.sweep.tune.stop import Stop

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


@contextlib.contextmanager
def session(resources: Resources, threads: int, stop: Stop) -> Iterator[Path]:
    """A running Ray, and a private folder for what Tune writes and nobody reads; both end with it."""
    for name, value in LOCAL_ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))
    private = tempfile.mkdtemp(prefix="mpnas-")  # 0700; Ray makes its own folders world-writable
    try:
        start_local(private, resources, threads)
        yield Path(private)
    finally:
        import ray

        stop.ignore()
        ray.shutdown()
        shutil.rmtree(private, ignore_errors=True)


def start_local(private: str, resources: Resources, threads: int) -> None:
    """Start a Ray of this machine alone."""
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
