"""Tests of mpnas/sweep/explore.py."""

import importlib.util

import pytest
import tiny_plan

from mpnas.errors import ConfigError
from mpnas.sweep.config import read_experiment
from mpnas.sweep.explore import Explore, refuse_without_optuna

SHARES = {"weight_bytes": (0.25, 0.5)}


def explored(**options):
    return read_experiment(tiny_plan.table(**options), "tiny.toml")


@pytest.mark.parametrize("budgets, words", [
    ({"weight_bytes": (0.5, 0.25)}, "is no range"),
    ({"weight_bytes": (0.5, 0.5)}, "is no range"),
    ({"weight_bytes": (0.5, 2000.0)}, "both as shares up to 1, or both as amounts above 1"),
    ({"weight_bytes": (0.0, 0.5)}, "is no range"),
    ({"weight_bytes": (2.0, float("inf"))}, "is no range"),
    ({}, "needs a range of budgets"),
    ({"weight_bytes": (0.25, 0.2502)}, "hold 3 budgets of 4 digits"),
])
def test_ranges_that_are_none_are_refused(budgets, words):
    with pytest.raises(ConfigError, match=words):
        Explore(budgets=budgets, trials=4)


@pytest.mark.parametrize("low, high, count", [
    (0.25, 0.2502, 3),  # 0.2500, 0.2501, 0.2502
    (0.9998, 1.0, 3),  # 0.9998, 0.9999, 1.000
    (9998.0, 10020.0, 5),  # 9998, 9999, 10000, 10010, 10020
    (2000.5, 2002.5, 2),  # 2001, 2002
])
def test_a_range_may_ask_for_as_many_budgets_as_it_holds(low, high, count):
    assert Explore(budgets={"bops": (low, high)}, trials=count).trials == count
    with pytest.raises(ConfigError, match=f"hold {count} budgets"):
        Explore(budgets={"bops": (low, high)}, trials=count + 1)


def test_budgets_are_rounded_to_four_digits_and_stay_in_the_range():
    explore = Explore(budgets={"weight_bytes": (0.12344, 0.5), "bops": (2e6, 3e6)}, trials=2)
    assert explore.rounded({"weight_bytes": 0.2345678, "bops": 2345678.9}) == {
        "weight_bytes": 0.2346, "bops": 2346000.0
    }
    assert explore.rounded({"weight_bytes": 0.123445, "bops": 2999999.0}) == {
        "weight_bytes": 0.12344, "bops": 3e6
    }


def test_only_budgets_on_the_same_costs_and_in_numbers_lie_within():
    explore = Explore(budgets=SHARES, trials=2)
    assert explore.within({"weight_bytes": 0.3}) == {"weight_bytes": 0.3}
    for other in ({"weight_bytes": 0.6}, {"weight_bytes": "5 kB"}, {"bops": 0.3}, {},
                  {"weight_bytes": 0.3, "bops": 0.3}, {"weight_bytes": 0.3, "bops": "1 M"}):
        assert explore.within(other) is None


def test_ends_and_middle_of_a_range():
    explore = Explore(budgets={"weight_bytes": (0.1, 0.4)}, trials=2)
    assert explore.ends() == ({"weight_bytes": 0.1}, {"weight_bytes": 0.4})
    assert explore.middle() == {"weight_bytes": 0.2}  # sqrt(0.04)


def test_an_experiment_that_explores_needs_no_listed_budgets():
    explore = {"budgets": {"weight_bytes": [0.25, 0.5]}, "trials": 3}
    assert explored(budgets=[], explore=explore).explore == Explore(budgets=SHARES, trials=3)
    with pytest.raises(ConfigError, match=r"at least one controller, one budget .* \[explore\]"):
        explored(budgets=[])


@pytest.mark.parametrize("controller, place", [(0, 0), (1, 1), ("dbp", 1), ("gumbel", 0)])
def test_the_controller_is_named_by_its_place_or_name(controller, place):
    explore = {"budgets": SHARES, "trials": 3, "controller": controller}
    found = explored(controllers=["gumbel", "dbp"], explore=explore)
    assert found.explorer(found.explore) == place


@pytest.mark.parametrize("controller, words", [
    (2, "explore.controller = 2 is none of the controllers: gumbel, gumbel"),
    ("dbp", "'dbp' is none of the controllers"),
    ("gumbel", "names 2 controllers; give its place"),
])
def test_a_controller_that_is_not_there_or_not_one_is_refused(controller, words):
    explore = {"budgets": SHARES, "trials": 3, "controller": controller}
    with pytest.raises(ConfigError, match=words):
        explored(controllers=["gumbel", {"name": "gumbel", "hard": True}], explore=explore)


def test_an_unknown_cost_is_refused():
    with pytest.raises(ConfigError, match="unknown cost 'weight_byte'; nearest: 'weight_bytes'"):
        explored(explore={"budgets": {"weight_byte": [0.1, 0.2]}, "trials": 1})


def test_without_optuna_the_sentence_says_how_to_install_it(monkeypatch):
    refuse_without_optuna()
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"pip install 'mpnas\[optuna\]'"):
        refuse_without_optuna()
