"""Tests of mpnas/pareto/schema.py."""

import importlib.resources
import json

import jsonschema
import pytest
from front_maker import made

from mpnas.errors import FrontFileError
from mpnas.pareto.schema import MAX_DEPTH, SCHEMA_VERSION, check_plain, complaints


def test_the_schema_itself_is_valid_and_has_the_version_of_the_code():
    text = importlib.resources.files("mpnas.pareto").joinpath("schema.json").read_text("utf-8")
    schema = json.loads(text)
    jsonschema.Draft202012Validator.check_schema(schema)
    assert schema["$id"] == schema["properties"]["schema"]["const"] == SCHEMA_VERSION


def test_every_reference_within_the_schema_exists():
    text = importlib.resources.files("mpnas.pareto").joinpath("schema.json").read_text("utf-8")
    names = {part.split('"')[0] for part in text.split('"#/$defs/')[1:]}
    assert names <= set(json.loads(text)["$defs"])


def test_a_made_front_has_no_complaints():
    assert complaints(made()) == []


@pytest.mark.parametrize(
    "counts", [{}, {"scales": True}, {"scales": 1, "zero_points": True}], ids=str
)
def test_a_cost_model_must_say_with_booleans_what_it_counts(counts):
    front = made()
    front["cost_models"][0]["counts"] = counts
    assert any("cost_models[0].counts" in reason for reason in complaints(front))


def test_a_cost_needs_a_cost_model_and_a_metric_does_not():
    front = made()
    del front["objectives"][2]["cost_model"]
    assert complaints(front) == ["objectives[2] lacks 'cost_model'"]


def test_an_integer_is_not_a_float_that_looks_like_one():
    assert complaints({"granularity": "layer", "bits": 4.0}, "decision") == [
        "bits must be of type integer, got 4.0"
    ]


@pytest.mark.parametrize(
    "value, says",
    [
        ({"a": [1.0, float("nan")]}, r"a\[1\] is nan"),
        ({"a": float("-inf")}, "a is -inf"),
        ({"a": 2**63}, "63 bits"),
        ({"a": "bell \x07"}, "control character"),
        ({"a": "\ud800"}, "control character"),
        ({1: "a"}, "has the key 1"),
        ({"a": {1, 2}}, "type set"),
        ({"a": b"bytes"}, "type bytes"),
    ],
    ids=["nan", "infinite", "huge", "control", "surrogate", "key", "set", "bytes"],
)
def test_what_json_cannot_say_faithfully_is_refused(value, says):
    with pytest.raises(FrontFileError, match=says):
        check_plain(value, "this")


def test_nesting_without_end_is_refused_and_does_not_overflow_the_stack():
    deep = []
    for _ in range(50_000):
        deep = [deep]
    with pytest.raises(FrontFileError, match=f"deeper than {MAX_DEPTH}"):
        check_plain(deep, "this")
    while deep:
        deep = deep.pop()
