"""Tests of mpnas/sweep/tune/waves.py."""

import json

import tiny_plan
from tiny_plan import FLOAT, RANDOM, SEARCH, UNIFORM

from mpnas.sweep.plan import load_plan, propose
from mpnas.sweep.tune.waves import waves_of

EXPLORE = {"budgets": {"weight_bytes": [0.45, 0.8]}, "trials": 2}
SEVERAL = {
    "controllers": ["gumbel", "dbp", {"name": "evolution", "evaluations": 20}],
    "budgets": [{"weight_bytes": 0.5}, {"weight_bytes": 0.6}],
}


def waves(folder):
    """Per wave the ids that run, those they are compared with, and whether budgets are proposed."""
    return [
        ([spec.id for spec in wave.trials], [spec.id for spec in wave.peers], wave.proposing)
        for wave in waves_of(folder, load_plan(folder))
    ]


def finish(folder, trial, name="result.json", **content):
    home = folder / "trials" / trial
    home.mkdir(parents=True, exist_ok=True)
    (home / name).write_text(json.dumps(content))


def test_without_early_stopping_everything_after_the_float_networks_is_one_wave(tmp_path):
    folder = tiny_plan.run_folder(tmp_path / "run")
    assert waves(folder) == [([FLOAT], [], False), ([UNIFORM, SEARCH, RANDOM], [], False)]


def test_searches_are_compared_within_one_budget_and_one_kind_of_method(tmp_path):
    folder = tiny_plan.run_folder(tmp_path / "run", early_stopping={}, **SEVERAL)
    groups = [[f"{name}-weight_bytes={share}-s0" for name in ("gumbel", "dbp")] for share in (0.5, 0.6)]
    # Evolution is alone of its kind, and baselines are never stopped.
    rest = [UNIFORM, "evolution-weight_bytes=0.5-s0", RANDOM, "evolution-weight_bytes=0.6-s0",
            "random-weight_bytes=0.6-s0"]
    assert waves(folder) == [([FLOAT], [], False), (rest, [], False)] + [(g, g, False) for g in groups]


def test_finished_searches_are_still_compared_with(tmp_path):
    folder = tiny_plan.run_folder(tmp_path / "run", early_stopping={}, **SEVERAL)
    done, left = "dbp-weight_bytes=0.5-s0", "gumbel-weight_bytes=0.5-s0"
    finish(folder, done)
    assert ([left], [left, done], False) in waves(folder)
    finish(folder, left)
    assert not any(done in peers for _, peers, _ in waves(folder))


def test_a_stopped_search_that_is_tried_again_runs_to_its_end(tmp_path):
    folder = tiny_plan.run_folder(tmp_path / "run", early_stopping={}, seeds=[0, 1, 2])
    finish(folder, SEARCH, "damaged-result-1", reason="stopped early by ASHA at step 6 of 24.")
    finish(folder, SEARCH.replace("s0", "s1"), "damaged-result-1", reason="the loss is not finite.")
    _, rest, group = waves(folder)
    assert SEARCH in rest[0]
    assert group[1] == [SEARCH.replace("s0", "s1"), SEARCH.replace("s0", "s2")]


def test_budgets_are_proposed_last_and_pending_proposals_are_not_compared(tmp_path):
    folder = tiny_plan.run_folder(tmp_path / "run", early_stopping={}, explore=EXPLORE)
    assert waves(folder)[-1] == ([], [], True)
    plan = propose(folder, load_plan(folder), {"weight_bytes": 0.55})
    assert waves(folder)[-1] == (["gumbel-weight_bytes=0.55-s0"], [], True)
    propose(folder, plan, {"weight_bytes": 0.75})
    for trial in (FLOAT, UNIFORM, SEARCH, RANDOM, "gumbel-weight_bytes=0.55-s0"):
        finish(folder, trial)
    assert waves(folder) == [(["gumbel-weight_bytes=0.75-s0"], [], False)]
    finish(folder, "gumbel-weight_bytes=0.75-s0")
    assert waves(folder) == []
