"""Tests of mpnas/sweep/clean.py."""

import os
import shutil

import pytest
from tiny_plan import FLOAT, RANDOM, SEARCH, UNIFORM

from mpnas.pareto import load, save, violations
from mpnas.sweep.clean import leftovers, remove, size_of
from mpnas.sweep.collect import front_of
from mpnas.sweep.folder import read_json


@pytest.fixture
def run(finished, tmp_path):
    folder = tmp_path / "run"
    shutil.copytree(finished, folder)
    save(front_of(folder), folder / "front.json")
    return folder


def test_a_run_without_faults_can_do_without_nothing(run):
    assert leftovers(run) == []


def test_what_faults_leave_can_go_and_the_front_stays_whole(run):
    home = run / "trials" / FLOAT
    (home / "damaged-step_00000010-0").mkdir()
    (home / "damaged-step_00000010-0" / "array").write_bytes(b"x" * 100)
    (home / "traceback.txt").write_text("Traceback")
    (run / ".front.json.123.part").write_text("half")
    (run / "retrained" / "p000.unfinished").mkdir(parents=True)
    found = leftovers(run)
    assert {one.path.name: one.size for one in found} == {
        "damaged-step_00000010-0": 100, "traceback.txt": 9, ".front.json.123.part": 4, "p000.unfinished": 0,
    }
    remove(run, found)
    assert leftovers(run) == []
    assert violations(load(run / "front.json"), root=run) == []


def test_what_a_killed_export_left_can_go_and_a_living_one_keeps_its_file(run):
    (run / "exports").mkdir()
    (run / "retrained" / "p000" / "exports").mkdir(parents=True)
    dead = run / "exports" / ".4194305.tmp.a.onnx"  # Linux gives no process such a number
    other = run / "retrained" / "p000" / "exports" / ".4194305.tmp.seed0.csv"
    for path in (dead, other, run / "exports" / f".{os.getpid()}.tmp.b.onnx", run / "exports" / "a.onnx"):
        path.write_text("half")
    assert [one.path for one in leftovers(run)] == [dead, other]


def test_a_search_that_is_tried_again_keeps_the_result_by_which_it_is_spared(run):
    home = run / "trials" / SEARCH
    (home / "result.json").rename(home / "damaged-result-1")
    assert leftovers(run) == []
    (home / "damaged-result-1").rename(home / "result.json")
    (home / "damaged-result-1").write_text("{}")
    assert [one.path.name for one in leftovers(run)] == ["damaged-result-1"]


def test_a_trial_that_is_not_over_keeps_its_traceback(run):
    home = run / "trials" / UNIFORM
    (home / "traceback.txt").write_text("Traceback")
    (home / "result.json").unlink()
    assert leftovers(run) == []


def test_dominated_checkpoints_go_and_records_and_front_no_longer_name_them(run):
    found = leftovers(run, dominated=True)
    assert {one.path.parent.name for one in found} == {UNIFORM, RANDOM}
    assert all(one.size > 1000 for one in found)
    remove(run, found)
    front = load(run / "front.json")
    assert violations(front, root=run) == []
    named = {p["trial"]: "checkpoint" in p["artifacts"] for p in (*front["points"], *front["references"])}
    assert named == {FLOAT: True, SEARCH: True, UNIFORM: False, RANDOM: False}
    assert "sha256" not in read_json(run / "trials" / RANDOM / "result.json")["artifacts"]
    assert front == {**front_of(run), "created_utc": front["created_utc"]}


def test_links_out_of_the_folder_are_not_followed(run, tmp_path):
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "file").write_bytes(b"x" * 50)
    (run / "trials" / FLOAT / "damaged-link").symlink_to(outside)
    assert leftovers(run) == []
    assert size_of(run / "trials" / FLOAT / "damaged-link") < 50 + len(str(outside))
