"""Tests of experiments/ and search_spaces/: every bundled file is usable as it stands."""

import importlib
import importlib.resources
import json
from pathlib import Path

import numpy as np
import pytest

from mpnas.control import Sensitivity
from mpnas.cost import COSTS, Budget, measure, refuse_impossible
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
        command = json.loads(path.read_text())["command"]
        assert command.startswith(("mpnas ", "python scripts/benchmark.py "))


def test_resnet8_result_keeps_what_its_readme_claims():
    result = json.loads((ROOT / "experiments/resnet8_cifar10/result.json").read_text())
    best = max(
        (p for p in result["points"] if p["weight_bytes"] <= 0.5 * result["uniform_8_bit_weight_bytes"]),
        key=lambda p: p["test_accuracy"],
    )
    assert best["test_accuracy"] >= 0.86
    assert result["minutes"] <= 30


def test_retrainings_of_one_assignment_are_compared_with_all_four_ways_and_two_seeds():
    result = json.loads((ROOT / "experiments/retrain_resnet8/result.json").read_text())
    readme = (ROOT / "experiments/retrain_resnet8/README.md").read_text()
    rows = {(row["assignment"], row["variant"]): row for row in result["rows"] if row["augmented"]}
    assert set(rows) == {(a, v) for a in ("sensitivity", "random")
                         for v in ("plain", "distillation", "bins", "both")}
    for row in result["rows"]:
        found = np.array(row["test_accuracy"])
        assert len(found) == len(row["seeds"]) == 2
        shown = f"| {row['variant']} | 2 | {100 * found.mean():.2f} ± {100 * found.std(ddof=1):.2f} |"
        assert f"| {row['assignment']} | {'yes' if row['augmented'] else 'no'} {shown}" in readme
        if row["variant"] != "plain" and row["augmented"]:
            gains = found - np.array(rows[row["assignment"], "plain"]["test_accuracy"])
            assert row["gain"]["mean"] == pytest.approx(gains.mean(), abs=1e-4)
            assert row["gain"]["stderr"] == pytest.approx(gains.std(ddof=1) / 2**0.5, abs=1e-4)


def test_regrets_that_are_committed_are_within_the_bar_and_better_than_random():
    result = json.loads((ROOT / "experiments/regret/result.json").read_text())
    rows = {row["controller"]: row for row in result["rows"]}
    for name in ("gumbel", "dbp", "bitplane", "sensitivity"):
        assert len(rows[name]["regret"]) == 10
        assert sum(regret > 0.01 for regret in rows[name]["regret"]) <= 1
        assert np.median(rows[name]["regret"]) < np.median(rows[name]["random_regret"])
    assert (ROOT / "experiments/regret/table.npz").stat().st_size < 300_000


def test_regret_table_is_that_of_its_weights_and_the_exact_repair_is_close_to_its_best(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "scripts")
    regret = importlib.import_module("regret")
    bench = regret._bench(rebuild=False)  # measures some entries again
    assert len(bench.losses) == 16_875
    (asked,) = bench.experiment.budgets
    limits = Budget(asked).absolute(bench.net.space, COSTS)
    costs = regret._costs(bench.net.space, limits)
    best = min(loss for key, loss in bench.losses.items() if costs[key]["bops"] <= limits["bops"])
    span = max(bench.losses.values()) - min(bench.losses.values())
    for key in list(bench.losses)[::3000]:
        assignment = next(a for a in regret.every(bench.net.space) if regret.key_of(a) == key)
        assert costs[key]["bops"] == measure(COSTS, bench.net.space, assignment)["bops"]
    found = regret._searched(bench, Sensitivity(batches=60, batch=36), 0)
    assert 0 <= found - best <= 0.01 * span


@pytest.mark.parametrize("path", sorted((ROOT / "search_spaces").glob("*.toml")), ids=lambda path: path.stem)
def test_search_space_file_is_rules_and_nothing_else(path):
    table = read_toml(path)
    assert set(table) == {"rules"}
    assert path.read_text().startswith("#")


def test_experiments_and_spaces_are_installed_with_the_package():
    for package in ("experiments", "search_spaces"):
        names = [entry.name for entry in importlib.resources.files(package).iterdir()]
        assert any(name.startswith("digits") for name in names)
