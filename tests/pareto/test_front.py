"""Tests of mpnas/pareto/front.py."""

import copy
import dataclasses

import pytest
from front_maker import CREATED, HALF, OBJECTIVES, RUN, SITES, made, record, records
from hypothesis import given, settings
from hypothesis import strategies as st

from mpnas.errors import FrontFileError
from mpnas.pareto.document import dumps

BYTES = dumps(made())


def test_feasible_searches_become_points_in_order_of_cost():
    points = made()["points"]
    assert [(p["id"], p["trial"], p["costs"]["weight_bytes"]) for p in points] == [
        ("p000", "s0", 600), ("p001", "s2", 650), ("p002", "s1", 900),
    ]


def test_the_dominated_point_stays_and_is_marked():
    assert [p["nondominated"] for p in made()["points"]] == [True, False, True]


def test_baselines_become_references_that_are_never_on_the_front():
    references = made()["references"]
    assert [r["label"] for r in references] == [
        "float", "uniform 4-bit", "uniform 8-bit", "random weight_bytes=50%",
    ]
    assert not any(r["nondominated"] for r in references)


def test_the_rest_is_rejected_with_its_reason():
    assert {r["trial"]: r["reason"] for r in made()["rejected"]} == {
        "s3": "weight_bytes 900 exceeds its limit 650.",
        "s4": "the loss of stage 'search' is not finite at step 12.",
    }


def test_a_cost_equal_to_its_limit_is_feasible():
    front = made([record("a", assignment=HALF, limits={"weight_bytes": 900})])
    assert front["points"][0]["feasible"] and not front["rejected"]


def test_metrics_of_a_mixture_are_no_result():
    front = made([record("a", stage="searched")])
    assert not front["points"]
    assert "mixture" in front["rejected"][0]["reason"]


def test_a_failed_baseline_is_rejected_too():
    front = made([record("u", "uniform", status="failed", reason="out of memory", costs={})])
    assert (front["references"], front["rejected"][0]["kind"]) == ([], "uniform")


def test_a_reference_over_its_limit_stays_and_says_so():
    front = made([record("r", "random", assignment=HALF, limits={"weight_bytes": 899})])
    assert front["references"][0]["feasible"] is False


def test_the_test_part_does_not_decide():
    rows = [
        record("a", metrics={"accuracy": 0.9, "test_accuracy": 0.1}),
        record("b", metrics={"accuracy": 0.8, "test_accuracy": 0.9}),
    ]
    assert {p["trial"]: p["nondominated"] for p in made(rows)["points"]} == {"a": True, "b": False}


def test_an_objective_off_the_front_does_not_decide():
    # As accurate and as large, but cheaper in bops, which is not on the front: a tie.
    rows = [record("a"), record("b", costs={"weight_bytes": 600, "bops": 1})]
    assert all(p["nondominated"] for p in made(rows)["points"])


def test_hypervolume_is_counted_up_to_the_float_network():
    volume = made()["hypervolume"]
    assert volume["objectives"] == ["accuracy", "weight_bytes"]
    assert volume["reference_point"] == {"accuracy": 0.0, "weight_bytes": 5200}
    assert volume["value"] == pytest.approx(300 * 0.88 + 4300 * 0.895, rel=1e-12)


def test_without_a_float_network_there_is_no_hypervolume():
    assert "hypervolume" not in made([row for row in records() if row.kind != "float"])


def test_a_metric_where_less_is_better_starts_at_the_worst_measured():
    loss = OBJECTIVES[0] | {"name": "loss", "direction": "min"}
    rows = [
        record("f", "float", assignment={}, metrics={"loss": 1.0}, costs={"weight_bytes": 5200}),
        record("a", metrics={"loss": 2.0}),
        record("b", assignment=HALF, metrics={"loss": 1.5}),
    ]
    front = made(rows, objectives=[loss, OBJECTIVES[2]])
    assert front["hypervolume"]["reference_point"] == {"loss": 2.0, "weight_bytes": 5200}
    assert front["hypervolume"]["value"] == pytest.approx(0.5 * 4300)
    assert [p["nondominated"] for p in front["points"]] == [True, True]


def test_a_run_without_any_finished_trial_is_still_a_front():
    front = made([])
    assert (front["points"], front["references"], front["rejected"]) == ([], [], [])


def test_whole_costs_are_written_as_integers():
    assert all(isinstance(p["costs"]["weight_bytes"], int) for p in made()["points"])


@settings(deadline=None, max_examples=25)
@given(st.permutations(records()))
def test_the_order_of_the_records_does_not_matter(rows):
    assert dumps(made(rows)) == BYTES


def test_build_changes_none_of_its_arguments():
    run, rows = copy.deepcopy(RUN), records()
    front = made(rows, run=run)
    front["run"]["sites"].clear()
    front["points"][0]["costs"].clear()
    assert run == RUN and rows == records()


@pytest.mark.parametrize(
    "rows, changes, says",
    [
        ([record("a"), record("a")], {}, "'a' first"),
        ([record("a", limits={"weight_byte": 1})], {}, "no such cost; it has: 'weight_bytes'"),
        ([record("a", metrics={"acuracy": 1})], {}, "no metric 'accuracy'; it has: 'acuracy'"),
        ([], {"run": RUN | {"seeds": []}}, r"run\.seeds must have at least 1"),
        ([], {"run": {k: RUN[k] for k in RUN if k != "sites"}}, "run lacks 'sites'"),
        ([], {"created_utc": "yesterday"}, "created_utc breaks the rule pattern"),
        ([], {"cost_models": []}, "cost model 'memory/1', described: none"),
        ([], {"objectives": OBJECTIVES[:2]}, "no cost has on_front true"),
        ([], {"objectives": OBJECTIVES + OBJECTIVES[:1]}, "'accuracy' is listed 2 times"),
        ([], {"objectives": [o | {"on_front": True} for o in OBJECTIVES]}, "test part selects"),
    ],
    ids=["twins", "limit", "metric", "seeds", "sites", "date", "models", "costs", "twice", "test"],
)
def test_a_slip_is_named(rows, changes, says):
    with pytest.raises(FrontFileError, match=says):
        made(rows, **changes)


def test_what_was_asked_and_when_is_kept():
    front = made()
    assert front["created_utc"] == CREATED
    assert front["run"]["sites"] == SITES
    assert front["points"][0]["budget"] == {"weight_bytes": "50%"}


def test_when_a_trial_ended_is_not_in_the_front():
    late = [dataclasses.replace(row, ended_utc="2026-01-31T12:00:00Z") for row in records()]
    assert dumps(made(late)) == dumps(made(records()))
