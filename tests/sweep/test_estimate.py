"""Tests of mpnas/sweep/estimate.py."""

import pytest
import tiny_plan

from mpnas.sweep import estimate as file
from mpnas.sweep.estimate import FIXED, SESSION, estimate
from mpnas.sweep.trial import bench_of


@pytest.fixture
def measured(monkeypatch):
    """Steps and evaluations of known length in the place of measured ones."""
    seconds = {"float": 0.1, "search": 0.5, "retrain": 0.25}
    monkeypatch.setattr(file, "_measured", lambda plan, bench, key, spec: (seconds[key[0]], {}))
    monkeypatch.setattr(file, "_evaluation", lambda bench: 2.0)


def test_work_is_the_sum_of_steps_and_time_that_of_the_waves(measured):
    plan = tiny_plan.plan()
    found = estimate(plan, None, plan.trials, at_once=2)
    # 12 steps a stage; two evaluations of 2 s and a fixed part per trial.
    each = [12 * 0.1, 12 * 0.25, 12 * (0.5 + 0.25), 12 * 0.25]
    each = [seconds + 4.0 + FIXED for seconds in each]
    assert found.work_seconds == pytest.approx(sum(each))
    # The float network alone, then three trials on two processors: no less than the longest.
    assert found.wall_seconds == pytest.approx(each[0] + max(max(each[1:]), sum(each[1:]) / 2) + SESSION)
    assert found.step_seconds == {("float", None): 0.1, ("retrain", None): 0.25, ("search", 0): 0.5}


def test_what_is_done_takes_no_time(measured):
    plan = tiny_plan.plan()
    found = estimate(plan, None, plan.trials[1:2], at_once=2)
    assert found.work_seconds == pytest.approx(12 * 0.25 + 4.0 + FIXED)


def test_a_search_that_tries_assignments_is_counted_in_evaluations(measured):
    plan = tiny_plan.plan(controllers=[{"name": "random_search", "evaluations": 30}])
    search = [trial for trial in plan.trials if trial.kind == "search"]
    found = estimate(plan, None, search, at_once=1)
    assert found.step_seconds["search", 0] == 2.0
    assert found.work_seconds == pytest.approx(30 * 2.0 + 12 * 0.25 + 4.0 + FIXED)


def test_real_steps_are_measured_for_every_kind(finished):
    plan = tiny_plan.plan(controllers=["gumbel", "bitplane"])
    found = estimate(plan, bench_of(plan), plan.trials, at_once=1)
    assert set(found.step_seconds) == {("float", None), ("retrain", None), ("search", 0), ("search", 1)}
    assert all(0 < seconds < 5 for seconds in found.step_seconds.values())
    assert found.stored_bytes > 5 * 2 * 4 * (64 * 12 + 12 * 10)  # twice the weights of every trial, at least
