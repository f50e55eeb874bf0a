"""Tests of mpnas/sweep/trial.py."""

import datetime
import json
import shutil

import pytest
import tiny_plan
from tiny_plan import FLOAT, RANDOM, SEARCH, STEPS, UNIFORM, final_arrays, rows, run_and_die, run_folder, told

import mpnas.sweep.trial as trial_module
from mpnas.cost import COSTS, Budget, measure
from mpnas.errors import CheckpointError, RunFolderError
from mpnas.pareto.artifacts import digest
from mpnas.space import Assignment
from mpnas.sweep.attempt import Fenced
from mpnas.sweep.plan import load_plan
from mpnas.sweep.trial import bench_of, run_trial


def begun(tmp_path, finished, *trials, **changes):
    """A run folder in which some trials are done."""
    folder = run_folder(tmp_path / "run", **changes)
    for trial in trials:
        shutil.copytree(finished / "trials" / trial, folder / "trials" / trial)
    return folder


def record_of(finished, trial):
    return run_trial(finished, trial)


def test_record_of_a_search_tells_what_was_asked_and_what_came_out(finished):
    record = record_of(finished, SEARCH)
    assert (record.status, record.stage, record.kind) == ("done", "retrained", "search")
    assert (record.controller, record.seed, record.budget) == ("gumbel", 0, {"weight_bytes": 0.5})
    net = bench_of(load_plan(finished)).net
    assert record.limits == Budget({"weight_bytes": 0.5}).absolute(net.space, COSTS)
    assert record.costs["weight_bytes"] <= record.limits["weight_bytes"]
    assert record.costs == measure(COSTS, net.space, Assignment.from_json(record.assignment))
    assert record.steps == {"search": STEPS, "retrain": STEPS}
    assert set(record.metrics) == {"accuracy", "test_accuracy"}
    home = finished / "trials" / SEARCH
    assert json.loads((home / "assignment.json").read_text()) == record.assignment
    assert json.loads((home / "result.json").read_text()) == record.to_json()
    ended = datetime.datetime.fromisoformat(record.ended_utc).timestamp()
    assert (home / "result.json").stat().st_mtime - 60 < ended <= (home / "result.json").stat().st_mtime


def test_baselines_are_records_of_their_kind(finished):
    random, uniform, plain = (record_of(finished, name) for name in (RANDOM, UNIFORM, FLOAT))
    assert (plain.kind, plain.stage, plain.assignment) == ("float", "reference", {})
    assert plain.steps == {"float": STEPS}
    assert {bits for site in Assignment.from_json(uniform.assignment).bits.values() for bits in site} == {8}
    assert uniform.limits == {}
    assert random.costs["weight_bytes"] <= random.limits["weight_bytes"]
    assert plain.costs["weight_bytes"] > uniform.costs["weight_bytes"] > random.costs["weight_bytes"]
    assert {one.controller for one in (random, uniform, plain)} == {None}


def test_rows_of_metrics_count_on_through_the_stages(finished):
    found = rows(finished, SEARCH)
    assert [row["step"] for row in found] == list(range(1, 2 * STEPS + 1))
    assert [row["stage"] for row in found] == ["search"] * STEPS + ["retrain"] * STEPS
    assert {"expected_costs", "discrete_costs", "mean_choice_entropy"} <= found[0].keys()
    assert "expected_costs" not in found[-1]


def test_a_trial_is_alive_at_each_checkpoint_as_at_each_row(tmp_path, monkeypatch):
    monkeypatch.setattr("mpnas.sweep.home.REPORTS", 1)  # as in a long trial, whose rows are far apart
    folder, told_of, seen = run_folder(tmp_path / "run"), [], []
    run_trial(folder, FLOAT, report=lambda row: told_of.append(row["step"]), alive=seen.append)
    assert told_of == [STEPS]
    every = tiny_plan.TABLE["checkpoint_every"]
    assert {f"step {step} (float)" for step in range(every, STEPS, every)} < set(seen)


def test_folder_holds_config_checkpoint_and_hash(finished):
    home = finished / "trials" / SEARCH
    config = json.loads((home / "config.json").read_text())
    assert config["experiment"] == tiny_plan.TABLE
    assert config["trial"]["id"] == SEARCH
    record = record_of(finished, SEARCH)
    assert record.artifacts["checkpoint"] == f"trials/{SEARCH}/checkpoint"
    assert record.artifacts["sha256"] == digest(home / "checkpoint")


def test_second_call_returns_the_record_without_any_work(finished, monkeypatch):
    monkeypatch.setattr(trial_module, "Home", None)
    before = (finished / "trials" / SEARCH / "result.json").stat().st_mtime_ns
    record = run_trial(finished, SEARCH)
    assert record.to_json() == json.loads((finished / "trials" / SEARCH / "result.json").read_text())
    assert (finished / "trials" / SEARCH / "result.json").stat().st_mtime_ns == before


def assert_same_end(folder, finished, trial=SEARCH, *, after):
    """A trial that goes on after a step ends as the undisturbed one, in all it tells and keeps."""
    steps = []
    record = run_trial(folder, trial, report=lambda row: steps.append(row["step"]))
    assert steps == list(range(after + 1, rows(finished, trial)[-1]["step"] + 1))
    assert told(record) == told(run_trial(finished, trial))
    assert rows(folder, trial) == rows(finished, trial)
    assert final_arrays(folder, trial) == final_arrays(finished, trial)
    lines = (folder / "trials" / trial / "metrics.jsonl").read_text().splitlines()
    clock = [json.loads(line)["seconds"] for line in lines]
    # What earlier attempts took is counted on.
    assert clock == sorted(clock) and record.seconds["total"] >= clock[-1]


def test_trial_killed_in_search_and_in_retraining_ends_as_if_it_had_not_been(tmp_path, finished, cache):
    folder = begun(tmp_path, finished, FLOAT)
    run_and_die(folder, SEARCH, "search", 8, cache)
    assert len(rows(folder, SEARCH)) == 8, "rows beyond the checkpoint at step 5"
    in_search = tmp_path / "killed-in-search"
    shutil.copytree(folder, in_search)
    run_and_die(folder, SEARCH, "retrain", 8, cache)
    assert [row["step"] for row in rows(folder, SEARCH)] == list(range(1, STEPS + 9))
    damaged = tmp_path / "damaged"
    shutil.copytree(folder, damaged)

    assert_same_end(in_search, finished, after=5)
    assert_same_end(folder, finished, after=STEPS + 5)
    newest = damaged / "trials" / SEARCH / "checkpoint" / f"step_{STEPS + 5:08d}" / "state"
    file = max((p for p in newest.rglob("*") if p.is_file()), key=lambda p: p.stat().st_size)
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
    assert_same_end(damaged, finished, after=STEPS)
    assert (damaged / "trials" / SEARCH / f"damaged-step_{STEPS + 5:08d}-0").is_dir()


def test_trial_that_has_only_its_last_checkpoint_left_writes_the_same_record(tmp_path, finished):
    folder = begun(tmp_path, finished, FLOAT, SEARCH)
    (folder / "trials" / SEARCH / "result.json").unlink()
    assert_same_end(folder, finished, after=2 * STEPS)


def test_float_trial_goes_on_from_its_last_checkpoint(tmp_path, finished):
    folder = begun(tmp_path, finished, FLOAT)
    (folder / "trials" / FLOAT / "result.json").unlink()
    shutil.rmtree(folder / "trials" / FLOAT / "checkpoint" / f"step_{STEPS + 1:08d}")
    assert_same_end(folder, finished, FLOAT, after=STEPS)


class Stopped(Exception):
    pass


def stop_at(step):
    def report(row):
        if row["step"] == step:
            raise Stopped

    return report


@pytest.mark.parametrize("trial", [FLOAT, RANDOM])
def test_trial_stopped_before_its_first_checkpoint_starts_again(tmp_path, finished, trial):
    folder = begun(tmp_path, finished, *([] if trial == FLOAT else [FLOAT]))
    offset = 0 if trial == FLOAT else STEPS
    with pytest.raises(Stopped):
        run_trial(folder, trial, report=stop_at(offset + 3))
    assert_same_end(folder, finished, trial, after=offset)


TRIED = {
    "evolution-weight_bytes=0.5-s0": {"name": "evolution", "evaluations": 9, "population": 4, "parents": 2},
    "sensitivity-weight_bytes=0.5-s0": {"name": "sensitivity", "batches": 2, "batch": 32},
}


@pytest.fixture(scope="module")
def tried(tmp_path_factory, finished):
    """A run folder with searches that train nothing, and the rows that each of them told."""
    folder = begun(tmp_path_factory.mktemp("tried"), finished, FLOAT, controllers=list(TRIED.values()))
    for trial in TRIED:
        run_trial(folder, trial)
    return folder


@pytest.mark.parametrize("trial, method, evaluations", [
    ("evolution-weight_bytes=0.5-s0", "proposer", 9), ("sensitivity-weight_bytes=0.5-s0", "scorer", 1),
])
def test_search_without_gradients_is_a_trial_like_any_other(tried, trial, method, evaluations):
    record = run_trial(tried, trial)
    assert (record.status, record.kind, record.stage) == ("done", "search", "retrained")
    assert record.method == method
    assert record.steps == {"evaluations": evaluations, "retrain": STEPS}
    assert record.costs["weight_bytes"] <= record.limits["weight_bytes"]
    assert record.gap["soft_metric"] == record.gap["hard_metric"]
    told_rows = rows(tried, trial)
    assert [row["step"] for row in told_rows] == list(range(1, evaluations + STEPS + 1))
    assert {"select_accuracy", "expected_costs", "discrete_costs"} <= told_rows[0].keys()
    # The best so far never gets worse.
    losses = [row["loss"] for row in told_rows[:evaluations]]
    assert losses == sorted(losses, reverse=True)


def test_only_scorers_leave_scores(tried):
    assert len(list((tried / "scores").iterdir())) == 1


@pytest.mark.parametrize("trial", TRIED)
@pytest.mark.parametrize("step", [1, 4])
def test_search_without_gradients_that_is_stopped_ends_as_if_it_had_not_been(
    tmp_path, finished, tried, trial, step
):
    folder = begun(tmp_path, finished, FLOAT, controllers=list(TRIED.values()))
    with pytest.raises(Stopped):
        run_trial(folder, trial, report=stop_at(step))
    kept = 1 if "sensitivity" in trial and step == 4 else 0
    # What was found is kept with the first step of retraining; before that the search starts again.
    assert_same_end(folder, tried, trial, after=kept)


def test_method_of_a_relaxation_and_of_baselines_is_told(finished):
    methods = [record_of(finished, name).method for name in (SEARCH, RANDOM, UNIFORM, FLOAT)]
    assert methods == ["relaxation", None, None, None]


def test_older_attempt_is_fenced_and_writes_nothing_more(tmp_path, finished):
    folder = begun(tmp_path, finished, FLOAT)
    attempts = folder / "trials" / RANDOM / "attempts"

    def taken_over(row):
        if row["stage_step"] == 7:
            (attempts / "2").touch()

    with pytest.raises(Fenced, match="a newer attempt than 1 has started; this one ends"):
        run_trial(folder, RANDOM, report=taken_over)
    assert not (folder / "trials" / RANDOM / "result.json").exists()
    assert len(rows(folder, RANDOM)) == 7
    assert_same_end(folder, finished, RANDOM, after=STEPS + 5)
    assert {path.name for path in attempts.iterdir()} == {"1", "2", "3"}


def test_loss_that_is_not_finite_is_a_failed_record_with_stage_and_step(tmp_path):
    folder = run_folder(
        tmp_path / "run", recipe__float__weights={"lr": 1e38, "decay": "constant"}
    )
    record = run_trial(folder, FLOAT)
    assert (record.status, record.steps, record.metrics, record.artifacts) == ("failed", {"float": 2}, {}, {})
    assert "the loss of stage 'float' is not finite at step 2" in str(record.reason)
    assert run_trial(folder, FLOAT).reason == record.reason
    with pytest.raises(RunFolderError, match=f"starts from '{FLOAT}', which failed: the loss of"):
        run_trial(folder, SEARCH)


def test_budget_that_cannot_be_met_is_a_failed_record(tmp_path, finished):
    folder = begun(tmp_path, finished, FLOAT, budgets=[{"weight_bytes": "9 b"}])
    record = run_trial(folder, "gumbel-weight_bytes=9b-s0")
    assert record.status == "failed"
    assert "budget weight_bytes = 9 byte cannot be met" in str(record.reason)
    assert record.budget == {"weight_bytes": "9 b"}


def test_trial_without_its_float_network_says_what_to_run(tmp_path):
    folder = run_folder(tmp_path / "run")
    with pytest.raises(RunFolderError, match=f"'{UNIFORM}' starts from '{FLOAT}', which has no result"):
        run_trial(folder, UNIFORM)


@pytest.mark.parametrize("lost", [[f"step_{STEPS + 1:08d}"], [f"step_{STEPS + 1:08d}", f"step_{STEPS:08d}"]])
def test_trial_whose_float_network_is_damaged_says_so(tmp_path, finished, lost):
    folder = begun(tmp_path, finished, FLOAT)
    for step in lost:
        shutil.rmtree(folder / "trials" / FLOAT / "checkpoint" / step / "state")
    with pytest.raises(CheckpointError, match="float network of seed 0 is lost: .*Delete .*result.json"):
        run_trial(folder, UNIFORM)


def test_trial_that_the_plan_does_not_have_names_the_nearest(tmp_path):
    folder = run_folder(tmp_path / "run")
    with pytest.raises(RunFolderError, match=f"no trial 'uniform9-s0'; nearest: '{UNIFORM}'"):
        run_trial(folder, "uniform9-s0")


@pytest.mark.parametrize("text", ["{", "[]", "{}", '{"trial": "x", "more": 1}'])
def test_damaged_result_is_a_sentence(tmp_path, finished, text):
    folder = begun(tmp_path, finished, FLOAT)
    (folder / "trials" / FLOAT / "result.json").write_text(text)
    with pytest.raises(RunFolderError, match="result.json is damaged: .* Delete it and run: mpnas resume"):
        run_trial(folder, FLOAT)


def test_published_weights_need_a_model_that_has_some(tmp_path):
    folder = run_folder(tmp_path / "run", weights="none.npz")
    with pytest.raises(RunFolderError, match="cannot be loaded into model 'mlp'; .*: resnet8"):
        run_trial(folder, FLOAT)
