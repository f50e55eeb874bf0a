"""Tests of mpnas/sweep/early.py."""

import pytest
import tiny_plan

from mpnas.errors import ConfigError
from mpnas.sweep.config import read_experiment
from mpnas.sweep.early import EarlyStopping, reason_of, score_of

LIMITS = {"weight_bytes": 500.0, "bops": 1000.0}


@pytest.mark.parametrize("row, penalty, expected", [
    # 600 of 500 bytes are a fifth too much; 900 of 1000 bops are no merit.
    ({"train_accuracy": 0.75, "expected_costs": {"weight_bytes": 600.0, "bops": 900.0}}, 1.0, 0.55),
    # A fifth and a half too much, each counted double: 0.75 - 2 * 0.7.
    ({"train_accuracy": 0.75, "expected_costs": {"weight_bytes": 600.0, "bops": 1500.0}}, 2.0, -0.65),
    ({"train_accuracy": 0.75, "expected_costs": {"weight_bytes": 600.0}}, 0.0, 0.75),
    ({"select_accuracy": 0.5, "expected_costs": {"weight_bytes": 500.0, "macs": 9e9}}, 1.0, 0.5),
    ({"train_accuracy": 0.8}, 1.0, 0.8),
], ids=["one_over", "both_over", "no_penalty", "at_the_limit", "retraining"])
def test_a_score_is_accuracy_less_what_is_over_the_limits(row, penalty, expected):
    assert score_of(row, LIMITS, penalty) == pytest.approx(expected)


@pytest.mark.parametrize("reduction, words", [(2, "best half"), (3, "best third"), (5, "best 5th")])
def test_a_reason_says_where_and_against_whom(reduction, words):
    reason = reason_of(1200, 4800, 0.12345, reduction)
    assert reason.startswith("stopped early by ASHA at step 1,200 of 4,800: its score 0.1235 was not in")
    assert words in reason and "--retry-failed" in reason


@pytest.mark.parametrize("options", [
    {"grace": 0.0}, {"grace": 1.0}, {"reduction": 1}, {"penalty": -1.0}, {"penalty": float("inf")},
    {"penalty": float("nan")},
])
def test_a_number_out_of_range_is_refused(options):
    with pytest.raises(ConfigError, match="early_stopping needs 0 < grace < 1"):
        EarlyStopping(**options)


def test_nothing_is_stopped_unless_it_is_asked_for():
    assert read_experiment(tiny_plan.table(), "tiny.toml").early_stopping is None
    asked = tiny_plan.table(early_stopping={"reduction": 2})
    assert read_experiment(asked, "tiny.toml").early_stopping == EarlyStopping(reduction=2)


def test_a_misspelt_key_names_the_right_one():
    with pytest.raises(ConfigError, match="unknown key 'early_stopping.gracee'; nearest: 'grace'"):
        read_experiment(tiny_plan.table(early_stopping={"gracee": 0.5}), "tiny.toml")


def test_early_stopping_is_another_plan():
    assert tiny_plan.plan().digest != tiny_plan.plan(early_stopping={}).digest
