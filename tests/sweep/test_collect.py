"""Tests of mpnas/sweep/collect.py."""

import json
import re
import shutil

import pytest
from tiny_plan import FLOAT, RANDOM, SEARCH, UNIFORM

from mpnas.cost import COSTS, measure
from mpnas.pareto import Record, dumps, violations
from mpnas.space import Assignment
from mpnas.sweep.collect import _record, front_of, objectives, records_of, sites_of, ties_of
from mpnas.sweep.plan import TrialSpec, load_plan
from mpnas.sweep.trial import bench_of


@pytest.fixture
def run(finished, tmp_path):
    """A copy of the finished run folder."""
    return shutil.copytree(finished, tmp_path / "run")


def front_is_valid(front, folder):
    net = bench_of(load_plan(folder)).net

    def recompute(assignment):
        return measure(COSTS, net.space, Assignment.from_json(assignment))

    assert violations(front, recompute=recompute, root=folder) == []


def test_front_of_a_finished_run_breaks_no_invariant(finished):
    front = front_of(finished)
    front_is_valid(front, finished)
    assert [point["trial"] for point in front["points"]] == [SEARCH]
    assert {point["trial"] for point in front["references"]} == {FLOAT, UNIFORM, RANDOM}
    assert front["rejected"] == []
    assert front["points"][0]["nondominated"]
    assert front["hypervolume"]["value"] >= 0


def test_front_tells_what_was_run(finished):
    run = front_of(finished)["run"]
    plan = load_plan(finished)
    assert (run["id"], run["config_sha256"], run["seeds"]) == ("tiny", plan.digest, [0])
    assert run["config"] == plan.table
    # 64 x 12 + 12 and 12 x 10 + 10 parameters, without the biases in the multiplications.
    assert run["model"]["macs"] == 64 * 12 + 12 * 10
    assert run["dataset"]["sha256"] == bench_of(plan).data.digest
    assert run["env"]["threads_per_trial"] == 1
    assert set(run["sites"]) == set(bench_of(plan).net.space.choices)


def test_front_of_the_same_files_is_the_same_but_for_the_clock(finished):
    one, other = front_of(finished), front_of(finished)
    for front in (one, other):
        front["created_utc"] = "2026-01-01T00:00:00Z"
    assert dumps(one) == dumps(other)


@pytest.mark.parametrize("trial", [SEARCH, RANDOM, FLOAT])
def test_trial_without_a_result_is_rejected(run, trial):
    (run / "trials" / trial / "result.json").unlink()
    front = front_of(run)
    front_is_valid(front, run)
    assert [(row["trial"], row["reason"]) for row in front["rejected"]] == [(trial, "it has no result yet.")]
    assert trial not in {row["trial"] for row in front["points"] + front["references"]}


def test_run_that_has_not_begun_rejects_all(run):
    shutil.rmtree(run / "trials")
    front = front_of(run)
    assert {row["trial"] for row in front["rejected"]} == {FLOAT, UNIFORM, SEARCH, RANDOM}
    assert front["points"] == front["references"] == []


def test_words_that_a_worker_left_are_the_reason(run):
    (run / "trials" / SEARCH / "result.json").unlink()
    (run / "trials" / SEARCH / "error.txt").write_text("data file is missing.\n")
    assert front_of(run)["rejected"][0]["reason"] == "data file is missing."


@pytest.mark.parametrize("change, words", [
    (lambda text: text[:50], "its result.json is damaged: "),
    (lambda text: "", "its result.json is damaged: "),
    (lambda text: text.replace('"done"', '"dun"'), "is damaged: .*status"),
    (lambda text: text.replace('"seed": 0', '"seed": 0, "sed": 1'), "is damaged: .*'?sed'?"),
    (lambda text: json.dumps(json.loads(text) | {"trial": "other"}), "is that of trial 'other'"),
], ids=["cut", "empty", "status", "key", "of_another"])
def test_damaged_result_is_rejected_with_the_reason(run, change, words):
    path = run / "trials" / SEARCH / "result.json"
    path.write_text(change(path.read_text()))
    front = front_of(run)
    front_is_valid(front, run)
    (rejected,) = front["rejected"]
    assert rejected["trial"] == SEARCH
    assert re.search(words, rejected["reason"])


def test_changed_checkpoint_is_noticed_by_the_front(run):
    front = front_of(run)
    file = next(p for p in (run / "trials" / SEARCH / "checkpoint").rglob("*") if p.is_file())
    file.write_bytes(file.read_bytes() + b"x")
    assert any(sentence.startswith("I8") for sentence in violations(front, root=run))


def test_records_come_in_the_order_of_the_plan(finished):
    plan = load_plan(finished)
    assert [record.trial for record in records_of(finished, plan)] == [trial.id for trial in plan.trials]


def searched(**budget):
    costs = {"weight_bytes": 1.0, "bops": 2.0}
    return Record(trial="-".join(budget), kind="search", controller="gumbel", seed=0, budget=budget,
                  limits={}, status="done", stage="retrained", metrics={}, costs=costs)


@pytest.mark.parametrize("records, expected", [
    ([], {"weight_bytes"}),
    ([searched(weight_bytes=0.5)], {"weight_bytes"}),
    ([searched(bops=0.5)], {"bops"}),
    ([searched(bops=0.5), searched(weight_bytes=0.5)], {"bops", "weight_bytes"}),
    ([searched(macs=0.5)], {"weight_bytes"}),
], ids=["nothing", "bytes", "bops", "both", "no_number"])
def test_front_compares_accuracy_with_every_cost_that_is_limited(records, expected):
    deciding = {one["name"] for one in objectives(records=records) if one["on_front"]}
    assert deciding == {"accuracy"} | expected
    assert {one["name"] for one in objectives()} == {"accuracy", "test_accuracy"} | {c.name for c in COSTS}


def test_sites_and_ties_are_plain_data(finished):
    space = bench_of(load_plan(finished)).net.space
    assert json.loads(json.dumps(sites_of(space))) == sites_of(space)
    assert [site["index"] for site in sites_of(space).values()] == list(range(len(space.choices)))
    assert json.loads(json.dumps(ties_of(space))) == ties_of(space)


def test_a_trial_that_left_no_words_has_no_result_yet(tmp_path):
    spec = TrialSpec("float-s0", "float", 0)
    home = tmp_path / "trials" / spec.id
    home.mkdir(parents=True)
    (home / "error.txt").write_text("")  # the disk was full
    assert _record(tmp_path, spec).reason == "it has no result yet."
