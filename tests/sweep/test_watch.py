"""Tests of mpnas/sweep/watch.py."""

import json
import math
import os
import threading

import pytest
import tiny_plan

from mpnas.sweep.folder import Listed, Outline, outline_of
from mpnas.sweep.plan import load_plan, propose
from mpnas.sweep.watch import DAMAGED, Pace, Reader, Status, Watch, pace_of

DONE = {"status": "done", "costs": {"weight_bytes": 9.0}, "metrics": {"accuracy": 0.5}}
FLOAT, UNIFORM, SEARCH = "float-s0", "uniform8-s0", "gumbel-weight_bytes=0.5-s0"


@pytest.fixture
def outline():
    return Outline("watched", (
        Listed(FLOAT, "float", {"float": 100}, {}),
        Listed(UNIFORM, "uniform", {"retrain": 60}, {}),
        Listed(SEARCH, "search", {"search": 40, "retrain": 60}, {"weight_bytes": 0.5}),
    ))


def attempt(folder, trial, number):
    home = folder / "trials" / trial
    (home / "attempts").mkdir(parents=True, exist_ok=True)
    (home / "attempts" / str(number)).touch()
    return home


def wrote(home, *rows, tail=""):
    (home / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows) + tail)


def row(stage, step, steps, seconds, **more):
    return {"stage": stage, "stage_step": step, "stage_steps": steps, "step": step, "seconds": seconds,
            "train_accuracy": 0.75, **more}


def of(statuses, trial):
    return next(status for status in statuses if status.id == trial)


def test_before_the_run_every_trial_waits(tmp_path, outline):
    statuses = Reader(tmp_path, outline).look()
    assert [status.id for status in statuses] == [FLOAT, UNIFORM, SEARCH]
    assert {status.state for status in statuses} == {"waiting"}
    assert [status.steps for status in statuses] == [100, 60, 100]


def test_a_trial_runs_from_its_first_attempt(tmp_path, outline):
    reader = Reader(tmp_path, outline)
    attempt(tmp_path, FLOAT, 1)
    assert of(reader.look(), FLOAT) == Status(FLOAT, "running", steps=100, kind="float")


def test_an_attempt_of_the_past_is_not_running(tmp_path, outline):
    wrote(attempt(tmp_path, FLOAT, 1), row("float", 20, 100, 5.0))
    reader = Reader(tmp_path, outline)
    status = of(reader.look(), FLOAT)
    assert (status.state, status.step) == ("waiting", 20)
    attempt(tmp_path, FLOAT, 2)
    assert of(reader.look(), FLOAT).state == "running"


def test_a_search_has_its_costs_and_the_steps_of_all_its_stages(tmp_path, outline):
    reader, home = Reader(tmp_path, outline), attempt(tmp_path, SEARCH, 1)
    costs = {"expected_costs": {"weight_bytes": 900.5}, "discrete_costs": {"weight_bytes": 1000.0}}
    wrote(home, row("search", 10, 40, 3.0, **costs), row("search", 20, 40, 5.0, **costs))
    status = of(reader.look(), SEARCH)
    assert (status.stage, status.step, status.steps) == ("search", 20, 100)
    assert (status.expected, status.exact, status.train_accuracy) == (900.5, 1000.0, 0.75)
    assert status.seconds_left == pytest.approx(0.2 * 80)
    wrote(home, row("search", 40, 40, 9.0, **costs), row("retrain", 30, 60, 12.0))
    status = of(reader.look(), SEARCH)
    assert (status.stage, status.step, status.expected) == ("retrain", 70, None)


def test_a_run_whose_budgets_limit_another_cost_is_told_by_that_one(tmp_path):
    outline = Outline("watched", (
        Listed(FLOAT, "float", {"float": 100}, {}),
        Listed(SEARCH, "search", {"search": 40, "retrain": 60}, {"bops": 0.5}),
    ))
    reader, home = Reader(tmp_path, outline), attempt(tmp_path, SEARCH, 1)
    costs = {"expected_costs": {"weight_bytes": 9.0, "bops": 7e6},
             "discrete_costs": {"weight_bytes": 9.0, "bops": 8e6}}
    wrote(home, row("search", 10, 40, 3.0, **costs))
    statuses = reader.look()
    assert {status.cost for status in statuses} == {"bops"}
    assert (of(statuses, SEARCH).expected, of(statuses, SEARCH).exact) == (7e6, 8e6)


def test_a_half_written_line_is_left_for_the_next_look(tmp_path, outline):
    reader, home = Reader(tmp_path, outline), attempt(tmp_path, FLOAT, 1)
    wrote(home, row("float", 20, 100, 5.0), tail='{"stage": "float", "stage_st')
    assert of(reader.look(), FLOAT).step == 20


@pytest.mark.parametrize("text", ["", "null\n", "[]\n", '{"stage": "float"}\n', "\x00\n"])
def test_rows_that_say_nothing_are_passed_over(tmp_path, outline, text):
    reader, home = Reader(tmp_path, outline), attempt(tmp_path, FLOAT, 1)
    (home / "metrics.jsonl").write_text(text)
    assert of(reader.look(), FLOAT).step == 0


def test_a_result_ends_a_trial(tmp_path, outline):
    reader, home = Reader(tmp_path, outline), attempt(tmp_path, SEARCH, 1)
    (home / "result.json").write_text(json.dumps({
        "status": "done", "stage": "retrained", "costs": {"weight_bytes": 990.0},
        "metrics": {"accuracy": 0.9, "test_accuracy": 0.8}, "seconds": {"total": 4.0}, "reason": None,
    }))
    status = of(reader.look(), SEARCH)
    assert status.over
    assert (status.state, status.step, status.exact, status.accuracy, status.seconds) == (
        "done", 100, 990.0, 0.9, 4.0
    )


def test_a_failed_result_has_its_reason(tmp_path, outline):
    reader, home = Reader(tmp_path, outline), attempt(tmp_path, SEARCH, 1)
    (home / "result.json").write_text(json.dumps({"status": "failed", "reason": "not finite."}))
    status = of(reader.look(), SEARCH)
    assert (status.state, status.reason) == ("failed", "not finite.")


def test_an_error_ends_the_attempt_that_wrote_it_and_no_later_one(tmp_path, outline):
    home = attempt(tmp_path, FLOAT, 1)
    reader = Reader(tmp_path, outline)
    attempt(tmp_path, FLOAT, 2)
    (home / "error.txt").write_text("the data are gone.\n")
    os.utime(home / "error.txt", (2e9, 2e9))
    status = of(reader.look(), FLOAT)
    assert (status.state, status.reason) == ("failed", "the data are gone.")
    attempt(tmp_path, FLOAT, 3)
    os.utime(home / "attempts" / "3", (2.1e9, 2.1e9))
    assert of(reader.look(), FLOAT).state == "running"


def test_a_watch_from_elsewhere_tells_attempts_of_the_living_run_from_earlier_ones(tmp_path, outline):
    for trial, started in ((FLOAT, 100.0), (UNIFORM, 200.0)):
        home = attempt(tmp_path, trial, 1)
        os.utime(home / "attempts" / "1", (started, started))
    states = [status.state for status in Reader(tmp_path, outline, since=150.0).look()]
    assert states == ["waiting", "running", "waiting"]
    assert {status.state for status in Reader(tmp_path, outline, since=math.inf).look()} == {"waiting"}


def test_the_pace_leaves_out_other_stages_and_other_attempts():
    rows = [
        row("search", 40, 40, 9.0), row("retrain", 10, 60, 20.0), row("retrain", 30, 60, 22.0),
    ]
    assert pace_of(rows) == pytest.approx(0.1)
    again = [row("retrain", 30, 60, 22.0), row("retrain", 40, 60, 3.0), row("retrain", 50, 60, 4.0)]
    assert pace_of(again) == pytest.approx(0.1)
    assert pace_of(rows[:1]) is None


def test_a_watch_shows_until_it_is_left_and_once_more(tmp_path, outline):
    seen, twice = [], threading.Event()

    def show(statuses):
        seen.append(of(statuses, FLOAT).state)
        if len(seen) == 2:
            twice.set()

    with Watch(Reader(tmp_path, outline), show, every=0.01):
        assert twice.wait(10)
        home = attempt(tmp_path, FLOAT, 1)
        (home / "result.json").write_text(json.dumps(DONE))
    assert seen[0] == "waiting" and seen[-1] == "done"
    assert not any(t.name == "mpnas-watch" for t in threading.enumerate())


def test_a_closed_output_ends_the_showing_and_not_the_run(tmp_path, outline):
    looked = threading.Event()

    def show(statuses):
        looked.set()
        raise BrokenPipeError

    with Watch(Reader(tmp_path, outline), show, every=0.01):
        assert looked.wait(10)
    assert not any(t.name == "mpnas-watch" for t in threading.enumerate())


def test_a_run_is_summed_up():
    statuses = (Status("a", "done", step=10, steps=10), Status("b", "failed", step=10, steps=10),
                Status("c", "running", step=5, steps=20))
    overall = Pace(lambda: 0.0).overall(statuses)
    assert (overall.trials, overall.over, overall.failed, overall.running) == (3, 2, 1, 1)
    assert overall.share == pytest.approx(25 / 40) and overall.seconds_left is None


def test_the_time_left_is_told_from_steps_and_not_from_the_start_of_workers():
    now = iter([0.0, 60.0, 61.0, 70.0])
    pace = Pace(lambda: next(now))

    def at(step):
        return pace.overall((Status("a", "running", step=step, steps=1000),)).seconds_left

    assert at(0) is None and at(0) is None  # a minute of starting and compiling
    assert at(10) is None  # one per cent
    assert at(100) == pytest.approx((70 - 60) / 100 * 900)


@pytest.mark.parametrize("change", [
    {"metrics": 3}, {"metrics": {"accuracy": "high"}}, {"metrics": {"accuracy": None}}, {"costs": []},
    {"costs": {"weight_bytes": True}}, {"status": 3},
])
def test_a_damaged_result_is_a_failed_trial(tmp_path, outline, change):
    home = attempt(tmp_path, FLOAT, 1)
    (home / "result.json").write_text(json.dumps(DONE | change))
    status = of(Reader(tmp_path, outline).look(), FLOAT)
    assert (status.state, status.reason) == ("failed", DAMAGED)


@pytest.mark.parametrize("text", ["", "{", "[]", "\x00"])
def test_a_result_that_cannot_be_read_is_a_failed_trial_too(tmp_path, outline, text):
    home = attempt(tmp_path, FLOAT, 1)
    (home / "result.json").write_text(text)
    status = of(Reader(tmp_path, outline).look(), FLOAT)
    assert (status.state, status.reason, status.step) == ("failed", DAMAGED, 100)


def test_rows_whose_numbers_are_none_are_shown_without_them(tmp_path, outline):
    odd = {"train_accuracy": "high", "expected_costs": 3, "discrete_costs": {"weight_bytes": []}}
    wrote(attempt(tmp_path, SEARCH, 1), row("search", 10, 40, 3.0) | odd)
    status = of(Reader(tmp_path, outline).look(), SEARCH)
    assert (status.step, status.expected, status.exact, status.train_accuracy) == (10, None, None, None)


def test_damaged_rows_tell_nothing(tmp_path, outline):
    wrote(attempt(tmp_path, FLOAT, 1), row("float", "x", 100, None))
    assert of(Reader(tmp_path, outline).look(), FLOAT).step == 0


def test_a_trial_that_is_proposed_meanwhile_joins_the_others(tmp_path):
    explore = {"budgets": {"weight_bytes": [0.45, 0.8]}, "trials": 2}
    folder = tiny_plan.run_folder(tmp_path / "run", explore=explore)
    reader, name = Reader(folder, outline_of(folder)), "gumbel-weight_bytes=0.75-s0"
    before = [status.id for status in reader.look()]
    propose(folder, load_plan(folder), {"weight_bytes": 0.75})
    attempt(folder, name, 1)
    statuses = reader.look()
    assert [status.id for status in statuses] == [*before, name]
    assert of(statuses, name).state == "running"
    (folder / "proposed.json").write_text("{")
    assert [status.id for status in reader.look()] == [*before, name]
