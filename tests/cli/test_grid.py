"""Tests of mpnas/cli/grid.py."""

import pytest

from mpnas.cli.grid import gridded
from mpnas.errors import ConfigError

TABLE = {
    "controllers": [{"name": "gumbel", "hard": True}, "dbp"], "budgets": [{"weight_bytes": 0.5}],
    "seeds": [7], "references": {"uniform": [4], "random": True},
}


def test_what_the_command_line_does_not_say_stays():
    assert gridded(TABLE, (), None, None) == TABLE


def test_every_amount_is_a_budget_and_every_cost_too():
    found = gridded(TABLE, ("weight_bytes=0.15,25%", "bops=1e6"), None, None)
    assert found["budgets"] == [{"weight_bytes": 0.15}, {"weight_bytes": 0.25}, {"bops": 1e6}]


def test_a_plus_limits_several_costs_at_once():
    found = gridded(TABLE, ("weight_bytes=0.2,5kB + bops=0.3,0.6",), None, None)
    assert found["budgets"] == [{"weight_bytes": 0.2, "bops": 0.3}, {"weight_bytes": "5kB", "bops": 0.6}]


@pytest.mark.parametrize(
    ("text", "seeds"), [("3", [0, 1, 2]), ("1", [0]), ("0,3,7", [0, 3, 7]), ("5,4", [5, 4])]
)
def test_seeds_are_a_number_or_a_list(text, seeds):
    assert gridded(TABLE, (), text, None)["seeds"] == seeds


def test_chosen_controllers_keep_their_options_and_baselines_are_switched():
    found = gridded(TABLE, (), None, "softmax,gumbel,random")
    assert found["controllers"] == ["softmax", {"name": "gumbel", "hard": True}]
    assert found["references"] == {"uniform": [], "random": True}
    found = gridded(TABLE, (), None, "dbp,uniform")
    assert found["references"] == {"uniform": [4], "random": False}


def test_all_settings_of_a_chosen_controller_are_kept_and_the_explorer_follows_its_own():
    table = TABLE | {"controllers": [{"name": "gumbel", "hard": True}, "gumbel", "dbp"],
                     "explore": {"controller": 2, "trials": 3}}
    found = gridded(table, [], None, "dbp,gumbel")
    assert found["controllers"] == ["dbp", {"name": "gumbel", "hard": True}, "gumbel"]
    assert found["explore"] == {"controller": 0, "trials": 3} and table["explore"]["controller"] == 2
    with pytest.raises(ConfigError, match="leaves away the controller that .explore. asks for, number 2"):
        gridded(table, [], None, "gumbel")
    first = gridded(table | {"explore": {"trials": 3}}, [], None, "dbp")
    assert first["controllers"] == ["dbp"] and first["explore"] == {"trials": 3}


def test_the_experiment_itself_is_not_changed():
    gridded(TABLE, ("bops=0.1",), "2", "dbp")
    assert TABLE["seeds"] == [7] and TABLE["references"] == {"uniform": [4], "random": True}


@pytest.mark.parametrize(("budgets", "seeds", "controllers", "words"), [
    (("weight_bytes",), None, None, "is not of the form COST=AMOUNT"),
    (("=0.2",), None, None, "is not of the form COST=AMOUNT"),
    (("weight_bytes=",), None, None, "is not of the form COST=AMOUNT"),
    (("weight_bytes=0.1,,0.2",), None, None, "an amount is empty"),
    (("bops=0.1+bops=0.2",), None, None, "names a cost twice"),
    (("bops=0.1,0.2+macs=0.3",), None, None, r"limits 2 costs at once, with \[1, 2\] amounts"),
    ((), "0", None, "neither how many seeds nor a list"),
    ((), "x", None, "neither how many seeds nor a list"),
    ((), "1,-2", None, "neither how many seeds nor a list"),
    ((), "1001", None, "asks for more than 1,000 seeds"),
    ((), "99999999999999999999", None, "asks for more than 1,000 seeds"),
    ((), None, "gumbel,dbp,gumbel", "names one twice"),
    ((), None, "gumbl", "unknown controller 'gumbl'; nearest: 'gumbel'"),
    ((), None, "random", "names only baselines"),
])
def test_a_slip_is_a_sentence_with_the_way_out(budgets, seeds, controllers, words):
    with pytest.raises(ConfigError, match=words):
        gridded(TABLE, budgets, seeds, controllers)
