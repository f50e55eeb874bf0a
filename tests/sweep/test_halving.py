"""Tests of mpnas/sweep/tune/halving.py."""

import dataclasses
import json
import os

import pytest
import tiny_plan
from driver import Driver
from tiny_plan import FLOAT, HERE

from mpnas.cli.resume import forget_failures
from mpnas.sweep.collect import front_of, records_of
from mpnas.sweep.folder import has_result
from mpnas.sweep.plan import load_plan
from mpnas.sweep.tune.halving import Halving
from mpnas.sweep.tune.resources import Outcome
from mpnas.sweep.tune.waves import waves_of

LIMITS = {"weight_bytes": 500.0}
# Three searches of 24 steps: looks at a quarter and at three quarters of them, steps 6 and 18.
THREE = {"early_stopping": {}, "seeds": [0, 1, 2], "references": {"uniform": [], "random": False}}
ONE, TWO, LATE = (f"gumbel-weight_bytes=0.5-s{seed}" for seed in (0, 1, 2))
CONTINUE, STOP = Halving.CONTINUE, Halving.STOP


@dataclasses.dataclass
class Search:
    """As much of Tune's trial as a scheduler looks at."""

    trial_id: str
    config: dict


def row(step, accuracy, stored=None):
    told = {"step": step, "stage": "search", "stage_step": step, "seconds": 1.0, "train_accuracy": accuracy}
    # Tune flattens what a worker reports.
    return told | ({} if stored is None else {"expected_costs/weight_bytes": stored})


@pytest.fixture
def folder(tmp_path):
    return tiny_plan.run_folder(tmp_path / "run", **THREE)


@pytest.fixture
def halving(folder):
    """A scheduler over what is left of the wave of searches, with a trial of Tune for each."""

    def make():
        plan = load_plan(folder)
        (wave,) = [wave for wave in waves_of(folder, plan) if wave.peers]
        scheduler = Halving(folder, plan, wave, LIMITS)
        searches = {spec.id: Search(f"tune{k}", {"trials": (spec.id,)}) for k, spec in enumerate(wave.trials)}
        for search in searches.values():
            scheduler.on_trial_add(None, search)
        return lambda name, told: scheduler.on_trial_result(None, searches[name], told)

    for name in (ONE, TWO, LATE):
        (folder / "trials" / name).mkdir(parents=True)
    return make


def test_a_search_goes_on_while_it_is_among_the_best(halving, folder):
    report = halving()
    assert report(ONE, row(6, 0.5)) == CONTINUE
    assert report(TWO, row(6, 0.6)) == CONTINUE
    # Of 0.5 and 0.6 the best third begins at 0.5 + 2/3 of 0.1, as a percentile is interpolated.
    assert report(LATE, row(6, 0.566)) == STOP
    assert [has_result(folder, name) for name in (ONE, TWO, LATE)] == [False, False, True]


def test_nobody_is_stopped_between_two_looks(halving):
    report = halving()
    assert [report(ONE, row(step, 0.9)) for step in (5, 6)] == [CONTINUE] * 2
    assert [report(TWO, row(step, 0.1)) for step in range(1, 6)] == [CONTINUE] * 5
    assert report(TWO, row(6, 0.9)) == CONTINUE
    assert [report(TWO, row(step, 0.1)) for step in range(7, 18)] == [CONTINUE] * 11


def test_what_is_over_a_limit_counts_against_a_search(halving, folder):
    report = halving()
    assert report(ONE, row(6, 0.5, 500.0)) == CONTINUE
    assert report(TWO, row(6, 0.9, 1000.0)) == STOP  # 0.9 - 1
    record = records_of(folder, load_plan(folder))[-2]
    assert (record.trial, record.status, record.limits) == (TWO, "failed", LIMITS)
    assert (record.controller, record.method, record.seed) == ("gumbel", "relaxation", 1)
    assert record.reason.startswith(
        "stopped early by ASHA at step 6 of 24: its score -0.1000 was not in the best third"
    )


def test_the_last_step_and_what_is_no_row_stop_nobody(halving):
    report = halving()
    assert [report(ONE, row(step, 0.9)) for step in (6, 18, 24)] == [CONTINUE] * 3
    assert report(TWO, row(24, 0.1)) == CONTINUE
    for told in ({"step": -1}, {}, {"step": 12}, {"step": None}):
        assert report(LATE, told) == CONTINUE


def test_a_result_that_is_there_is_not_written_over(halving, folder):
    report = halving()
    path = folder / "trials" / TWO / "result.json"
    assert report(ONE, row(6, 0.9)) == CONTINUE
    path.write_text("{}")
    assert report(TWO, row(6, 0.1)) == STOP
    assert path.read_text() == "{}"


def write_rows(folder, name, *rows):
    rows = [row | {"expected_costs": {"weight_bytes": 500.0}} for row in rows]
    (folder / "trials" / name / "metrics.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows))


def test_a_scheduler_that_starts_again_knows_the_rows_of_earlier_runs(halving, folder):
    # One is done, Two was interrupted behind its first look and goes on at step 9.
    write_rows(folder, ONE, row(6, 0.9), row(18, 0.95))
    (folder / "trials" / ONE / "result.json").write_text("{}")
    write_rows(folder, TWO, row(6, 0.9), row(8, 0.8))
    report = halving()
    assert report(TWO, row(9, 0.1)) == CONTINUE  # it had its look at step 6
    assert report(LATE, row(6, 0.89)) == STOP
    assert report(TWO, row(18, 0.94)) == STOP


@pytest.mark.slow
def test_a_hopeless_search_is_stopped_and_can_be_tried_again(tmp_path, cache, monkeypatch):
    monkeypatch.chdir(HERE)
    # So strong a lean towards 8 bits cannot be learned away: expected costs stay twice the limit.
    folder = tiny_plan.run_folder(
        tmp_path / "run", early_stopping={}, references={"uniform": [], "random": False},
        controllers=["gumbel", {"name": "gumbel", "lean": 1000.0}], recipe__search__arch__lr=0.5,
    )
    good, hopeless = (f"gumbel{k}-weight_bytes=0.5-s0" for k in (1, 2))
    driver = Driver(folder, cache)
    try:
        assert driver.outcome() == Outcome()
    finally:
        driver.clean_up()
    records = {record.trial: record for record in records_of(folder, load_plan(folder))}
    assert [records[name].status for name in (FLOAT, good, hopeless)] == ["done", "done", "failed"]
    assert records[hopeless].reason.startswith("stopped early by ASHA at step 6 of 24: its score -0.")
    assert [row["step"] for row in tiny_plan.rows(folder, hopeless)] == [1, 2, 3, 4, 5, 6]
    (rejected,) = front_of(folder)["rejected"]
    assert (rejected["trial"], rejected["reason"]) == (hopeless, records[hopeless].reason)
    assert os.listdir(folder / "trials" / hopeless / "attempts") == ["1"]

    # It is over, until somebody asks for it again; then it runs to its end.
    assert waves_of(folder, load_plan(folder)) == []
    assert forget_failures(folder, load_plan(folder)) == [hopeless]
    (wave,) = waves_of(folder, load_plan(folder))
    assert ([spec.id for spec in wave.trials], wave.peers) == ([hopeless], ())
