"""Tests of mpnas/sweep/standing.py."""

import pytest

from mpnas.sweep.standing import Standing, standing_of
from mpnas.sweep.watch import Status


def done(kind, cost, accuracy):
    return Status(f"{kind}-{cost}", "done", exact=cost, accuracy=accuracy, kind=kind)


FLOAT = done("float", 1000.0, 0.95)


def test_the_front_holds_the_searches_that_no_other_beats():
    statuses = (FLOAT, done("search", 100.0, 0.5), done("search", 200.0, 0.4), done("search", 400.0, 0.9),
                done("uniform", 50.0, 0.99), done("random", 10.0, 0.99))
    standing = standing_of(statuses)
    assert standing.front == ((100.0, 0.5), (400.0, 0.9))
    # Boxes up to (1000 bytes, accuracy 0): 900 x 0.5, and 600 x 0.4 above it; of 1000 x 1.
    assert standing.hypervolume == pytest.approx((900 * 0.5 + 600 * 0.4) / 1000)
    assert standing.text() == "front: 2 points, 100 to 400 bytes at 50.0 to 90.0 %, hypervolume 69.00 %"


def test_one_point_needs_no_span():
    assert standing_of((done("search", 1234.0, 0.5),)) == Standing(((1234.0, 0.5),), None)
    assert standing_of((done("search", 1234.0, 0.5),)).text() == "front: 1 point, 1,234 bytes at 50.0 %"


def test_another_cost_is_called_by_its_name():
    status = Status("a", "done", exact=8e6, accuracy=0.5, kind="search", cost="bops")
    assert standing_of((status,)).text() == "front: 1 point, 8,000,000 bops at 50.0 %"


def test_what_is_not_done_or_says_no_number_counts_for_nothing():
    running = Status("a", "running", exact=5.0, accuracy=0.5, kind="search")
    failed = Status("b", "failed", kind="search")
    damaged = Status("c", "done", exact=None, accuracy=0.5, kind="search")
    standing = standing_of((FLOAT, running, failed, damaged))
    assert standing == Standing((), 0.0)
    assert standing.text() == ""
