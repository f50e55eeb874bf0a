"""Tests of mpnas/cli/printing.py."""

from pathlib import Path

import pytest

from mpnas.cli.printing import duration, percent, row, short, show
from mpnas.report.tables import table_of


@pytest.mark.parametrize(
    "seconds, text",
    [(None, "-"), (0.4, "0 s"), (59.6, "1 min 0 s"), (75, "1 min 15 s"), (3599, "59 min 59 s"),
     (7500, "2 h 5 min")],
)
def test_a_duration_is_said_as_a_person_says_it(seconds, text):
    assert duration(seconds) == text


def test_a_path_below_the_current_folder_is_short(tmp_path):
    assert short(tmp_path / "runs" / "x") == "runs/x"
    assert short(Path("/elsewhere")) == "/elsewhere"


def test_a_share_is_a_percentage():
    assert (percent(0.8719), percent(None)) == ("87.19 %", "-")


def test_names_are_never_markup(capsys):
    table = table_of("[red]title[/red]", ["[bold]name[/bold]"])
    row(table, "[blink]cell[/blink]")
    show(table)
    printed = capsys.readouterr().out
    assert all(word in printed for word in ("[red]title", "[bold]name", "[blink]cell"))
