"""Tests of mpnas/cli/options.py."""

from pathlib import Path

import pytest

from mpnas.cli.options import budget_of, pairs, processors, run_folder
from mpnas.errors import ConfigError


def test_a_run_goes_below_runs_in_the_current_folder(tmp_path):
    assert run_folder(None, "digits") == tmp_path / "runs" / "digits"
    assert run_folder(None, "digits", "-search") == tmp_path / "runs" / "digits-search"


def test_a_folder_that_was_asked_for_is_taken(tmp_path):
    assert run_folder(Path("here/../there"), "digits") == tmp_path / "there"


@pytest.mark.parametrize("name", ["../digits", "a/b", "..", "", "a\\b", "a\0b"])
def test_a_name_that_leads_elsewhere_is_refused(name):
    with pytest.raises(ConfigError, match="--out"):
        run_folder(None, name)


def test_a_budget_has_numbers_shares_and_amounts():
    asked = pairs(("weight_bytes=20%", "bops = 0.1", "macs=5 kB", "peak_act_bytes=2e3"), "--budget", "a=1")
    assert budget_of(asked) == {"weight_bytes": 0.2, "bops": 0.1, "macs": "5 kB", "peak_act_bytes": 2000.0}


@pytest.mark.parametrize("text", ["weight_bytes", "=3", "weight_bytes=", ""])
def test_what_is_no_pair_is_refused(text):
    with pytest.raises(ConfigError, match="--budget .* not of the form"):
        pairs((text,), "--budget", "weight_bytes=0.2")


def test_a_cost_named_twice_is_refused():
    with pytest.raises(ConfigError, match="'bops' twice"):
        pairs(("bops=1", "bops=2"), "--max", "bops=3e6")


def test_there_is_a_processor():
    assert processors() >= 1
