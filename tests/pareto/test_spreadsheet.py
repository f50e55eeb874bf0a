"""Tests of mpnas/pareto/spreadsheet.py."""

import csv
import io

import pytest
from front_maker import OBJECTIVES, RUN, SITES, made, record, records
from hypothesis import given
from hypothesis import strategies as st

from mpnas.pareto.spreadsheet import bits_text, csv_of

EVIL = "=cmd|' /C calc'!A0"


def table(front):
    return list(csv.DictReader(io.StringIO(csv_of(front))))


def test_every_point_and_reference_is_a_row():
    rows = table(made())
    assert [(row["part"], row["id"], row["trial"], row["on_front"]) for row in rows] == [
        ("point", "p000", "s0", "yes"), ("point", "p001", "s2", "no"), ("point", "p002", "s1", "yes"),
        ("reference", "r000", "f", "no"), ("reference", "r001", "u4", "no"),
        ("reference", "r002", "u8", "no"), ("reference", "r003", "r0", "no"),
    ]


def test_a_row_tells_all_that_was_asked_measured_and_decided():
    row = table(made())[0]
    assert (row["label"], row["controller"], row["seed"]) == ("gumbel weight_bytes=50%", "gumbel", "0")
    assert (row["budget:weight_bytes"], float(row["limit:weight_bytes"])) == ("50%", 650)
    assert (float(row["accuracy:mean"]), row["accuracy:std"]) == (0.88, "")
    assert (row["cost:weight_bytes"], row["cost:bops"]) == ("600", "326400")
    assert row["bits:block/conv1/kernel"] == "8x2 4x1 0x1" and row["bits:head/kernel"] == "8"


def test_what_a_row_lacks_is_empty():
    [row] = [row for row in table(made()) if row["label"] == "float"]
    assert row["controller"] == row["bits:head/kernel"] == row["budget:weight_bytes"] == ""


def test_sites_stand_in_the_order_of_the_network():
    sites = {name: site | {"index": 9 - place} for place, (name, site) in enumerate(SITES.items())}
    heading = csv_of(made(run=RUN | {"sites": sites})).splitlines()[0]
    found = [name.strip('"').removeprefix("bits:") for name in heading.split(",") if "bits:" in name]
    assert found == list(reversed(SITES))


def test_the_same_front_gives_the_same_text():
    assert csv_of(made()) == csv_of(made(records()[::-1]))


@pytest.mark.parametrize(
    "name", [EVIL, "+1", "-1", "@SUM(A1)", "\t=1", "a;=1", "a\n=1", 'a",=1', "\uff1d1", " =1", "'=1"],
)
def test_no_text_of_a_stranger_becomes_a_formula(name):
    sites = {site if site != "head/kernel" else name: value for site, value in SITES.items()}
    rows = [record(name, controller=name, budget={name: name}, metrics={"accuracy": 0.5, name: 0.1})]
    text = csv_of(made(rows, run=RUN | {"sites": sites}, ties=[]))
    for delimiter in ",;\t":  # a spreadsheet of another language splits at other signs
        for quoting in (csv.QUOTE_MINIMAL, csv.QUOTE_NONE):
            for line in csv.reader(io.StringIO(text), delimiter=delimiter, quoting=quoting):
                for cell in line:
                    assert cell.strip(' \t\n"')[:1] not in set("=+-@\uff1d"), (delimiter, cell)


def test_harmless_text_and_negative_numbers_stay_as_they_are():
    loss = OBJECTIVES[1] | {"name": "log_likelihood"}
    rows = [record("a-b=c", metrics={"accuracy": 0.5, "log_likelihood": -3.5})]
    [row] = table(made(rows, objectives=[OBJECTIVES[0], loss, OBJECTIVES[2]]))
    assert (row["trial"], row["log_likelihood:mean"]) == ("a-b=c", "-3.5")


@given(st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=8))
def test_a_cell_comes_back_but_for_the_marks(name):
    [row] = table(made([record(name)]))
    assert row["trial"].replace("'", "") == name.replace("'", "")


@pytest.mark.parametrize(
    "decision, text",
    [
        ({"granularity": "layer", "bits": 4}, 4),
        ({"granularity": "channel", "rle": [[8, 2], [0, 10**15]]}, "8x2 0x1000000000000000"),
        ({"granularity": "group", "channels": 6}, "6 channels"),
        (None, None),
    ],
    ids=["bits", "runs", "width", "nothing"],
)
def test_a_decision_fits_in_a_cell(decision, text):
    assert bits_text(decision) == text
