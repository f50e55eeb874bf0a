"""Tests of mpnas/cli/status.py, list.py, stop.py and clean.py."""

import json
import shutil
import subprocess
import sys
import threading
import time

import pytest

from mpnas.cli.status import look, looks
from mpnas.sweep.hold import held, holder_of


@pytest.fixture
def run(shared_run, tmp_path):
    folder = tmp_path / "runs" / "tiny"
    shutil.copytree(shared_run, folder)
    return folder


SEARCH = "gumbel-weight_bytes=0.5-s0"


def test_status_of_a_finished_run(mpnas, run):
    result = mpnas("status", run)
    assert result.exit_code == 0, result.output
    assert "3 of 3 trials done" in result.stdout and "front: 1 point, " in result.stdout
    assert "nobody runs it" in result.stdout and "resume" not in result.stdout
    rows = [line.strip(" |").split() for line in result.stdout.splitlines()]
    states = {row[0]: row[2] for row in rows if row and row[0] in {"float-s0", "uniform8-s0", SEARCH}}
    assert states == {"float-s0": "done", "uniform8-s0": "done", SEARCH: "done"}


def test_status_as_json_agrees_with_the_records(mpnas, run):
    found = json.loads(mpnas("status", run, "--json").stdout)
    record = json.loads((run / "trials" / SEARCH / "result.json").read_text())
    assert found["run"] == "tiny" and found["holder"] is None
    assert found["front"] == [
        {"weight_bytes": record["costs"]["weight_bytes"], "accuracy": record["metrics"]["accuracy"]}
    ]
    assert [trial["state"] for trial in found["trials"]] == ["done"] * 3
    assert found["overall"]["over"] == 3 and 0 < found["hypervolume"] < 1


def test_a_trial_that_nobody_goes_on_with_is_interrupted(mpnas, run):
    (run / "trials" / SEARCH / "result.json").unlink()
    states = {t["id"]: t["state"] for t in json.loads(mpnas("status", run, "--json").stdout)["trials"]}
    assert states == {"float-s0": "done", "uniform8-s0": "done", SEARCH: "interrupted"}
    assert "go on with mpnas resume" in mpnas("status", run).stdout


def test_a_watch_ends_with_the_run(mpnas, run):
    ended = threading.Event()

    def hold():
        with held(run):
            ended.wait(1.5)

    thread = threading.Thread(target=hold)
    thread.start()
    while holder_of(run) is None:
        time.sleep(0.01)
    result = mpnas("status", run, "--json", "--watch")
    thread.join()
    lines = [json.loads(line) for line in result.stdout.splitlines()]
    assert len(lines) >= 2 and lines[0]["holder"]["pid"] > 0 and lines[-1]["holder"] is None


def test_a_watch_reads_a_result_once(run):
    watching = looks(run)
    (statuses, holder), result = next(watching), run / "trials" / "float-s0" / "result.json"
    result.rename(result.with_name("elsewhere"))
    assert next(watching) == (statuses, holder)
    states = {status.id: status.state for status in look(run)[0]}
    assert (states["float-s0"], {status.state for status in statuses}) == ("interrupted", {"done"})


def test_letters_that_no_file_can_hold_are_shown_as_escapes(mpnas, run):
    result = run / "trials" / SEARCH / "result.json"
    result.write_text(json.dumps(json.loads(result.read_text()) | {"stage": "\ud800"}))
    shown = mpnas("status", run)
    assert shown.exit_code == 0 and "\\ud800" in shown.stdout


def test_status_of_no_run_is_refused(refused, tmp_path):
    assert "has no readable plan.json" in refused("status", tmp_path)


def test_list_shows_every_run_and_what_is_damaged(mpnas, run, tmp_path):
    (tmp_path / "runs" / "other").mkdir()
    (tmp_path / "runs" / "other" / "plan.json").write_text("{")
    (tmp_path / "runs" / "nothing").mkdir()
    result = mpnas("list")
    assert result.exit_code == 0, result.output
    assert "runs/tiny" in result.stdout and "3/3" in result.stdout
    assert "damaged" in result.stdout and "is not JSON" in result.stdout and "nothing" not in result.stdout


def test_list_of_nothing_is_refused(refused, tmp_path):
    assert "there is no folder" in refused("list", tmp_path / "missing")
    assert "holds no run" in refused("list", tmp_path)


def test_stop_without_a_living_run_is_refused(refused, run):
    assert "nobody runs" in refused("stop", run)


def test_stop_asks_the_holder_and_waits_for_its_end(mpnas, run):
    code = "import sys, pathlib, time\nfrom mpnas.sweep.hold import held\n" \
           "with held(pathlib.Path(sys.argv[1])):\n    print('held', flush=True)\n    time.sleep(60)"
    process = subprocess.Popen([sys.executable, "-c", code, str(run)], stdout=subprocess.PIPE,
                               stderr=subprocess.PIPE, text=True)
    try:
        assert process.stdout.readline() == "held\n"
        late = mpnas("stop", run, "--wait", "0")
        assert late.exit_code == 4 and "has not ended in 0 s" in late.stderr
        result = mpnas("stop", run)
        assert result.exit_code == 0, result.output
        assert "has ended. Go on with: mpnas resume" in result.stdout
        assert "KeyboardInterrupt" in process.communicate(timeout=10)[1]
    finally:
        process.kill()
        process.communicate()


def test_clean_shows_first_and_removes_when_told(mpnas, run):
    assert "nothing that it can do without" in mpnas("clean", run).stdout
    left = run / "trials" / "float-s0" / "damaged-step_00000001-0"
    left.mkdir()
    (left / "x").write_bytes(b"12345")
    shown = mpnas("clean", run)
    assert "5 bytes. Remove them with: mpnas clean" in shown.stdout and left.exists()
    assert "Removed 5 bytes." in mpnas("clean", run, "--yes").stdout and not left.exists()


def test_clean_leaves_a_living_run_alone(refused, run):
    with held(run):
        assert "held by a living run" in refused("clean", run)
