"""Tests of mpnas/pareto/selection.py."""

import pytest
from front_maker import made, records

from mpnas.errors import BudgetError, FrontFileError
from mpnas.pareto.selection import pick

# p000: 0.88 at 600 bytes; p001: 0.86 at 650 (dominated); p002: 0.895 at 900; float: 0.90.
FRONT = made()


@pytest.mark.parametrize(
    "maxima, max_drop, expected",
    [
        ({}, None, "p002"),
        ({"weight_bytes": 900}, None, "p002"),
        ({"weight_bytes": 899}, None, "p000"),
        ({"weight_bytes": 600}, None, "p000"),
        ({"bops": 400_000}, None, "p000"),
        ({}, 0.02, "p000"),
        ({}, 0.019, "p002"),
        ({"weight_bytes": 900}, 0.02, "p002"),
    ],
    ids=["free", "at_limit", "below", "smallest", "other_cost", "drop", "less_drop", "both"],
)
def test_what_is_not_bounded_is_optimised(maxima, max_drop, expected):
    assert pick(FRONT, maxima, max_drop)["id"] == expected


def test_nothing_fitting_says_what_is_offered():
    with pytest.raises(BudgetError, match="weight_bytes <= 500; it offers weight_bytes 600 to 900"):
        pick(FRONT, {"weight_bytes": 500}, None)


def test_no_point_within_the_drop_says_the_best_metric():
    words = "accuracy within 0.1 points of the float network's 90.00 %; it offers accuracy 88.00 % to 89.50 %"
    with pytest.raises(BudgetError, match=words):
        pick(FRONT, {}, 0.001)


def test_amounts_of_a_refused_pick_are_those_a_person_reads():
    with pytest.raises(BudgetError, match="bops <= 100,000 and .* offers bops 326,400 to 518,400, accuracy"):
        pick(FRONT, {"bops": 1e5}, 0.5)


def test_a_front_without_points_says_so():
    with pytest.raises(BudgetError, match="no points"):
        pick(made([]), {}, None)


@pytest.mark.parametrize(
    "arguments, says",
    [
        (({"weight_byte": 1}, None), "no cost 'weight_byte'; nearest: 'weight_bytes'"),
        (({}, None, "acuracy"), "no metric 'acuracy'; nearest: 'accuracy'"),
        (({}, None, "test_accuracy"), "test part, which selects nothing"),
    ],
    ids=["cost", "metric", "test"],
)
def test_a_slip_is_named(arguments, says):
    with pytest.raises(FrontFileError, match=says):
        pick(FRONT, *arguments)


def test_a_drop_needs_a_float_network():
    front = made([row for row in records() if row.kind != "float"])
    with pytest.raises(FrontFileError, match="needs a float network"):
        pick(front, {}, 0.01)


@pytest.mark.parametrize("drop", [-0.1, float("nan")])
def test_a_negative_drop_is_refused(drop):
    with pytest.raises(BudgetError, match="at least 0"):
        pick(FRONT, {}, drop)
