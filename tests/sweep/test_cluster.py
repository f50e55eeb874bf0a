"""Tests of mpnas/sweep/tune/cluster.py, and of sweeps on clusters of several Ray nodes on loopback."""

import contextlib
import json
import logging
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from pathlib import Path

import pytest
import tiny_plan
from tiny_plan import FLOAT, HERE, SEARCH, UNIFORM, run_folder

from mpnas.errors import ConfigError
from mpnas.pareto.artifacts import digest
from mpnas.sweep.collect import records_of
from mpnas.sweep.plan import load_plan
from mpnas.sweep.remote import Twin
from mpnas.sweep.tune.cluster import check_token, find_head, installed, refuse_nodes, watched

SLOW = {
    "data": "slow_digits:batches", "references": {"uniform": [8], "random": False},
    "recipe__float__steps": 60,
}
PATIENCE_SECONDS = 240
CLUSTER = {
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0", "RAY_AUTH_MODE": "token", "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_memory_monitor_refresh_ms": "0", "RAY_worker_niceness": "0", "JAX_PLATFORMS": "cpu",
}


def until(condition, what, process=None):
    """Wait for a condition, while a process runs."""
    end = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < end:
        if (found := condition()):
            return found
        if process is not None and process.poll() is not None:
            raise AssertionError(f"the process ended before {what}: {process.communicate()}")
        time.sleep(0.05)
    raise AssertionError(f"no sign of {what}")


class Marked:
    """A process and everything that it starts, found by a mark in their environments."""

    def __init__(self, arguments, environment, cwd=HERE):
        self.mark = uuid.uuid4().hex
        self.process = subprocess.Popen(
            [sys.executable, *map(str, arguments)], cwd=cwd, text=True, start_new_session=True,
            env=environment | {"MPNAS_TEST_MARK": self.mark},
            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )

    def pids(self):
        sign, found = f"MPNAS_TEST_MARK={self.mark}".encode(), []
        for entry in Path("/proc").iterdir():
            with contextlib.suppress(OSError):
                if entry.name.isdecimal() and sign in (entry / "environ").read_bytes().split(b"\0"):
                    if (entry / "stat").read_text().rsplit(")", 1)[1].split()[0] != "Z":
                        found.append(int(entry.name))
        return found

    def runs_a_trial(self):
        for pid in self.pids():
            with contextlib.suppress(OSError):
                if b"ray::ImplicitFunc" in Path(f"/proc/{pid}/cmdline").read_bytes():
                    return True
        return False

    def kill(self):
        for _ in range(2):
            for pid in self.pids():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        self.process.wait()

    def ended(self):
        """Code and words."""
        out, err = self.process.communicate(timeout=PATIENCE_SECONDS)
        return self.process.returncode, out, err


class Cluster:
    """Nodes on loopback, each with a private folder; the head runs no trials."""

    def __init__(self, cache):
        # Unix sockets want short paths.
        self.folder = Path(tempfile.mkdtemp(prefix="mpnas-n-"))
        self.environment = {k: v for k, v in tiny_plan.environment(cache).items() if k != "PYTHONPATH"}
        self.environment |= CLUSTER
        self.environment |= {"RAY_AUTH_TOKEN": secrets.token_hex(32), "TMPDIR": str(self.folder / "t")}
        (self.folder / "t").mkdir()
        self.nodes, self.drivers = [], []
        self.head, told = self.add("head", 0)
        self.address, self.gcs = told["address"], told["gcs"][0]

    def add(self, head, cpus):
        place = self.folder / str(len(self.nodes))
        place.mkdir()
        # Started elsewhere and without PYTHONPATH: what its workers import has been sent to them.
        node = Marked([HERE / "node.py", head, cpus, place], self.environment, cwd=place)
        self.nodes.append(node)
        return node, json.loads(node.process.stdout.readline())

    def drive(self, *arguments, cwd=HERE):
        path = os.pathsep.join([str(HERE), os.environ.get("PYTHONPATH", "")]).rstrip(os.pathsep)
        self.drivers.append(Marked(arguments, self.environment | {"PYTHONPATH": path}, cwd))
        return self.drivers[-1]

    def end(self):
        for process in (*self.drivers, *self.nodes[::-1]):
            process.kill()
            for pipe in (process.process.stdout, process.process.stderr):
                pipe.close()
        shutil.rmtree(self.folder, ignore_errors=True)


@pytest.fixture
def cluster(cache):
    made = Cluster(cache)
    yield made
    made.end()


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory, cache):
    """The same sweep in one process after the other, as no cluster disturbs it."""
    folder = run_folder(tmp_path_factory.mktemp("undisturbed") / "run", **SLOW)
    run = f"from pathlib import Path; from mpnas.sweep.trial import run_trial; folder = Path({str(folder)!r})"
    run += "".join(f"; run_trial(folder, {trial!r})" for trial in (FLOAT, UNIFORM, SEARCH))
    subprocess.run(
        [sys.executable, "-c", run], cwd=HERE, check=True, capture_output=True,
        env=tiny_plan.environment(cache, NPROC="1", JAX_PLATFORMS="cpu"),
    )
    return folder


def step_of(folder, trial):
    """The last step that a trial has reported."""
    try:
        return tiny_plan.rows(folder, trial)[-1]["step"]
    except (OSError, ValueError, IndexError):
        return 0


def assert_equal(folder, undisturbed):
    plan = load_plan(folder)
    for one, other in zip(records_of(folder, plan), records_of(undisturbed, plan), strict=True):
        assert one.status == "done", one.reason
        assert tiny_plan.told(one) == tiny_plan.told(other)
        assert tiny_plan.final_arrays(folder, one.trial) == tiny_plan.final_arrays(undisturbed, one.trial)
        steps = [[row["step"] for row in tiny_plan.rows(run, one.trial)] for run in (folder, undisturbed)]
        assert steps[0] == steps[1]  # the first loss after a restored step is a mean over fewer of them
        assert digest(folder / one.artifacts["checkpoint"]) == one.artifacts["sha256"]


@pytest.mark.slow
def test_node_that_is_killed_costs_nothing_though_no_worker_sees_the_run_folder(
    tmp_path, cluster, undisturbed, monkeypatch
):
    monkeypatch.chdir(HERE)  # the data of the plan are read there
    folder = run_folder(tmp_path / "run", **SLOW)
    nodes = [cluster.add(cluster.address, 1)[0] for _ in range(2)]
    driver = cluster.drive(HERE / "drive_apart.py", folder, cluster.address)
    until(lambda: step_of(folder, FLOAT) >= 20, "step 20", driver.process)
    (lost,) = [node for node in nodes if node.runs_a_trial()]
    left = list((cluster.folder / "t").glob("mpnas-scratch-*"))
    assert len(left) == 1, "the trial runs in a scratch folder"
    lost.kill()
    began = time.monotonic()
    until(lambda: (folder / "trials" / FLOAT / "attempts" / "2").exists(), "a second attempt", driver.process)
    print(f"\nnode lost -> its trial claimed again: {time.monotonic() - began:.1f} s")
    code, out, err = driver.ended()
    assert (code, json.loads(out.splitlines()[-1])) == (0, {"interrupted": False, "error": None}), err
    assert_equal(folder, undisturbed)
    assert not list((cluster.folder / "t").glob("mpnas-scratch-*")), "what a killed worker left is cleared"
    assert {path.name for path in folder.iterdir()} == {"plan.json", "trials"}


@pytest.mark.slow
def test_head_that_is_killed_ends_the_driver_and_a_resume_finishes(
    tmp_path, cluster, undisturbed, monkeypatch
):
    monkeypatch.chdir(HERE)
    cluster.add(cluster.address, 1)
    config, uri = tmp_path / "tiny.toml", f"file://{tmp_path}/there/run"
    config.write_text(toml_of(tiny_plan.table(**SLOW)))
    command = ["-P", "-c", "from mpnas.cli import main; main()"]
    driver = cluster.drive(
        *command, "sweep", config, "--out", uri, "--address", cluster.address, "--threads", 1, cwd=tmp_path
    )
    folder = Twin(uri, tmp_path / "runs").folder
    until(lambda: step_of(folder, FLOAT) >= 20, "step 20", driver.process)
    os.kill(cluster.gcs, signal.SIGKILL)
    began = time.monotonic()
    code, out, err = driver.ended()
    print(f"\nhead lost -> the driver has given up: {time.monotonic() - began:.1f} s")
    assert code == 4, (out, err)
    assert f"{cluster.address}, has not answered for 20 s" in err and f"mpnas resume {uri}" in err
    assert time.monotonic() - began < 40
    cluster.end()
    resumed = cluster.drive(*command, "resume", uri, "--cpus", 1, cwd=tmp_path)
    code, out, err = resumed.ended()
    assert code == 0, (out, err)
    assert_equal(folder, undisturbed)
    elsewhere = Twin(uri, tmp_path / "elsewhere")
    elsewhere.fetch()
    assert_equal(elsewhere.folder, undisturbed)
    assert json.loads((elsewhere.folder / "front.json").read_text())["points"]


def toml_of(table):
    """A table of tables, lists, numbers and texts as TOML, inline."""
    def inline(value):
        if isinstance(value, dict):
            return "{ " + ", ".join(f"{json.dumps(k)} = {inline(v)}" for k, v in value.items()) + " }"
        if isinstance(value, list):
            return "[" + ", ".join(map(inline, value)) + "]"
        return json.dumps(value)

    return "".join(f"{key} = {inline(value)}\n" for key, value in table.items())


@pytest.mark.slow
def test_cluster_is_joined_with_its_token_only(cluster, monkeypatch):
    for name, value in cluster.environment.items():
        monkeypatch.setenv(name, value)
    assert find_head(cluster.address) == cluster.address
    monkeypatch.setenv("RAY_AUTH_TOKEN", secrets.token_hex(32))
    with pytest.raises(ConfigError, match="has another token than this environment"):
        find_head(cluster.address)


@pytest.mark.slow
def test_cluster_that_asks_nobody_for_a_token_is_refused(cache, monkeypatch):
    monkeypatch.setitem(CLUSTER, "RAY_AUTH_MODE", "disabled")
    open_to_all = Cluster(cache)
    try:
        for name, value in open_to_all.environment.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setenv("RAY_AUTH_MODE", "token")
        with pytest.raises(ConfigError, match="asks nobody for a token: whoever reaches it runs code"):
            find_head(open_to_all.address)
    finally:
        open_to_all.end()


# Without Ray --------------------------------------------------------------------------------------


def test_token_comes_from_the_environment_or_a_file(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert check_token({"RAY_AUTH_TOKEN": "secret"}) == {"RAY_AUTH_MODE": "token"}
    with pytest.raises(ConfigError, match="needs a token: neither RAY_AUTH_TOKEN is set"):
        check_token({})
    with pytest.raises(ConfigError, match="RAY_AUTH_MODE is 'disabled'"):
        check_token({"RAY_AUTH_MODE": "disabled", "RAY_AUTH_TOKEN": "secret"})


@pytest.mark.parametrize("mode, told", [(0o600, False), (0o644, True)])
def test_token_that_others_can_read_is_told(tmp_path, caplog, mode, told):
    path = tmp_path / "token"
    path.write_text("secret")
    path.chmod(mode)
    with caplog.at_level(logging.WARNING):
        check_token({"RAY_AUTH_TOKEN_PATH": str(path)})
    assert ("other users can read the token" in caplog.text) is told


def test_nobody_at_the_address_is_told_at_once():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        began = time.monotonic()
        with pytest.raises(ConfigError, match="nobody answers at 127.0.0.1"):
            find_head(f"127.0.0.1:{free.getsockname()[1]}")
    assert time.monotonic() - began < 5


@pytest.mark.parametrize("address", ["nonsense", "127.0.0.1:", ":6379", "host:port"])
def test_address_that_is_none_is_told(address):
    with pytest.raises(ConfigError, match="not HOST:PORT"):
        find_head(address)


def test_what_is_no_head_is_told(monkeypatch):
    monkeypatch.setattr("mpnas.sweep.tune.cluster.PROBE_SECONDS", 3.0)
    with socket.create_server(("127.0.0.1", 0)) as other:
        threading.Thread(target=lambda: [other.accept()[0].close() for _ in range(3)], daemon=True).start()
        with pytest.raises(ConfigError, match="no head of a Ray cluster"):
            find_head(f"127.0.0.1:{other.getsockname()[1]}")


def test_head_is_lost_when_it_has_not_answered_for_long_and_not_before():
    lost = []
    with socket.create_server(("127.0.0.1", 0), backlog=64) as head:
        address = f"127.0.0.1:{head.getsockname()[1]}"
        with watched(address, lost.append, patience=0.5):
            time.sleep(2.5)
            assert not lost
            head.close()
            until(lambda: lost, "the loss")
    assert lost == [f"the head of the cluster, {address}, has not answered for 0 s"]


def test_node_without_a_library_is_refused_and_other_versions_are_told(caplog):
    here = installed()
    refuse_nodes({"10.0.0.1": here})
    assert not caplog.text
    with pytest.raises(ConfigError, match="node 10.0.0.2 of the cluster lacks flax, optax"):
        refuse_nodes({"10.0.0.1": here, "10.0.0.2": here | {"flax": None, "optax": None}})
    refuse_nodes({"10.0.0.3": here | {"jax": "0.0.1"}})
    assert f"node 10.0.0.3 has other versions (jax 0.0.1 there, {here['jax']} here)" in caplog.text
