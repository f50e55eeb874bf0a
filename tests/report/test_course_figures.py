"""Tests of mpnas/report/course_figures.py."""

import dataclasses
import math

import pytest
from front_maker import made, records
from page_tags import Tags
from sweep_maker import sweep

from mpnas.report.course_figures import search_pictures, volume_picture
from mpnas.report.evidence import Evidence


def row(step, expected, exact, stage="search"):
    return {
        "stage": stage, "stage_step": step, "expected_costs": {"weight_bytes": expected},
        "discrete_costs": {"weight_bytes": exact},
    }


def numbers(tags, kind):
    return [(a["data-x"], a["data-y"]) for a in tags.of_kind(kind)]


def test_expected_and_exact_costs_are_lines_and_the_limit_is_dotted():
    history = {"s0": [row(1, 900.5, 1000), row(5, 700.25, 650), row(9, 1.0, 2.0, stage="retrain")]}
    [(label, picture)] = search_pictures(made(), history)
    tags = Tags(picture.svg)
    assert (label, picture.above) == ("gumbel weight_bytes=50%", "weight bytes")
    assert numbers(tags, "expected") == [("1 5", "900.5 700.25")]
    assert numbers(tags, "exact") == [("1 5", "1000 650")]
    assert numbers(tags, "limit") == [("1 5", "650 650")]
    assert picture.rows == [("s0", "5", "700.25", "650")]


def test_seeds_share_a_figure_and_another_budget_has_its_own():
    front = sweep()
    history = {point["trial"]: [row(1, 5e4, 6e4), row(2, 4e4, 4e4)] for point in front["points"]}
    pictures = search_pictures(front, history)
    assert len(pictures) == 8
    assert all(len(Tags(picture.svg).of_kind("expected")) == 3 for _, picture in pictures)


def test_rows_that_are_odd_are_left_out_and_a_step_that_comes_twice_counts_last():
    rows = [
        row(1, 9.0, 9.0), row(1, 8.0, 7.0), row(2, math.nan, 1.0), row(3, "many", 1.0), row(True, 1.0, 1.0),
        {"stage": "search", "stage_step": 4, "expected_costs": 3}, {"stage": "search"}, row(5, 6.0, 5.0),
    ]
    [(_, picture)] = search_pictures(made(), {"s0": rows})
    assert numbers(Tags(picture.svg), "expected") == [("1 5", "8.0 6.0")]


@pytest.mark.parametrize(
    "history", [{}, {"s0": []}, {"s0": [row(1, 2.0, 2.0)]}], ids=["none", "empty", "one_look"]
)
def test_searches_without_a_course_have_no_figure(history):
    assert search_pictures(made(), history) == []


def test_hypervolume_grows_as_trials_end():
    times = {"s2": ("12:01:00", 60), "s1": ("12:03:00", 30), "s0": ("12:03:30", 30)}
    rows = [
        dataclasses.replace(one, seconds={"total": float(times[one.trial][1])}) if one.trial in times else one
        for one in records()
    ]
    ended = {trial: f"2026-01-31T{when}Z" for trial, (when, _) in times.items()}
    picture = volume_picture(made(rows), Evidence(ended=ended))
    marks = Tags(picture.svg).of_kind("volume")[1:]
    # 4550 x 0.86, then 4300 x 0.035 on top of it, then all that 4600 x 0.88 adds.
    assert [(float(a["data-x"]), float(a["data-y"])) for a in marks] == [
        (1.0, pytest.approx(3913.0)), (3.0, pytest.approx(4063.5)), (3.5, pytest.approx(4112.5)),
    ]
    assert [a["data-id"] for a in marks] == ["p001", "p002", "p000"]
    assert picture.below == "minutes since the first trial began"
    assert picture.rows[0] == ("p001", "1.00", "3,913", "95.15")  # 3913 / 4112.5


def test_without_times_searches_are_counted_by_name():
    picture = volume_picture(made(), Evidence(ended={"s0": "2026-01-31T12:00:00Z"}))
    marks = Tags(picture.svg).of_kind("volume")[1:]
    assert [(float(a["data-x"]), float(a["data-y"])) for a in marks] == [
        (1, pytest.approx(4048.0)), (2, pytest.approx(4112.5)), (3, pytest.approx(4112.5)),
    ]
    assert picture.below == "searches, by name"


@pytest.mark.parametrize("keep", ["float", "search"])
def test_without_a_float_network_or_a_search_there_is_no_hypervolume(keep):
    front = made([one for one in records() if (one.kind == "float") == (keep == "float")])
    assert volume_picture(front, Evidence()) is None
