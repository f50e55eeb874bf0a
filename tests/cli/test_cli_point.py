"""Tests of mpnas/cli/retrain.py and mpnas/cli/eval.py."""

import json
import os
from pathlib import Path

import pytest

from mpnas.cli import retrain


def test_a_point_is_retrained_beside_the_front(mpnas, own_run):
    before = (own_run / "front.json").read_bytes()
    result = mpnas("retrain", own_run / "front.json", "--point", "p000", "--set", "recipe.retrain.steps=3")
    assert result.exit_code == 0, result.output
    assert "before" in result.stdout and "after" in result.stdout
    (home,) = (own_run / "retrained").glob("p000-*")
    assert f"Written: own_run/retrained/{home.name}/result.json" in result.stdout
    assert "retrain 3/3: loss" in result.stderr
    written = json.loads((home / "result.json").read_text())
    assert written["phase"]["steps"] == 3 and written["recipe"] is None
    assert [record["steps"] for record in written["records"]] == [{"retrain": 3}]
    assert (own_run / "front.json").read_bytes() == before


def test_only_keys_of_the_retraining_can_be_set(refused, own_run):
    for override in ("recipe.search.steps=3", "model=resnet8", "nonsense"):
        sentence = refused("retrain", own_run, "--point", "p000", "--set", override)
        assert "keys here begin with 'recipe.retrain.'" in sentence
    sentence = refused("retrain", own_run, "--point", "p000", "--set", "recipe.retrain.step=3")
    assert "nearest: 'steps'" in sentence
    assert not (own_run / "retrained").exists()


def test_a_recipe_with_seeds_and_a_comparison_tells_spread_and_gain(mpnas, own_run):
    result = mpnas("retrain", own_run, "--point", "p000", "--recipe", "sdq", "--seeds", "2", "--compare",
                   "--set", "recipe.retrain.steps=3")
    assert result.exit_code == 0, result.output
    (home,) = (own_run / "retrained").glob("p000-sdq-*")
    written = json.loads((home / "result.json").read_text())
    table = result.stdout
    assert ", sdq, 2 seeds" in table and "plain" in table and "gain" in table
    assert "bins" in table and "gain over bins" in table
    told = {"metrics": "std", "plain": "std", "gain": "stderr", "bins": "std", "gain_over_bins": "stderr"}
    for part, spread in told.items():
        found = written[part]["test_accuracy"]
        assert f"{100 * found['mean']:.2f} ± {100 * found[spread]:.2f} %" in table
    assert f"retrained/{home.name}/seed1/checkpoint" in table
    assert "plain-seed 1 3/3: loss" in result.stderr


def test_slips_in_the_options_of_a_retraining_are_one_sentence(refused, own_run):
    point = ("retrain", own_run, "--point", "p000")
    assert "there is no recipe 'sqd'; nearest: 'sdq'" in refused(*point, "--recipe", "sqd")
    assert "the front has no point 'p7'; it has points p000" in refused("retrain", own_run, "--point", "p7")
    assert "no term of this retraining looks at a teacher" in refused(
        *point, "--recipe", "fine-tune", "--teacher", "my_net:teacher")
    assert "there is no module 'my_net' here" in refused(
        *point, "--recipe", "distil", "--teacher", "my_net:teacher")
    assert "this retraining has neither" in refused(*point, "--recipe", "scratch", "--compare")
    assert "--seeds must be >= 1, got 0" in refused(*point, "--seeds", "0")
    assert not (own_run / "retrained").exists()


def test_ctrl_c_while_retraining_ends_with_130(mpnas, own_run, monkeypatch):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(retrain, "retrain_point", interrupted)
    result = mpnas("retrain", own_run, "--point", "p000")
    assert result.exit_code == 130 and "goes on from the last checkpoint" in result.stderr


@pytest.mark.parametrize("point", ["p000", "r000", "r001"])
def test_a_point_agrees_with_its_file(mpnas, shared_run, point):
    result = mpnas("eval", shared_run, "--point", point)
    assert result.exit_code == 0, result.output
    assert f"{point} agrees with its file." in result.stdout


@pytest.mark.parametrize("part", ["train", "select"])
def test_a_point_can_be_measured_on_another_part(mpnas, shared_run, part):
    result = mpnas("eval", shared_run, "--point", "p000", "--part", part)
    assert result.exit_code == 0 and f"accuracy ({part})" in result.stdout


def test_a_point_that_differs_from_its_file_ends_with_code_2(mpnas, own_run):
    front = json.loads((own_run / "front.json").read_text())
    front["points"][0]["costs"]["bops"] += 1
    front["points"][0]["metrics"]["test_accuracy"] = {"mean": 1.0, "std": None, "n": 1, "values": [1.0]}
    (own_run / "front.json").write_text(json.dumps(front))
    result = mpnas("eval", own_run, "--point", "p000")
    assert result.exit_code == 2
    assert "p000 differs from its file: bops is" in result.stderr
    assert "test_accuracy is" in result.stderr and "the front says 1.0" in result.stderr


def test_a_run_without_a_point_names_the_points(refused, shared_run):
    assert "points p000; references r000, r001" in refused("eval", shared_run)


def test_the_options_of_an_experiment_do_not_go_with_a_point(refused, shared_run):
    assert "go with an experiment" in refused("eval", shared_run, "--point", "p000", "--set", "model=mlp")


def test_an_experiment_without_weights_says_so(refused, tiny_toml):
    assert "experiment 'tiny' names no trained weights" in refused("eval", tiny_toml)


@pytest.mark.slow
def test_the_published_resnet8_has_its_published_accuracy(mpnas, refused):
    folder = Path(os.environ.get("MPNAS_DATA", Path(__file__).parents[2] / "../shared/data"))
    if not folder.is_dir():
        pytest.skip("needs a data folder: set MPNAS_DATA")
    result = mpnas("eval", "resnet8_cifar10", "--data-dir", folder)
    assert result.exit_code == 0, result.output
    # Banbury et al., 2021: the float reference model on all of the test images.
    assert "accuracy 87.19 % on the 10,000 examples of part 'test'" in result.stdout
    assert "is neither a file nor below the data folder" in refused("eval", "resnet8_cifar10")
