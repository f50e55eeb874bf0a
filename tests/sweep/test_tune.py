"""Tests of mpnas/sweep/tune/."""

import json
import os
import signal
import subprocess
import sys
import time
import uuid
from pathlib import Path

import pytest
import tiny_plan
from tiny_plan import FLOAT, HERE, SEARCH, UNIFORM, run_folder

from mpnas.errors import ConfigError
from mpnas.sweep.attempt import Fenced
from mpnas.sweep.collect import records_of
from mpnas.sweep.folder import has_result
from mpnas.sweep.plan import load_plan
from mpnas.sweep.tune import drive, session
from mpnas.sweep.tune.drive import run_pending
from mpnas.sweep.tune.resources import Outcome, Resources
from mpnas.sweep.tune.session import worker_environment
from mpnas.sweep.tune.worker import on_worker as run_on_worker

SLOW = {
    "data": "slow_digits:batches", "references": {"uniform": [8], "random": False},
    "recipe__float__steps": 60, "recipe__retrain__steps": 60,
}
PATIENCE_SECONDS = 240


def until(condition, driver, what):
    """Wait for a condition while a driver runs; its words if it ends first."""
    for _ in range(10 * PATIENCE_SECONDS):
        if (found := condition()):
            return found
        if driver.poll() is not None:
            raise AssertionError(f"the driver ended before {what}: {driver.communicate()}")
        time.sleep(0.1)
    raise AssertionError(f"no sign of {what}")


class Driver:
    """A sweep in a process of its own; whatever it starts carries a mark by which it is found."""

    def __init__(self, folder, cache):
        self.folder, self.mark = folder, uuid.uuid4().hex
        self.process = subprocess.Popen(
            [sys.executable, str(HERE / "drive.py"), str(folder)], cwd=HERE, text=True,
            env=tiny_plan.environment(cache, MPNAS_TEST_MARK=self.mark, JAX_PLATFORMS="cpu"),
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True,
        )

    def outcome(self):
        out, err = self.process.communicate(timeout=PATIENCE_SECONDS)
        assert self.process.returncode == 0, err
        return Outcome(**json.loads(out.splitlines()[-1]))

    def pids(self):
        """Processes that the driver and its children have started and that still live."""
        sign, found = f"MPNAS_TEST_MARK={self.mark}".encode(), []
        for entry in Path("/proc").iterdir():
            if entry.name.isdecimal():
                try:
                    alive = (entry / "stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
                    if alive and sign in (entry / "environ").read_bytes().split(b"\0"):
                        found.append(int(entry.name))
                except OSError:
                    continue
        return found

    def trial_worker(self):
        """The process that runs a trial: of Ray's workers the one that has loaded JAX."""
        for pid in self.pids():
            try:
                if b"ray::" in Path(f"/proc/{pid}/cmdline").read_bytes() and "xla" in Path(
                    f"/proc/{pid}/maps"
                ).read_text():
                    return pid
            except OSError:
                continue
        raise AssertionError("no worker runs a trial")

    def wait_for_row(self, trial, step):
        path = self.folder / "trials" / trial / "metrics.jsonl"

        def there():
            return path.exists() and any(
                f'"step": {k}' in path.read_text() for k in range(step, step + 10)
            )

        until(there, self.process, f"step {step} of {trial}")

    def clean_up(self):
        """Kill what is left, which can be much when a test has failed."""
        for _ in range(2):
            for pid in self.pids():
                try:
                    os.kill(pid, signal.SIGKILL)
                except ProcessLookupError:
                    continue
        self.process.wait()
        for pipe in (self.process.stdout, self.process.stderr):
            pipe.close()


@pytest.fixture
def start(cache):
    started = []

    def starting(folder):
        started.append(Driver(folder, cache))
        return started[-1]

    yield starting
    for driver in started:
        driver.clean_up()


def sockets_of(pids):
    """(local address, remote address, state) of every TCP socket of some processes, in /proc's hex."""
    inodes = set()
    for pid in pids:
        try:
            for descriptor in Path(f"/proc/{pid}/fd").iterdir():
                try:
                    target = os.readlink(descriptor)
                except OSError:
                    continue
                if target.startswith("socket:["):
                    inodes.add(target[8:-1])
        except OSError:
            continue
    found = []
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
            fields = line.split()
            if fields[9] in inodes:
                found.append((fields[1].split(":")[0], fields[2].split(":")[0], fields[3]))
    return found


# 127.0.0.1, ::1 and ::ffff:127.0.0.1 as /proc writes them on a little-endian machine, and no peer.
LOOPBACK = {"0100007F", "00000000000000000000000001000000", "0000000000000000FFFF00000100007F"}
NOBODY = {"0" * 8, "0" * 32}
LISTENING = "0A"


@pytest.mark.slow
def test_sweep_survives_what_can_happen_to_it(tmp_path, start, monkeypatch):
    monkeypatch.chdir(HERE)  # the data of the plan are read there
    folder = run_folder(tmp_path / "run", **SLOW)
    trials = folder / "trials"

    # Ctrl-C in the wave of float networks: the sweep ends in peace, and the next wave does not begin.
    first = start(folder)
    first.wait_for_row(FLOAT, 5)
    os.kill(first.process.pid, signal.SIGINT)
    assert first.outcome() == Outcome(interrupted=True)
    assert not has_result(folder, FLOAT)
    assert not (trials / UNIFORM).exists() and not (trials / SEARCH).exists()

    # A worker that dies is replaced; every socket is on loopback. Then the driver itself dies.
    second = start(folder)
    second.wait_for_row(FLOAT, 20)
    sockets = sockets_of(second.pids())
    assert [one for one in sockets if one[2] == LISTENING], "Ray listens somewhere"
    assert {local for local, _, _ in sockets} <= LOOPBACK
    assert {remote for _, remote, _ in sockets} <= LOOPBACK | NOBODY
    attempts = len(list((trials / FLOAT / "attempts").iterdir()))
    os.kill(second.trial_worker(), signal.SIGKILL)
    until(lambda: has_result(folder, FLOAT), second.process, "the end of the float network")
    assert len(list((trials / FLOAT / "attempts").iterdir())) == attempts + 1
    second.wait_for_row(UNIFORM, tiny_plan.STEPS + 10)
    second.process.kill()
    second.process.wait()
    assert not has_result(folder, UNIFORM)

    # A resume is a new run over what has no result; what has one is not touched.
    stamp = (trials / FLOAT / "result.json").stat().st_mtime_ns
    third = start(folder)
    assert third.outcome() == Outcome()
    assert (trials / FLOAT / "result.json").stat().st_mtime_ns == stamp
    records = records_of(folder, load_plan(folder))
    assert [record.trial for record in records] == [FLOAT, UNIFORM, SEARCH]
    assert {record.status for record in records} == {"done"}
    steps = [row["step"] for row in tiny_plan.rows(folder, UNIFORM)]
    assert steps == sorted(set(steps)), "rows of a dead attempt are cut back"
    assert steps[-1] == tiny_plan.STEPS + 60
    assert not list(folder.rglob("*.pkl"))
    assert {path.name for path in folder.iterdir()} == {"plan.json", "trials"}


# Without Ray --------------------------------------------------------------------------------------


def test_finished_run_needs_no_ray(finished, monkeypatch):
    monkeypatch.setattr(session, "start_local", None)
    assert run_pending(finished, Resources(cpus=1)) == Outcome()


@pytest.fixture
def without_ray(monkeypatch):
    """Runs of `fit` that are noted down instead of made, in an environment that is given back."""
    waves = []
    monkeypatch.setattr(os, "environ", dict(os.environ))
    monkeypatch.setattr(session, "start_local", lambda *_: None)
    monkeypatch.setattr("ray.shutdown", lambda: None)

    def fit(action=lambda wave: None):
        def instead(folder, plan, wave, resources, private):
            waves.append([trial.id for trial in wave.trials])
            assert oct(private.stat().st_mode & 0o777) == "0o700"
            return action(wave)

        monkeypatch.setattr(drive, "fit", instead)
        return waves

    return fit


def handlers():
    return [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)]


def test_float_networks_come_before_the_rest_and_what_is_done_is_left_out(tmp_path, without_ray):
    folder = run_folder(tmp_path / "run")
    waves = without_ray()
    assert run_pending(folder, Resources(cpus=1)) == Outcome()
    assert waves == [[FLOAT], [UNIFORM, SEARCH, tiny_plan.RANDOM]]
    waves.clear()
    for trial in (FLOAT, SEARCH):
        (folder / "trials" / trial).mkdir(parents=True)
        (folder / "trials" / trial / "result.json").write_text("{}")
    run_pending(folder, Resources(cpus=1))
    assert waves == [[UNIFORM, tiny_plan.RANDOM]]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_first_signal_ends_after_this_wave_and_handlers_are_given_back(tmp_path, without_ray, number):
    before = handlers()
    waves = without_ray(lambda wave: signal.raise_signal(number))
    assert run_pending(run_folder(tmp_path / "run"), Resources(cpus=1)) == Outcome(interrupted=True)
    assert waves == [[FLOAT]]
    assert handlers() == before


def test_second_signal_ends_at_once(tmp_path, without_ray):
    def twice(wave):
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)
        raise AssertionError("not reached")

    before = handlers()
    without_ray(twice)
    assert run_pending(run_folder(tmp_path / "run"), Resources(cpus=1)) == Outcome(interrupted=True)
    assert handlers() == before


def test_a_signal_does_not_cut_the_shutdown_of_ray_short(tmp_path, without_ray, monkeypatch):
    without_ray()
    monkeypatch.setattr("ray.shutdown", lambda: signal.raise_signal(signal.SIGINT))
    before = handlers()
    assert run_pending(run_folder(tmp_path / "run"), Resources(cpus=1)) == Outcome()
    assert handlers() == before


def test_error_of_the_controller_is_handed_on_in_words(tmp_path, without_ray):
    waves = without_ray(lambda wave: "RuntimeError: no controller")
    outcome = run_pending(run_folder(tmp_path / "run"), Resources(cpus=1))
    assert outcome == Outcome(error="RuntimeError: no controller")
    assert waves == [[FLOAT]]


def test_worker_is_pinned_to_the_threads_of_the_plan(monkeypatch):
    monkeypatch.setenv("JAX_PLATFORMS", "cpu")
    monkeypatch.setenv("PYTHONPATH", "/somewhere")
    found = worker_environment(3)
    path = f"{os.getcwd()}{os.pathsep}/somewhere"
    assert found == {"JAX_PLATFORMS": "cpu", "NPROC": "3", "PYTHONPATH": path}


@pytest.fixture
def on_worker(tmp_path, monkeypatch):
    """`on_worker` in this process, with a trial that does as it is told; returns the trial's folder."""
    monkeypatch.setattr("ray.tune.report", lambda row: None)
    monkeypatch.setenv("MPNAS_NO_COMPILE_CACHE", "1")

    def run(action):
        def instead(folder, trial_id, report):
            return action()

        monkeypatch.setattr("mpnas.sweep.trial.run_trial", instead)
        run_on_worker({"folder": str(tmp_path), "trial": FLOAT, "hang_after": 60.0})

    return run, tmp_path / "trials" / FLOAT


def raising(error):
    def action():
        raise error

    return action


def test_error_for_a_person_is_left_in_the_folder_and_not_tried_again(on_worker):
    run, home = on_worker
    run(raising(ConfigError("the data are missing.")))
    assert (home / "error.txt").read_text() == "the data are missing.\n"
    assert not (home / "traceback.txt").exists()


def test_defect_is_left_with_its_traceback_and_tried_again(on_worker):
    run, home = on_worker
    with pytest.raises(ZeroDivisionError):
        run(raising(ZeroDivisionError("by zero")))
    assert (home / "error.txt").read_text() == "ZeroDivisionError: by zero\n"
    assert "Traceback" in (home / "traceback.txt").read_text()


def test_fenced_attempt_leaves_no_words_in_a_folder_that_is_not_its_own(on_worker):
    run, home = on_worker
    run(raising(Fenced("a newer attempt has started.")))
    assert not home.exists()
