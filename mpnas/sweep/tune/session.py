"""A session with Ray: started on this machine, on loopback alone, or joined where it runs already.

A local Ray listens on loopback only, needs a token made for this run, starts no dashboard and sends no
usage statistics; its memory monitor is off, because one trial that it kills would end the whole sweep.
A cluster is joined with the token of the environment, and gets this code, a relay and a watch on its head.
"""

import contextlib
import logging
import os
import secrets
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mpnas.errors import ConfigError
from mpnas.sweep.needs import needs_of
from mpnas.sweep.plan import Plan
from mpnas.sweep.tune.cluster import check_token, find_head, installed, refuse_nodes, watched
from mpnas.sweep.tune.place import RELAY, mark_of
from mpnas.sweep.tune.relay import Relay
from mpnas.sweep.tune.resources import Resources
from mpnas.sweep.tune.ship import pack
from mpnas.sweep.tune.stop import Stop

ENVIRONMENT = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_USAGE_STATS_REPORT_URL": "http://127.0.0.1:9/",
    "RAY_AIR_NEW_OUTPUT": "0",
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_DISABLE_SIGINT_HANDLER": "1",  # Tune's own would end one wave, and the next one would start
    "RAY_DISABLE_IMPORT_WARNING": "1",
    "TUNE_WARN_EXCESSIVE_EXPERIMENT_CHECKPOINT_SYNC_THRESHOLD_S": "0",
}
LOCAL_ENVIRONMENT = {
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",  # the only switch that binds every socket to 127.0.0.1
    "RAY_AUTH_MODE": "token",
    "RAY_memory_monitor_refresh_ms": "0",
    "RAY_worker_niceness": "0",  # Ray's own 15 starves trials beside any other work, and belies the estimate
}
PROXIES = {
    "http_proxy": "http://127.0.0.1:9", "HTTP_PROXY": "http://127.0.0.1:9",
    "no_proxy": "127.0.0.1,localhost", "NO_PROXY": "127.0.0.1,localhost",
}
OBJECT_STORE_BYTES = 100_000_000
NODE_SECONDS = 90.0  # for a node to unpack the code and start a worker


class NotStarted(RuntimeError):
    """The Ray of this machine did not come up; a sentence says why, and what to do."""


@contextlib.contextmanager
def session(resources: Resources, plan: Plan, folder: Path, stop: Stop) -> Iterator[Path]:
    """A running Ray, and a private folder for what Tune writes and nobody reads; both end with it.

    Args:
      resources: How much runs at once, and where.
      plan: What is run.
      folder: Its run folder.
      stop: Signals, which do not disturb the end.

    Raises:
      ConfigError: the cluster cannot be joined, or must not be.
      NotStarted: the Ray of this machine did not come up.
    """
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    private = tempfile.mkdtemp(prefix="mpnas-")  # 0700; Ray makes its own folders world-writable
    with contextlib.ExitStack() as stack:
        stack.callback(shutil.rmtree, private, ignore_errors=True)
        if resources.address is None:
            stack.callback(_end, stop)
            start_local(private, resources, plan.threads)
        else:
            stack.enter_context(joined(Path(private), resources, plan, folder, stop))
        yield Path(private)


def _end(stop: Stop) -> None:
    import ray

    stop.ignore()
    ray.shutdown()


def start_local(private: str, resources: Resources, threads: int) -> None:
    """Start a Ray of this machine alone.

    Raises:
      NotStarted: it did not come up.
    """
    for name, value in LOCAL_ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))
    import ray

    environment = worker_environment(threads) | {name: os.environ.get(name, "") for name in PROXIES}
    try:
        with _without_probes():
            ray.init(
                address="local",
                include_dashboard=False,
                num_cpus=resources.cpus,
                object_store_memory=OBJECT_STORE_BYTES,
                log_to_driver=False,
                logging_level="error",  # type: ignore[arg-type]
                _temp_dir=os.path.join(private, "r"),
                runtime_env={"env_vars": environment},
            )
    except (Exception, SystemExit) as error:  # noqa: BLE001 - Ray raises many kinds, most on a busy machine
        words = " ".join(str(error).split()).rstrip(".") or type(error).__name__
        raise NotStarted(
            f"Ray did not start: {words}. Where the machine is busy, wait until it is less so"
        ) from error


@contextlib.contextmanager
def _without_probes() -> Iterator[None]:
    """Lead the requests of Ray's daemons to a proxy that is not there.

    One of them asks the metadata services of three clouds where it is, also without usage statistics.
    Workers get the environment as it was.
    """
    before = {name: os.environ.get(name) for name in PROXIES}
    os.environ |= PROXIES
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


@contextlib.contextmanager
def joined(private: Path, resources: Resources, plan: Plan, folder: Path, stop: Stop) -> Iterator[None]:
    """Part of a cluster: its workers have this code, and reach the run folder by sight or by relay."""
    address = str(resources.address)
    os.environ |= check_token(os.environ)
    head, secret = find_head(address), secrets.token_hex(16)
    code = pack(private / "code", plan)
    mark = mark_of(folder, secret)
    with contextlib.ExitStack() as stack:
        stack.enter_context(watched(head, resources.lost))
        stack.callback(_end, stop)
        _connect(head, code, cluster_environment(plan.threads) | {RELAY: secret})
        refuse_nodes(_versions(head))
        for left in folder.glob(mark_of(folder, "*").name):
            left.unlink(missing_ok=True)  # of drivers that were killed
        mark.touch()
        stack.callback(mark.unlink, missing_ok=True)
        relay = _relay(folder, plan, secret)
        yield
        del relay  # the actor lives as long as its handle


def _connect(head: str, code: Path, environment: dict[str, str]) -> None:
    import ray

    try:
        ray.init(
            address=head,
            log_to_driver=False,
            logging_level="error",  # type: ignore[arg-type]
            runtime_env={"working_dir": str(code), "env_vars": environment},
        )
    except (Exception, SystemExit) as error:  # noqa: BLE001 - Ray raises many kinds
        words = " ".join(str(error).split()) or type(error).__name__
        raise ConfigError(
            f"the cluster at {head} cannot be joined: {words}. This machine has to be one of its nodes: "
            f"ray start --address {head}"
        ) from error


def _versions(head: str) -> dict[str, dict[str, str | None]]:
    """Node -> versions of its libraries, of every node that runs trials."""
    import ray

    nodes = [n for n in ray.nodes() if n["Alive"] and n["Resources"].get("CPU", 0) >= 1]
    if not nodes:
        raise ConfigError(f"no node of the cluster at {head} has a CPU to run trials on. Add a node.")
    ask = ray.remote(num_cpus=0, max_retries=0)(installed)
    answers = {f"{n['NodeManagerAddress']} ({n['NodeID'][:8]})": ask.options(**_on(n["NodeID"])).remote()
               for n in nodes}
    found: dict[str, dict[str, str | None]] = {}
    words = ""
    for name, answer in answers.items():
        try:
            found[name] = ray.get(answer, timeout=NODE_SECONDS)
        except Exception as error:  # noqa: BLE001 - Ray raises many kinds
            # It may be dying, or full: Ray will not place trials on it.
            words = (str(error).strip().splitlines() or [type(error).__name__])[-1]
            logging.getLogger(__name__).warning("node %s of the cluster does not answer: %s", name, words)
    if not found:
        raise ConfigError(f"no node of the cluster at {head} runs anything for mpnas: {words}")
    return found


def _relay(folder: Path, plan: Plan, secret: str) -> Any:
    """The relay, on this machine, where the run folder is."""
    import ray

    here = ray.get_runtime_context().get_node_id()
    actor = ray.remote(num_cpus=0, max_restarts=3, max_task_retries=3)(Relay)
    options = {"name": f"mpnas-relay-{secret}", **_on(here)}
    return actor.options(**options).remote(str(folder), needs_of(plan))


def _on(node: str) -> dict[str, Any]:
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    return {"scheduling_strategy": NodeAffinitySchedulingStrategy(node, soft=False)}


def worker_environment(threads: int) -> dict[str, str]:
    """Environment of a trial's process: results depend on the number of threads in their last bits."""
    return {
        "JAX_PLATFORMS": os.environ.get("JAX_PLATFORMS", "cpu"),
        "NPROC": str(threads),
        "PYTHONPATH": os.pathsep.join([os.getcwd(), os.environ.get("PYTHONPATH", "")]).rstrip(os.pathsep),
    }


def cluster_environment(threads: int) -> dict[str, str]:
    """The same on other machines: paths of this one mean nothing there, what changes results comes along."""
    given = worker_environment(threads) | {"RAY_CHDIR_TO_TRIAL_DIR": "0"}
    del given["PYTHONPATH"]
    return given | {
        name: os.environ[name] for name in ("XLA_FLAGS", "MPNAS_NO_COMPILE_CACHE") if name in os.environ
    }
