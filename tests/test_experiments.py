"""Tests of experiments/ and search_spaces/: every bundled file is usable as it stands."""

import importlib.resources
import json
from pathlib import Path

import numpy as np
import pytest

from mpnas.cost import COSTS, Budget, refuse_impossible
from mpnas.supernet import attach
from mpnas.sweep.config import bundled_experiments, experiment_of, rules_of
from mpnas.sweep.named import model_of
from mpnas.sweep.plan import plan_of
from mpnas.sweep.table import read_toml

ROOT = Path(__file__).resolve().parents[1]
SHAPES = {"digits": (2, 8, 8, 1), "cifar10": (2, 32, 32, 3)}


@pytest.mark.parametrize("name", bundled_experiments())
def test_bundled_experiment_has_a_readme_and_budgets_that_its_space_can_meet(name):
    experiment, table = experiment_of(name)
    assert experiment.name == name
    assert (ROOT / "experiments" / name / "README.md").is_file()
    example = np.zeros(SHAPES[experiment.data], np.float32)
    space = attach(model_of(experiment, 0), example, rules_of(experiment)).space
    for budget in experiment.budgets:
        assert refuse_impossible(Budget(budget), COSTS, space)
    ids = [trial.id for trial in plan_of(table, experiment).trials]
    assert len(ids) == len(set(ids))


@pytest.mark.parametrize("name", bundled_experiments())
def test_committed_result_of_an_experiment_is_readable(name):
    path = ROOT / "experiments" / name / "result.json"
    if name == "resnet8_cifar10":
        assert path.is_file()
    if path.is_file():
        assert json.loads(path.read_text())["command"].startswith("mpnas ")


def test_resnet8_result_keeps_what_its_readme_claims():
    result = json.loads((ROOT / "experiments/resnet8_cifar10/result.json").read_text())
    best = max(
        (p for p in result["points"] if p["weight_bytes"] <= 0.5 * result["uniform_8_bit_weight_bytes"]),
        key=lambda p: p["test_accuracy"],
    )
    assert best["test_accuracy"] >= 0.86
    assert result["minutes"] <= 30


@pytest.mark.parametrize("path", sorted((ROOT / "search_spaces").glob("*.toml")), ids=lambda path: path.stem)
def test_search_space_file_is_rules_and_nothing_else(path):
    table = read_toml(path)
    assert set(table) == {"rules"}
    assert path.read_text().startswith("#")


def test_experiments_and_spaces_are_installed_with_the_package():
    for package in ("experiments", "search_spaces"):
        names = [entry.name for entry in importlib.resources.files(package).iterdir()]
        assert any(name.startswith("digits") for name in names)
