"""Faults that are done for real: what each leaves behind, and that a resume ends as if it had not been."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import tiny_plan
from driver import until
from tiny_plan import FLOAT, HERE, SEARCH, UNIFORM, final_arrays, run_folder, told

from mpnas.sweep.collect import records_of
from mpnas.sweep.folder import has_result
from mpnas.sweep.plan import load_plan
from mpnas.sweep.trial import run_trial
from mpnas.sweep.tune.resources import Outcome

FAULTS = {1: "raise", 2: "nan", 3: "memory", 4: "hang once", 5: "kill"}
FAULTY = {
    "data": "faulty_digits:batches", "seeds": list(range(6)),
    "references": {"uniform": [], "random": False},
    "recipe__float__steps": 40, "recipe__search__steps": 2, "recipe__retrain__steps": 2,
}


def floats_of(folder):
    return {r.seed: r for r in records_of(folder, load_plan(folder)) if r.kind == "float"}


@pytest.mark.slow
def test_a_fault_costs_its_trial_and_no_other_and_mending_it_is_enough(tmp_path, start, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(HERE))
    folder = run_folder(tmp_path / "run", **FAULTY)
    (tmp_path / "faults.json").write_text(json.dumps(FAULTS))
    first = start(folder, cwd=tmp_path, cpus=2, retries=1, hang_after=30.0)
    assert first.outcome() == Outcome()
    found = floats_of(folder)
    assert {seed: record.status for seed, record in found.items()} == {
        0: "done", 1: "failed", 2: "failed", 3: "failed", 4: "done", 5: "failed",
    }
    assert found[1].reason.startswith("ValueError: a hole in the data")
    assert "stage 'float' is not finite at step 21" in found[2].reason
    assert "MemoryError" in found[3].reason
    assert "its worker died 2 times without a word" in found[5].reason and "--cpus" in found[5].reason
    homes = {seed: folder / "trials" / f"float-s{seed}" for seed in found}
    attempts = {seed: len(list((home / "attempts").iterdir())) for seed, home in homes.items()}
    # What is not finite would be so again; the rest is tried once more.
    assert attempts == {0: 1, 1: 2, 2: 1, 3: 2, 4: 2, 5: 2}
    assert (homes[1] / "traceback.txt").exists()
    assert "no progress for 30 s" in (homes[4] / "error.txt").read_text()
    searches = {r.seed: r.status for r in records_of(folder, load_plan(folder)) if r.kind == "search"}
    assert searches == {0: "done", 1: "failed", 2: "failed", 3: "failed", 4: "done", 5: "failed"}

    (tmp_path / "faults.json").unlink()
    again = start(folder, cwd=tmp_path, cpus=2)
    assert again.outcome() == Outcome()
    expected = {seed: "failed" if seed == 2 else "done" for seed in found}
    assert {seed: record.status for seed, record in floats_of(folder).items()} == expected
    undisturbed = run_folder(tmp_path / "undisturbed", **FAULTY)
    for seed in (1, 3, 4, 5):
        trial = f"float-s{seed}"
        assert told(run_trial(undisturbed, trial)) == told(floats_of(folder)[seed])
        assert final_arrays(undisturbed, trial) == final_arrays(folder, trial)


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
def test_a_sweep_that_is_ended_in_every_way_ends_bit_for_bit_as_undisturbed(tmp_path, start, monkeypatch):
    monkeypatch.chdir(HERE)  # the data of the plan are read there
    slow = {
        "data": "slow_digits:batches", "references": {"uniform": [8], "random": False},
        "recipe__float__steps": 60, "recipe__retrain__steps": 60,
    }
    folder = run_folder(tmp_path / "run", **slow)
    trials = folder / "trials"

    # SIGTERM, as SLURM and Kubernetes send it: the sweep ends in peace, and nothing else begins.
    first = start(folder)
    first.wait_for_row(FLOAT, 5)
    os.kill(first.process.pid, signal.SIGTERM)
    assert first.outcome() == Outcome(interrupted=True)
    assert not has_result(folder, FLOAT)
    assert not (trials / UNIFORM).exists() and not (trials / SEARCH).exists()

    # A worker that is killed is replaced; every socket is on loopback. Then the driver itself is killed.
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

    # Ctrl-C twice: at once.
    stamp = (trials / FLOAT / "result.json").stat().st_mtime_ns
    third = start(folder)
    third.wait_for_row(SEARCH, tiny_plan.STEPS + 10)
    for _ in range(2):
        os.kill(third.process.pid, signal.SIGINT)
        time.sleep(0.2)
    assert third.outcome() == Outcome(interrupted=True)
    assert not has_result(folder, SEARCH)

    # Once through; what has a result is not touched.
    fourth = start(folder)
    assert fourth.outcome() == Outcome()
    assert (trials / FLOAT / "result.json").stat().st_mtime_ns == stamp
    records = records_of(folder, load_plan(folder))
    assert [record.trial for record in records] == [FLOAT, UNIFORM, SEARCH]
    assert {record.status for record in records} == {"done"}
    steps = [row["step"] for row in tiny_plan.rows(folder, UNIFORM)]
    assert steps == sorted(set(steps)), "rows of a dead attempt are cut back"
    assert steps[-1] == tiny_plan.STEPS + 60
    assert not list(folder.rglob("*.pkl"))
    assert {path.name for path in folder.iterdir()} == {"plan.json", "trials"}
    undisturbed = run_folder(tmp_path / "undisturbed", **slow)
    for record in records:
        assert told(run_trial(undisturbed, record.trial)) == told(record)
        assert final_arrays(undisturbed, record.trial) == final_arrays(folder, record.trial)


def namespaces():
    """Whether this user may mount a file system of its own."""
    return subprocess.run(["unshare", "-rm", "mount", "-t", "tmpfs", "tmpfs", "/mnt"], capture_output=True,
                          check=False).returncode == 0


@pytest.mark.skipif(not namespaces(), reason="needs a mount namespace for a small disk")
def test_a_full_disk_ends_a_trial_and_takes_none_of_its_checkpoints(tmp_path, finished, cache):
    source = tmp_path / "run"
    shutil.copytree(finished, source)
    shutil.rmtree(source / "trials" / SEARCH)
    (tmp_path / "disk").mkdir()
    words = [HERE / "full_disk.py", tmp_path / "disk", source, SEARCH, 120]
    done = subprocess.run(
        ["unshare", "-rm", sys.executable, *map(str, words)], env=tiny_plan.environment(cache),
        capture_output=True, text=True, check=False,
    )
    assert done.returncode == 0, done.stderr
    error, kept = done.stdout.splitlines()
    assert "space" in error.lower() or "RESOURCE_EXHAUSTED" in error
    assert kept.startswith("kept ['step_") and kept.endswith("result False")
    after = tmp_path / "run-after"
    assert final_arrays(after, SEARCH) == final_arrays(finished, SEARCH)
    assert told(run_trial(after, SEARCH)) == told(run_trial(finished, SEARCH))


@pytest.mark.slow
def test_a_population_that_loses_its_worker_goes_on_and_ends_bit_for_bit_as_undisturbed(tmp_path, start):
    together = {
        "data": "slow_digits:batches", "population": "together", "controllers": ["gumbel"], "seeds": [0, 1],
        "references": {"uniform": [], "random": False}, "recipe__search__steps": 20,
    }
    folder, undisturbed = (run_folder(tmp_path / name, **together) for name in ("run", "undisturbed"))
    searches = [trial.id for trial in load_plan(folder).trials if trial.kind == "search"]
    driver = start(folder)
    driver.wait_for_row(searches[1], 10)
    os.kill(driver.trial_worker(), signal.SIGKILL)
    assert driver.outcome() == Outcome()
    assert {record.status for record in records_of(folder, load_plan(folder))} == {"done"}
    assert start(undisturbed).outcome() == Outcome()
    for trial in searches:
        assert len(list((folder / "trials" / trial / "attempts").iterdir())) == 2
        assert final_arrays(undisturbed, trial) == final_arrays(folder, trial)
