"""Tests of mpnas/pareto/record.py."""

import dataclasses
import json
import math

import numpy as np
import pytest
from front_maker import record, records

from mpnas.errors import FrontFileError
from mpnas.pareto.record import Record


@pytest.mark.parametrize("one", records(), ids=lambda one: one.trial)
def test_a_record_survives_json(one):
    assert Record.from_json(json.loads(json.dumps(one.to_json()))) == one


def test_unknown_key_names_the_nearest():
    value = record("a").to_json() | {"metrcs": {}}
    with pytest.raises(FrontFileError, match="'a' .* unknown key 'metrcs'; nearest: 'metrics'"):
        Record.from_json(value)


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("field", ["metrics", "costs", "seconds"])
def test_non_finite_numbers_are_refused_both_ways(field, number):
    broken = dataclasses.replace(record("a"), **{field: {"x": number}})
    with pytest.raises(FrontFileError, match=rf"record 'a' .*{field}\.x is .*finite"):
        broken.to_json()
    with pytest.raises(FrontFileError, match=rf"{field}\.x"):
        Record.from_json(record("a").to_json() | {field: {"x": number}})


@pytest.mark.parametrize(
    "changes, says",
    [
        ({"kind": "serach"}, "kind must be one of .*'search'"),
        ({"seed": -1}, "seed must be at least 0, got -1"),
        ({"seed": True}, "seed must be of type integer"),
        ({"steps": {"search": 1.5}}, r"steps\.search must be of type integer"),
        ({"status": "failed"}, "reason must be of type string, got None"),
        ({"assignment": {"a": {"granularity": "layer"}}}, "exactly one of 'bits', 'rle'"),
        ({"assignment": {"a": {"granularity": "layer", "bits": 99}}}, "bits must be at most 32"),
        ({"gap": {"soft": 1.0}}, "unknown key 'soft'; nearest: 'soft_metric'"),
        ({"artifacts": {"exports": [{"format": "packed"}]}}, "lacks 'path'"),
    ],
)
def test_a_wrong_value_is_named_with_its_place(changes, says):
    with pytest.raises(FrontFileError, match=says):
        dataclasses.replace(record("a"), **changes).to_json()


def test_missing_keys_are_listed():
    with pytest.raises(FrontFileError, match="lacks 'kind', 'controller'"):
        Record.from_json({"trial": "a"})


@pytest.mark.parametrize("value", [None, 3, "text", [], [["trial", "a"]]])
def test_something_else_than_an_object_is_refused(value):
    with pytest.raises(FrontFileError):
        Record.from_json(value)


def test_numpy_scalars_and_tuples_become_plain():
    decision = {"granularity": "channel", "rle": ((np.int64(4), 2), (8, np.int32(2)))}
    one = record("a", costs={"bops": np.float32(2.0)}, assignment={}, seed=np.int64(3))
    one = dataclasses.replace(one, assignment={"site": decision})
    value = json.loads(json.dumps(one.to_json()))
    assert value["costs"] == {"bops": 2.0}
    assert value["seed"] == 3
    assert value["assignment"]["site"]["rle"] == [[4, 2], [8, 2]]


def test_a_failure_with_a_coloured_message_can_still_be_recorded():
    one = record("a", status="failed", reason="\x1b[31mout of memory\x1b[0m")
    assert one.to_json()["reason"] == " [31mout of memory [0m"


def test_to_json_shares_nothing_with_the_record():
    one = record("a")
    one.to_json()["costs"]["bops"] = -1
    assert one.costs["bops"] > 0


@pytest.mark.parametrize("when", ["yesterday", "2026-01-31T12:00:00+01:00", "2026-01-31T12:00:00Z "])
def test_an_end_that_is_no_time_of_utc_is_refused(when):
    with pytest.raises(FrontFileError, match="ended_utc"):
        record("a", ended_utc=when).to_json()


def test_a_record_that_was_written_before_ends_were_told_is_still_read():
    value = record("a").to_json()
    del value["ended_utc"]
    assert Record.from_json(value) == record("a")
