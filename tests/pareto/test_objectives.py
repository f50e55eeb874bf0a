"""Tests of mpnas/pareto/objectives.py."""

import pytest
from front_maker import COST_MODELS, OBJECTIVES, made

from mpnas.errors import FrontFileError
from mpnas.pareto.objectives import (
    first_cost, on_front, report_metric, select_metric, table_of, value_of, wrong_objectives,
)


def test_the_made_objectives_are_sound():
    assert wrong_objectives(OBJECTIVES, COST_MODELS) == []


def test_those_on_the_front_keep_their_order():
    assert [o["name"] for o in on_front(OBJECTIVES)] == ["accuracy", "weight_bytes"]
    assert [o["name"] for o in on_front(OBJECTIVES, "cost")] == ["weight_bytes"]


def test_the_metric_that_decides_and_its_twin_on_the_test_part():
    front = made()
    assert select_metric(front)["name"] == "accuracy"
    assert report_metric(front)["name"] == "test_accuracy"
    assert first_cost(front)["name"] == "weight_bytes"


def test_without_a_test_metric_the_deciding_one_is_reported():
    front = made(objectives=[OBJECTIVES[0], OBJECTIVES[2]])
    assert report_metric(front)["name"] == "accuracy"


def test_a_table_has_a_row_per_point_and_a_column_per_objective():
    front = made()
    assert table_of(front["points"], on_front(OBJECTIVES)).tolist() == [
        [0.88, 600.0], [0.86, 650.0], [0.895, 900.0],
    ]
    assert table_of([], on_front(OBJECTIVES)).shape == (0, 2)


def test_a_missing_number_names_the_trial():
    point = made()["points"][0]
    with pytest.raises(FrontFileError, match="trial 's0' has no cost 'macs'"):
        value_of(point, {"name": "macs", "kind": "cost"})
