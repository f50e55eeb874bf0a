"""Tests of mpnas/sweep/point.py."""

import dataclasses
import json
import shutil
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "cli"))
import tiny_run  # noqa: E402

from mpnas.errors import CheckpointError, ConfigError, FrontFileError  # noqa: E402
from mpnas.pareto import Record, load, save  # noqa: E402
from mpnas.pareto.artifacts import digest  # noqa: E402
from mpnas.sweep import point as point_file  # noqa: E402
from mpnas.sweep.point import Measured, ids_of, measure_point, point_of, retrain_point  # noqa: E402


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


def test_the_recipe_of_the_run_gives_the_numbers_of_the_run_again(run, front):
    done = retrain_point(run, front, "p000")
    assert done.record.metrics == {n: m["mean"] for n, m in done.point["metrics"].items()}
    assert done.record.costs == done.point["costs"]
    assert done.record.assignment == done.point["assignment"]
    assert done.folder == run / "retrained" / "p000"
    assert Record.from_json(json.loads((done.folder / "result.json").read_text())) == done.record
    assert digest(run / done.record.artifacts["checkpoint"]) == done.record.artifacts["sha256"]


def test_a_uniform_reference_can_be_retrained_too(run, front):
    assert retrain_point(run, front, "r001", ["recipe.retrain.steps=2"]).record.kind == "uniform"


def test_the_float_network_has_nothing_to_retrain(run, front):
    with pytest.raises(FrontFileError, match="'r000' is the float network"):
        retrain_point(run, front, "r000")


def test_another_recipe_replaces_the_earlier_result_when_it_is_whole(run, front, monkeypatch):
    first = retrain_point(run, front, "p000", ["recipe.retrain.steps=2"])
    monkeypatch.setattr(point_file, "accuracy", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        retrain_point(run, front, "p000", ["recipe.retrain.steps=3"])
    assert json.loads((first.folder / "result.json").read_text())["steps"] == {"retrain": 2}
    monkeypatch.undo()
    retrain_point(run, front, "p000", ["recipe.retrain.steps=3"])
    assert json.loads((first.folder / "result.json").read_text())["steps"] == {"retrain": 3}
    assert [path.name for path in (run / "retrained").iterdir()] == ["p000"]


def test_an_interrupted_retraining_goes_on_and_ends_in_the_same_numbers(run, front):
    seen = []

    def interrupt(row):
        seen.append(row["stage_step"])
        if row["stage_step"] == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        retrain_point(run, front, "p000", report=interrupt)
    seen.clear()
    done = retrain_point(run, front, "p000", report=lambda row: seen.append(row["stage_step"]))
    assert seen == [5, 6]  # from the checkpoint of step 4; there is one every 2 of 6 steps
    assert done.record.metrics == {n: m["mean"] for n, m in done.point["metrics"].items()}


def test_an_override_of_something_else_is_refused_before_anything_is_written(run, front):
    with pytest.raises(ConfigError, match="keys here begin with 'recipe.retrain.'"):
        retrain_point(run, front, "p000", ["seeds=[3]"])
    assert not (run / "retrained").exists()


def test_a_front_of_another_plan_is_refused(run, front):
    front["run"]["config_sha256"] = "0" * 64
    for call in (retrain_point, measure_point):
        with pytest.raises(FrontFileError, match="not of the plan"):
            call(run, front, "p000")


@pytest.mark.parametrize("point_id", ["p000", "r000", "r001"])
@pytest.mark.parametrize("part", ["train", "select", "test"])
def test_what_is_measured_again_agrees(run, front, point_id, part):
    found = measure_point(run, front, point_id, part)
    assert found.differences == []
    assert 0 <= found.accuracy <= 1


def test_the_checkpoint_of_another_network_is_noticed(run, front):
    front["points"][0]["artifacts"]["checkpoint"] = front["references"][0]["artifacts"]["checkpoint"]
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


def test_a_retraining_without_its_float_network_says_which(run, front):
    shutil.rmtree(run / "trials" / "float-s0")
    with pytest.raises(FrontFileError, match="float network of seed 0"):
        retrain_point(run, front, "p000")


def test_differences_are_sentences(front):
    point = point_of(front, "p000")
    same = Measured(point, dict(point["costs"]), "test", "test_accuracy",
                    point["metrics"]["test_accuracy"]["mean"] + 9e-7)
    assert same.differences == []
    other = dataclasses.replace(same, costs=same.costs | {"macs": 1.0}, accuracy=same.accuracy + 1e-5)
    macs, accuracy = other.differences
    assert macs == f"macs is 1.0, the front says {point['costs']['macs']}."
    assert accuracy.startswith("test_accuracy is")


def test_the_front_that_was_measured_is_not_changed(run, front):
    measure_point(run, front, "p000")
    save(front, run / "again.json")
    assert (run / "again.json").read_bytes() == (run / "front.json").read_bytes()
