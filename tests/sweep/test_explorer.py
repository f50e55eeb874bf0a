"""Tests of mpnas/sweep/tune/explorer.py."""

import json
import os
import signal

import pytest
import tiny_plan
from driver import Driver, until
from tiny_plan import FLOAT, HERE, SEARCH

from mpnas.errors import ConfigError
from mpnas.sweep.collect import records_of
from mpnas.sweep.folder import has_result
from mpnas.sweep.plan import load_plan, propose
from mpnas.sweep.tune import explorer
from mpnas.sweep.tune.explorer import Explorer, next_budget, outcomes_of
from mpnas.sweep.tune.resources import Outcome as End

LOW, HIGH = 0.4, 0.8
EXPLORE = {"budgets": {"weight_bytes": [LOW, HIGH]}, "trials": 8}


def finish(folder, trial, accuracy=None, stored=1000.0):
    """A result as far as proposals depend on it; failed without an accuracy."""
    home = folder / "trials" / trial
    home.mkdir(parents=True, exist_ok=True)
    told = {"status": "failed"}
    if accuracy is not None:
        told = {"status": "done", "metrics": {"accuracy": accuracy}, "costs": {"weight_bytes": stored}}
    (home / "result.json").write_text(json.dumps(told))


def begun(folder, **options):
    """A run folder whose float network is done."""
    tiny_plan.run_folder(folder, explore=EXPLORE | options)
    finish(folder, FLOAT, 0.9, 5000.0)
    return folder


def searcher(folder):
    plan = load_plan(folder)
    pending = [spec.id for spec in plan.proposals if not has_result(folder, spec.id)]
    return Explorer(folder, plan, pending)


def share(folder, trial):
    return load_plan(folder).trial(trial).budget["weight_bytes"]


def explore(folder, restart):
    """All proposals, each with a result that only depends on its budget, with a driver per `restart`."""
    proposing, names = searcher(folder), []
    while (told := proposing.suggest("tune")) != Explorer.FINISHED:
        names += told["trials"]
        finish(folder, names[-1], 0.5 + share(folder, names[-1]) / 4, 1000 * share(folder, names[-1]))
        if len(names) % restart == 0:
            proposing = searcher(folder)
    return names


def test_proposals_are_new_searches_within_the_range_of_four_digits(tmp_path):
    folder = begun(tmp_path / "run")
    names = explore(folder, restart=100)
    shares = [share(folder, name) for name in names]
    assert len(set(names)) == len(names) == 8
    assert all(LOW <= one <= HIGH and one == round(one, 4) for one in shares)
    assert [spec.id for spec in load_plan(folder).proposals] == names
    assert names == [f"gumbel-weight_bytes={one:g}-s0" for one in shares]


def test_a_sweep_that_starts_again_and_again_proposes_the_same_budgets(tmp_path):
    undisturbed = explore(begun(tmp_path / "one"), restart=100)
    assert explore(begun(tmp_path / "other"), restart=1) == undisturbed
    assert explore(begun(tmp_path / "seed", seed=1), restart=100) != undisturbed


def test_a_proposal_is_on_disk_before_it_is_handed_out_and_runs_first_after_a_restart(tmp_path):
    folder = begun(tmp_path / "run")
    first = searcher(folder).suggest("tune")["trials"][0]
    assert load_plan(folder).proposals[0].id == first
    again = searcher(folder)
    assert again.suggest("tune") == {"trials": (first,)}
    assert again.suggest("tune") == {"trials": (load_plan(folder).proposals[1].id,)}
    assert load_plan(folder).proposed == 2


def test_nothing_is_handed_out_that_cannot_be_written(tmp_path, monkeypatch):
    folder = begun(tmp_path / "run")

    def full(path, document):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("mpnas.sweep.plan.write_json", full)
    with pytest.raises(OSError, match="No space left"):
        searcher(folder).suggest("tune")


@pytest.mark.parametrize("state", ["absent", "failed"])
def test_without_a_float_network_nothing_is_proposed(tmp_path, state):
    folder = tiny_plan.run_folder(tmp_path / "run", explore=EXPLORE)
    if state == "failed":
        finish(folder, FLOAT)
    assert searcher(folder).suggest("tune") == Explorer.FINISHED
    assert not (folder / "proposed.json").exists()


def test_listed_searches_in_the_range_and_failures_are_told(tmp_path):
    folder = begun(tmp_path / "run")
    finish(folder, SEARCH, 0.75, 520.0)
    plan = propose(folder, load_plan(folder), {"weight_bytes": 0.6})
    plan = propose(folder, plan, {"weight_bytes": 0.7})
    finish(folder, "gumbel-weight_bytes=0.6-s0")
    told = [(o.budget["weight_bytes"], o.found, o.over) for o in outcomes_of(folder, plan)]
    # SEARCH, the failure, and the one that still runs.
    assert told == [(0.5, (0.75, 520.0), True), (0.6, None, True), (0.7, None, False)]
    assert LOW <= next_budget(folder, plan)["weight_bytes"] <= HIGH


def test_the_objectives_are_accuracy_and_the_costs_that_are_explored(tmp_path):
    both = {"bops": [0.1, 0.9], "weight_bytes": [0.1, 0.9]}
    folder = tiny_plan.run_folder(tmp_path / "run", explore=EXPLORE | {"budgets": both},
                                  budgets=[{"weight_bytes": 0.5, "bops": 0.5}])
    (spec,) = [spec for spec in load_plan(folder).trials if spec.kind == "search"]
    home = folder / "trials" / spec.id
    home.mkdir(parents=True)
    record = {"metrics": {"accuracy": 0.75}, "costs": {"weight_bytes": 520.0, "bops": 9000.0}}
    (home / "result.json").write_text(json.dumps(record))
    (found,) = outcomes_of(folder, load_plan(folder))
    assert found.found == (0.75, 9000.0, 520.0)
    # What costs most bops for the same accuracy is left, though no bytes are told.
    ranges = explorer.Explore(budgets={"bops": (0.01, 1.0)}, trials=50)
    known = [explorer.Outcome({"bops": s}, (min(s / 0.15, 1.0), 1000 * s), True)
             for s in (0.01, 0.02, 0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.7, 0.8, 0.9)]
    drawn = [explorer.suggested(ranges, known, explorer.np.random.SeedSequence([1, k]))["bops"]
             for k in range(20)]
    assert sum(one < 0.15 for one in drawn) > 14


def test_searches_of_another_controller_or_range_are_not_told(tmp_path):
    folder = tiny_plan.run_folder(
        tmp_path / "run", explore=EXPLORE | {"controller": "gumbel"}, controllers=["dbp", "gumbel"],
        budgets=[{"weight_bytes": 0.5}, {"weight_bytes": 0.9}, {"bops": 0.5}, {"weight_bytes": "1 kB"}],
    )
    assert [outcome.budget for outcome in outcomes_of(folder, load_plan(folder))] == [{"weight_bytes": 0.5}]


def test_a_suggestion_that_is_there_already_is_not_run_twice(tmp_path, monkeypatch):
    suggestions = iter([0.5, 0.50001, 0.6, 0.6, 0.7])  # 0.5 is listed, and 0.50001 rounds to it
    monkeypatch.setattr(
        explorer, "suggested", lambda explore, outcomes, seed: {"weight_bytes": next(suggestions)}
    )
    folder = begun(tmp_path / "run")
    proposing = searcher(folder)
    found = [share(folder, proposing.suggest("tune")["trials"][0]) for _ in range(2)]
    assert found == [0.6, 0.7]


def test_a_sampler_that_only_repeats_itself_is_helped_out(tmp_path, monkeypatch):
    monkeypatch.setattr(explorer, "suggested", lambda explore, outcomes, seed: {"weight_bytes": 0.5})
    folder = begun(tmp_path / "run")
    found = share(folder, searcher(folder).suggest("tune")["trials"][0])
    assert LOW <= found <= HIGH and found != 0.5
    # Three budgets for three proposals, but one of them is listed.
    narrow = begun(tmp_path / "narrow", budgets={"weight_bytes": [0.4999, 0.5001]}, trials=3)
    proposing = searcher(narrow)
    assert {share(narrow, proposing.suggest("tune")["trials"][0]) for _ in range(2)} == {0.4999, 0.5001}
    with pytest.raises(ConfigError, match="hold no budget beside the 3 that are there"):
        proposing.suggest("tune")


def test_the_sampler_leaves_budgets_that_are_beaten_everywhere():
    # Above a share of 0.15 nothing is gained: the same accuracy for more bytes.
    ranges = explorer.Explore(budgets={"weight_bytes": (0.01, 1.0)}, trials=50)
    known = [
        explorer.Outcome({"weight_bytes": s}, (min(s / 0.15, 1.0), 1000 * s), True)
        for s in (0.01, 0.02, 0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.7, 0.8, 0.9)
    ]
    drawn = [
        explorer.suggested(ranges, known, explorer.np.random.SeedSequence([1, k]))["weight_bytes"]
        for k in range(60)
    ]
    # By chance 59 % of draws are below 0.15: log(15) / log(100).
    assert sum(one < 0.15 for one in drawn) > 0.75 * len(drawn)


@pytest.mark.slow
def test_proposals_survive_an_interrupt_and_all_of_them_are_run(tmp_path, cache, monkeypatch):
    monkeypatch.chdir(HERE)
    folder = tiny_plan.run_folder(
        tmp_path / "run", data="slow_digits:batches", budgets=[], explore=EXPLORE | {"trials": 4},
        references={"uniform": [], "random": False},
    )

    def second():
        plan = load_plan(folder)
        return plan.proposed >= 2 and (folder / "trials" / plan.proposals[1].id / "metrics.jsonl").exists()

    driver = Driver(folder, cache)
    try:
        until(second, driver.process, "a row of the second proposal")
        os.kill(driver.process.pid, signal.SIGINT)
        assert driver.outcome() == End(interrupted=True)
    finally:
        driver.clean_up()
    before = load_plan(folder).proposals
    assert [has_result(folder, spec.id) for spec in before] == [True, False]
    stamp = (folder / "trials" / before[0].id / "result.json").stat().st_mtime_ns

    driver = Driver(folder, cache)
    try:
        assert driver.outcome() == End()
    finally:
        driver.clean_up()
    plan = load_plan(folder)
    assert plan.proposals[:2] == before and plan.proposed == 4
    assert (folder / "trials" / before[0].id / "result.json").stat().st_mtime_ns == stamp
    records = records_of(folder, plan)
    assert [record.status for record in records] == ["done"] * 5
    assert all(LOW <= record.budget["weight_bytes"] <= HIGH for record in records[1:])
    assert {path.name for path in folder.iterdir()} == {"plan.json", "proposed.json", "trials"}
