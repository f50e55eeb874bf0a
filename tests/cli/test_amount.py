"""Tests of mpnas/cli/amount.py."""

import pytest

from mpnas.cli.amount import UNITS, amount, fraction
from mpnas.cost import COSTS, Budget, budget
from mpnas.errors import ConfigError


def test_units_are_those_of_budgets():
    assert UNITS == budget.UNITS


@pytest.mark.parametrize("text", ["5kB", "5 kB", "1.5 MiB", "3e6", "2k", "7"])
def test_an_amount_means_what_it_means_in_a_budget(text):
    class Space:
        def uniform(self, bits):
            return None

    limits = Budget({"macs": text}).absolute(Space(), COSTS)
    assert amount("macs", text) == limits["macs"]


@pytest.mark.parametrize("text", ["", "kB", "5 stones", "-1", "0", "nan", "inf", "1e999", "5kB 6kB", "1.2.3"])
def test_what_is_no_amount_is_refused(text):
    with pytest.raises(ConfigError, match="is no amount"):
        amount("bops", text)


@pytest.mark.parametrize("text, share", [("1%", 0.01), ("0.01", 0.01), ("0", 0.0), ("100 %", 1.0)])
def test_a_share_is_a_percentage_or_a_fraction(text, share):
    assert fraction("--max-drop", text) == pytest.approx(share)


@pytest.mark.parametrize("text", ["2", "-1%", "101%", "nan", "much", ""])
def test_what_is_no_share_is_refused(text):
    with pytest.raises(ConfigError, match="is no share"):
        fraction("--max-drop", text)
