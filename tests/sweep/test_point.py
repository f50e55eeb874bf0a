"""Tests of mpnas/sweep/point.py."""

import dataclasses
import shutil
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "cli"))
import tiny_run  # noqa: E402

from mpnas.errors import CheckpointError, FrontFileError  # noqa: E402
from mpnas.pareto import load, save  # noqa: E402
from mpnas.pareto.artifacts import digest  # noqa: E402
from mpnas.sweep.point import Measured, ids_of, measure_point, point_of  # noqa: E402


@pytest.fixture
def run(tmp_path):
    """A copy of the finished tiny run."""
    return Path(shutil.copytree(tiny_run.finished(), tmp_path / "run"))


@pytest.fixture
def front(run):
    return load(run / "front.json")


def test_a_point_is_found_by_its_id(front):
    assert point_of(front, "p000")["kind"] == "search"
    assert point_of(front, "r000")["kind"] == "float"
    assert ids_of(front) == "points p000; references r000, r001"
    with pytest.raises(FrontFileError, match="no point 'p9'; it has points p000; references r000, r001"):
        point_of(front, "p9")


def test_a_front_of_another_plan_is_refused(run, front):
    front["run"]["config_sha256"] = "0" * 64
    with pytest.raises(FrontFileError, match="not of the plan"):
        measure_point(run, front, "p000")


@pytest.mark.parametrize("point_id", ["p000", "r000", "r001"])
@pytest.mark.parametrize("part", ["train", "select", "test"])
def test_what_is_measured_again_agrees(run, front, point_id, part):
    found = measure_point(run, front, point_id, part)
    assert found.differences == []
    assert 0 <= found.accuracy <= 1


def test_the_checkpoint_of_another_network_is_noticed(run, front):
    artifacts = front["points"][0]["artifacts"]
    artifacts["checkpoint"] = front["references"][0]["artifacts"]["checkpoint"]
    with pytest.raises(CheckpointError, match="is not the checkpoint that was recorded: its SHA-256 is"):
        measure_point(run, front, "p000")
    artifacts["sha256"] = digest(run / artifacts["checkpoint"])
    with pytest.raises(CheckpointError, match="does not fit"):
        measure_point(run, front, "p000")


@pytest.mark.parametrize("path", ["../elsewhere", "/etc", "trials/../../x"])
def test_a_checkpoint_outside_of_the_run_is_never_opened(run, front, path):
    front["points"][0]["artifacts"]["checkpoint"] = path
    with pytest.raises(FrontFileError, match="leaves the run folder"):
        measure_point(run, front, "p000")


def test_a_point_without_a_checkpoint_says_so(run, front):
    del front["points"][0]["artifacts"]["checkpoint"]
    with pytest.raises(FrontFileError, match="names no checkpoint"):
        measure_point(run, front, "p000")


def test_differences_are_sentences(front):
    point = point_of(front, "p000")
    # One answer of 1000 may be another one, on another processor; 1 % may not.
    mean = point["metrics"]["test_accuracy"]["mean"]
    same = Measured(point, dict(point["costs"]), "test", "test_accuracy", mean + 1e-3, rows=1000)
    assert same.differences == []
    other = dataclasses.replace(same, costs=same.costs | {"macs": 1.0}, accuracy=mean + 1e-2)
    macs, accuracy = other.differences
    assert macs == f"macs is 1.0, the front says {point['costs']['macs']}."
    assert accuracy.startswith("test_accuracy is")


def test_the_front_that_was_measured_is_not_changed(run, front):
    measure_point(run, front, "p000")
    save(front, run / "again.json")
    assert (run / "again.json").read_bytes() == (run / "front.json").read_bytes()
