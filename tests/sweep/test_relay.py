"""Tests of mpnas/sweep/tune/relay.py and place.py, without Ray between the two ends."""

import fcntl
import json
import os
import tempfile
from pathlib import Path

import pytest
import tiny_plan
from tiny_plan import FLOAT, SEARCH, UNIFORM

from mpnas.errors import FrontFileError, RunFolderError
from mpnas.pareto.artifacts import digest
from mpnas.sweep.attempt import Fenced
from mpnas.sweep.needs import File, Needs
from mpnas.sweep.trial import run_trial
from mpnas.sweep.tune import place, relay
from mpnas.sweep.tune.place import RELAY, mark_of, placed
from mpnas.sweep.tune.relay import Away, Relay, relayed, scratch

NOTHING = Needs(None, None, ())
SECRET = "secret"


class Near(Away):
    """The relay in this process."""

    def __init__(self, folder, needs=NOTHING):
        self.relay = Relay(str(folder), needs)

    def ask(self, method, *arguments):
        return getattr(self.relay, method)(*arguments)


@pytest.fixture(autouse=True)
def own_places(tmp_path, monkeypatch):
    (tmp_path / "t").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "t"))
    monkeypatch.setenv("MPNAS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("MPNAS_DATA", str(tmp_path / "no-data"))


@pytest.fixture
def folder(tmp_path):
    return tiny_plan.run_folder(tmp_path / "run")


def test_trials_through_the_relay_end_as_in_the_run_folder_itself(folder, finished):
    for trial in (FLOAT, UNIFORM, SEARCH):
        with relayed(Near(folder), [trial], "scores") as here:
            assert here != folder
            run_trial(here, trial)
        assert tiny_plan.final_arrays(folder, trial) == tiny_plan.final_arrays(finished, trial)
        assert tiny_plan.rows(folder, trial) == tiny_plan.rows(finished, trial)
        record = json.loads((folder / "trials" / trial / "result.json").read_text())
        assert digest(folder / record["artifacts"]["checkpoint"]) == record["artifacts"]["sha256"]


def test_trial_goes_on_from_what_an_attempt_elsewhere_has_sent(folder, finished):
    def die(row):
        if row["step"] >= 7:
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError), relayed(Near(folder), [FLOAT], "scores") as here:
        run_trial(here, FLOAT, report=die)
    seen = []
    with relayed(Near(folder), [FLOAT], "scores") as here:
        run_trial(here, FLOAT, report=lambda row: seen.append(row["step"]))
    assert seen[0] == 6, "the checkpoint of step 5 has come along"
    assert tiny_plan.final_arrays(folder, FLOAT) == tiny_plan.final_arrays(finished, FLOAT)
    assert sorted(os.listdir(folder / "trials" / FLOAT / "attempts")) == ["1", "2"]


def test_attempt_that_was_cut_off_notices_the_newer_one_and_sends_nothing_more(folder, monkeypatch):
    monkeypatch.setattr(relay, "EVERY_SECONDS", 0.01)
    away = Near(folder)

    def overtaken(row):
        if row["step"] == 7:
            away.relay.claim(FLOAT)
            attempts = here / "trials" / FLOAT / "attempts"
            while not (attempts / "2").exists():
                pass

    with pytest.raises(Fenced), relayed(away, [FLOAT], "scores") as here:
        run_trial(here, FLOAT, report=overtaken)
    assert not (folder / "trials" / FLOAT / "result.json").exists()
    assert {row["step"] for row in tiny_plan.rows(folder, FLOAT)} <= set(range(8))


def test_relay_gives_no_files_but_those_of_the_run_and_the_data(tmp_path, folder):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "own.npz").write_bytes(b"0123456789")
    (tmp_path / "data" / "diary.txt").write_bytes(b"private")
    relay = Relay(str(folder), Needs(None, str(tmp_path / "data"), (File("own.npz", 10, ""),)))
    assert relay.piece("own.npz", 3, 4) == b"3456"
    for name in ("diary.txt", "../run/plan.json"):
        with pytest.raises(FileNotFoundError):
            relay.piece(name, 0, 7)
    for trial in ("../..", "/tmp"):
        with pytest.raises(FrontFileError, match="leaves the run folder"):
            relay.claim(f"{trial}/../..")


def test_scratch_of_a_process_that_was_killed_is_cleared_and_of_a_living_one_kept(tmp_path):
    left = tmp_path / "t" / f"{relay.SCRATCH}left"
    left.mkdir()
    (left / ".lock").touch()
    with scratch() as living:
        assert not left.exists()
        with scratch() as other:
            assert living.exists() and living != other
        with open(living / ".lock") as handle, pytest.raises(BlockingIOError):
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    assert os.listdir(tmp_path / "t") == []


# Where a trial runs -------------------------------------------------------------------------------


@pytest.fixture
def on_cluster(folder, monkeypatch):
    def join(needs=NOTHING):
        monkeypatch.setenv(RELAY, SECRET)
        monkeypatch.setattr(place, "relay_of", lambda secret: Near(folder, needs))

    return join


def test_without_a_cluster_a_trial_runs_in_the_run_folder(folder, monkeypatch):
    monkeypatch.delenv(RELAY, raising=False)
    with placed(folder, [FLOAT]) as here:
        assert here == folder


def test_run_folder_is_used_by_a_worker_that_finds_the_drivers_mark_in_it(folder, on_cluster):
    on_cluster()
    with placed(folder, [FLOAT]) as here:
        assert here != folder, "a folder of that name is not yet the same folder"
    mark_of(folder, SECRET).touch()
    with placed(folder, [FLOAT]) as here:
        assert here == folder


def test_unknown_trial_is_told(folder, on_cluster):
    on_cluster()
    with pytest.raises(RunFolderError, match="has no trial 'float-s9'"), placed(folder, ["float-s9"]):
        pass


@pytest.mark.parametrize("named", [True, False])
def test_data_that_a_worker_lacks_are_sent_and_found_by_the_trial(tmp_path, folder, on_cluster, named):
    data = tmp_path / "data"
    data.mkdir()
    (data / "own.npz").write_bytes(b"pixels")
    file = File("own.npz", 6, digest(data / "own.npz"))
    on_cluster(Needs("/only/at/the/driver" if named else None, str(data), (file,)))
    mark_of(folder, SECRET).touch()
    with placed(folder, [FLOAT]) as here:
        # A folder that the plan names is named anew, in a copy of the plan.
        assert (here == folder) is not named
        found = json.loads((here / "plan.json").read_text())["data_dir"] or os.environ["MPNAS_DATA"]
        assert (Path(found) / "own.npz").read_bytes() == b"pixels"
        assert Path(found).is_relative_to(tmp_path / "cache")
