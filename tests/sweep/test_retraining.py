"""Tests of mpnas/sweep/retraining.py."""

import json
import math
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "cli"))
import tiny_run  # noqa: E402

from mpnas.errors import ConfigError, FrontFileError, RunFolderError, SearchSpaceError  # noqa: E402
from mpnas.pareto import Record, load  # noqa: E402
from mpnas.pareto.artifacts import digest  # noqa: E402
from mpnas.supernet import attach  # noqa: E402
from mpnas.sweep import retraining  # noqa: E402
from mpnas.sweep.bench import bench_of  # noqa: E402
from mpnas.sweep.clean import leftovers  # noqa: E402
from mpnas.sweep.hold import held  # noqa: E402
from mpnas.sweep.named import model_of  # noqa: E402
from mpnas.sweep.plan import load_plan  # noqa: E402
from mpnas.sweep.recorded import retrainings  # noqa: E402
from mpnas.sweep.retraining import retrain_point  # noqa: E402
from mpnas.train.checkpoint import arrays_of  # noqa: E402
from mpnas.train.checkpoint import load as load_checkpoint  # noqa: E402

SHORT = ["recipe.retrain.steps=3"]


@pytest.fixture
def run(tmp_path):
    """A copy of the finished tiny run."""
    return Path(shutil.copytree(tiny_run.finished(), tmp_path / "run"))


@pytest.fixture
def front(run):
    return load(run / "front.json")


def result_of(folder):
    return json.loads((folder / "result.json").read_text())


def folders(run):
    """What lies in the folder of retrainings, but for the locks."""
    return sorted(path.name for path in (run / "retrained").iterdir() if not path.name.startswith("."))


def test_the_recipe_of_the_run_gives_the_numbers_of_the_run_again(run, front):
    done = retrain_point(run, front, "p000")
    assert done.record.metrics == {n: m["mean"] for n, m in done.point["metrics"].items()}
    assert done.record.costs == done.point["costs"]
    assert done.record.assignment == done.point["assignment"]
    assert done.folder == run / "retrained" / "p000"
    assert result_of(done.folder) == done.document
    assert [Record.from_json(one) for one in done.document["records"]] == [done.record]
    assert digest(run / done.record.artifacts["checkpoint"]) == done.record.artifacts["sha256"]


def test_a_uniform_reference_can_be_retrained_too(run, front):
    assert retrain_point(run, front, "r001", ["recipe.retrain.steps=2"]).record.kind == "uniform"


def test_the_float_network_has_nothing_to_retrain(run, front):
    with pytest.raises(FrontFileError, match="'r000' is the float network"):
        retrain_point(run, front, "r000")


def test_other_settings_have_a_folder_of_their_own_and_the_same_replace_when_whole(run, front, monkeypatch):
    first = retrain_point(run, front, "p000", ["recipe.retrain.steps=2"])
    began = result_of(first.folder)["records"][0]["ended_utc"]
    monkeypatch.setattr(retraining, "accuracy", lambda *_: 1 / 0)
    for steps in (2, 3):
        with pytest.raises(ZeroDivisionError):
            retrain_point(run, front, "p000", [f"recipe.retrain.steps={steps}"])
    assert result_of(first.folder)["records"][0]["ended_utc"] == began
    assert len(folders(run)) == 3  # the first, and two that are not finished
    monkeypatch.undo()
    other = retrain_point(run, front, "p000", ["recipe.retrain.steps=3"])
    again = retrain_point(run, front, "p000", ["recipe.retrain.steps=2"])
    assert again.folder == first.folder and other.folder != first.folder
    assert [result_of(one.folder)["phase"]["steps"] for one in (again, other)] == [2, 3]
    assert folders(run) == sorted([first.folder.name, other.folder.name])


def test_a_call_that_is_killed_between_old_and_new_result_leaves_both(run, front, monkeypatch):
    first = retrain_point(run, front, "p000", ["recipe.retrain.steps=2"])
    real = os.replace

    def killed(source, target):
        if Path(target) == first.folder:
            raise KeyboardInterrupt
        real(source, target)

    monkeypatch.setattr(os, "replace", killed)
    with pytest.raises(KeyboardInterrupt):
        retrain_point(run, front, "p000", ["recipe.retrain.steps=2"])
    assert len(list((run / "retrained").glob("*/result.json"))) == 2


def test_a_retraining_on_other_data_is_refused_and_names_them(run, front):
    plan = json.loads((run / "plan.json").read_text())
    plan["made_from"] |= {"data": "0" * 64}
    (run / "plan.json").write_text(json.dumps(plan))
    with pytest.raises(RunFolderError, match="hold other examples"):
        retrain_point(run, front, "p000", SHORT)
    assert not (run / "retrained").exists()


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
    with pytest.raises(FrontFileError, match="not of the plan"):
        retrain_point(run, front, "p000")


def test_a_retraining_without_its_float_network_says_which(run, front):
    shutil.rmtree(run / "trials" / "float-s0")
    with pytest.raises(FrontFileError, match="float network of seed 0"):
        retrain_point(run, front, "p000")


# Recipes, seeds and comparisons ------------------------------------------------------------------


def test_a_named_recipe_has_a_folder_of_its_own_and_overrides_win_over_it(run, front):
    done = retrain_point(run, front, "p000", [*SHORT, "recipe.retrain.bn_batches=2"], recipe="sdq")
    [name] = folders(run)
    assert name == done.folder.name and re.fullmatch("p000-sdq-[0-9a-f]{8}", name)
    assert done.document["recipe"] == "sdq" and done.document["start"] == "float"
    phase = done.document["phase"]
    assert (phase["distill"], phase["bins"], phase["bn_batches"], phase["steps"]) == (1.0, 0.1, 2, 3)
    assert done.document["teacher"] == "float"
    assert done.document["plain"] is None and done.document["gain"] is None


def test_recipes_change_what_is_trained(run, front):
    def weights(recipe):
        home = retrain_point(run, front, "p000", SHORT, recipe=recipe).folder
        _, arrays, _ = load_checkpoint(home / "seed0" / "checkpoint")
        return np.concatenate([a.ravel() for name, a in arrays.items() if "params" in name])

    found = {recipe: weights(recipe) for recipe in ("fine-tune", "distil", "sdq", "scratch", "one-to-one")}
    names = list(found)
    for k, one in enumerate(names):
        for other in names[k + 1:]:
            assert not np.array_equal(found[one], found[other]), (one, other)


@pytest.mark.parametrize("recipe", ["fine-tune", "scratch"])
def test_a_recipe_starts_from_the_weights_that_it_names(run, front, recipe):
    home = retrain_point(run, front, "p000", ["recipe.retrain.steps=0"], recipe=recipe).folder
    _, arrays, _ = load_checkpoint(home / "seed0" / "checkpoint")
    plan = load_plan(run)
    drawn = attach(model_of(plan.experiment, 0), bench_of(plan).data.example(), []).parts
    trained = load_checkpoint(run / "trials" / "float-s0" / "checkpoint")[1]
    starts = {"scratch": arrays_of(drawn), "fine-tune": trained}
    for name, array in arrays.items():
        if "params" in name:
            same = {start: np.array_equal(array, found[name]) for start, found in starts.items()}
            assert same[recipe], name
            assert "kernel" not in name or sum(same.values()) == 1, name


def test_several_seeds_are_told_with_mean_and_sample_deviation(run, front):
    done = retrain_point(run, front, "p000", SHORT, recipe="distil", seeds=3)
    values = [record.metrics["test_accuracy"] for record in done.records]
    assert [record.seed for record in done.records] == done.document["seeds"] == [0, 1, 2]
    told = done.document["metrics"]["test_accuracy"]
    assert told["values"] == values and told["n"] == 3
    assert told["mean"] == pytest.approx(np.mean(values), abs=1e-12)
    assert told["std"] == pytest.approx(np.std(values, ddof=1), abs=1e-12)
    for record in done.records:
        assert digest(run / record.artifacts["checkpoint"]) == record.artifacts["sha256"]
    alone = retrain_point(run, front, "p000", SHORT, recipe="distil")
    assert alone.record.metrics == done.record.metrics  # a seed does not depend on the others
    assert sorted(p.name for p in alone.folder.iterdir() if p.is_dir()) == ["seed0"]


def test_a_comparison_is_with_plain_training_of_the_same_seeds(run, front):
    done = retrain_point(run, front, "p000", SHORT, recipe="distil", seeds=2, compare=True)
    plain = retrain_point(run, front, "p000", SHORT, recipe="fine-tune", seeds=2)
    assert [r.metrics for r in done.plain] == [r.metrics for r in plain.records]
    told = done.document["gain"]["accuracy"]
    gains = [one.metrics["accuracy"] - other.metrics["accuracy"]
             for one, other in zip(done.records, plain.records, strict=True)]
    assert told["values"] == gains and told["mean"] == pytest.approx(sum(gains) / 2, abs=1e-12)
    # Of two values the sample deviation is |a - b| / sqrt 2, and the error of the mean |a - b| / 2.
    assert told["stderr"] == pytest.approx(abs(gains[0] - gains[1]) / 2, abs=1e-12)
    assert done.document["plain"] == plain.document["metrics"]


def test_what_the_teacher_adds_to_bins_is_told_too(run, front):
    done = retrain_point(run, front, "p000", SHORT, recipe="sdq", compare=True)
    assert {p.name for p in done.folder.iterdir() if p.is_dir()} == {"bins-seed0", "plain-seed0", "seed0"}
    alone = ["recipe.retrain.bins=0.1", "recipe.retrain.bn_batches=32"]
    binned = retrain_point(run, front, "p000", [*SHORT, "recipe.retrain.distill=0", *alone])
    assert done.document["bins"] == binned.document["metrics"]
    for name, gain in done.document["gain_over_bins"].items():
        assert gain["values"] == [done.record.metrics[name] - binned.record.metrics[name]]
    checkpoint = done.document["bins_records"][0]["artifacts"]["checkpoint"]
    assert retrainings(run)[checkpoint] == done.folder / "result.json"


def test_the_error_of_one_pair_is_not_known(run, front):
    done = retrain_point(run, front, "p000", SHORT, recipe="distil", compare=True)
    assert done.document["gain"]["accuracy"]["stderr"] is None
    assert math.isfinite(done.document["gain"]["accuracy"]["mean"])
    assert done.document["bins"] is None and done.document["gain_over_bins"] is None  # it has no bins


def test_an_interrupted_comparison_keeps_the_seeds_that_are_done(run, front):
    stages = []

    def interrupt(row):
        stages.append((row["stage"], row["stage_step"]))
        if row["stage"] == "plain-seed 1" and row["stage_step"] == 3:
            raise KeyboardInterrupt

    options = {"recipe": "distil", "seeds": 2, "compare": True}
    with pytest.raises(KeyboardInterrupt):
        retrain_point(run, front, "p000", SHORT, report=interrupt, **options)
    [unfinished] = folders(run)
    assert unfinished.startswith("p000-distil-") and unfinished.endswith(".unfinished")
    before, stages[:] = list(stages), []
    done = retrain_point(run, front, "p000", SHORT, report=lambda row: stages.append(row["stage"]), **options)
    assert {stage for stage, _ in before} == {"seed 0", "plain-seed 0", "seed 1", "plain-seed 1"}
    assert set(stages) == {"plain-seed 1"}
    assert folders(run) == [unfinished.removesuffix(".unfinished")] and len(done.plain) == 2


@pytest.mark.parametrize("options, words", [
    ({"recipe": "destil"}, "there is no recipe 'destil'; nearest: 'distil'"),
    ({"seeds": 0}, "--seeds must be >= 1, got 0"),
    ({"recipe": "fine-tune", "compare": True}, "this retraining has neither"),
    ({"recipe": "fine-tune", "teacher": "my_net:teacher"}, "no term of this retraining looks at a teacher"),
    ({"recipe": "distil", "teacher": "flaot"}, "neither 'float', nor a checkpoint folder"),
])
def test_bad_requests_are_refused_before_anything_is_written(run, front, options, words):
    with pytest.raises(ConfigError, match=words):
        retrain_point(run, front, "p000", **options)
    assert not (run / "retrained").exists()


def test_an_assignment_of_another_network_is_refused(run, front):
    assignment = front["points"][0]["assignment"]
    assignment["elsewhere/kernel"] = assignment.pop(next(iter(assignment)))
    with pytest.raises(SearchSpaceError, match="elsewhere/kernel|has no"):
        retrain_point(run, front, "p000")
    assert not (run / "retrained").exists()


# Two at once ------------------------------------------------------------------------------------


def test_two_processes_cannot_retrain_one_point_by_one_recipe(run, front):
    program = (
        "import sys; from pathlib import Path; from mpnas.sweep.hold import held\n"
        "with held(Path(sys.argv[1])):\n    print('held', flush=True); sys.stdin.read()\n"
    )
    lock = run / "retrained" / ".held" / "p000-distil"
    lock.mkdir(parents=True)
    other = subprocess.Popen(
        [sys.executable, "-c", program, str(lock)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
    )
    try:
        assert other.stdout.readline() == "held\n"
        with pytest.raises(RunFolderError, match="'p000-distil' is being retrained by another process"):
            retrain_point(run, front, "p000", recipe="distil")
        assert folders(run) == []
        retrain_point(run, front, "p000")  # another recipe has another folder
    finally:
        other.communicate("")
    retrain_point(run, front, "p000", recipe="distil")
    assert folders(run) == ["p000", "p000-distil"]


def test_what_a_living_retraining_has_is_no_leftover(run):
    (run / "retrained" / "p000.unfinished").mkdir(parents=True)
    lock = run / "retrained" / ".held" / "p000"
    lock.mkdir(parents=True)
    with held(lock):
        assert not [one for one in leftovers(run) if "p000" in one.path.name]
    assert [one.why for one in leftovers(run) if "p000" in one.path.name] == ["unfinished retraining"]
