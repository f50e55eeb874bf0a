"""Tests of mpnas/pareto/fits.py."""

import json
import re

import pytest
from front_maker import made, records
from hypothesis import given, settings
from hypothesis import strategies as st
from mutation import SCHEMA, dropped, fits_slowly, moved, mutants, places, swapped

from mpnas.pareto.document import dumps
from mpnas.pareto.fits import compiled
from mpnas.pareto.schema import fits

BYTES = dumps(made())
RECORD = {"$defs": SCHEMA["$defs"], "$ref": "#/$defs/record"}
PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=2), inner, max_size=3),
    max_leaves=6,
)
SCHEMAS = [
    {"type": "integer", "minimum": 0, "maximum": 32},
    {"type": "integer"},
    {"type": "number"},
    {"type": "number", "minimum": -1.5},
    {"type": ["number", "null"], "maximum": 1e30},
    {"type": ["number", "string"]},
    {"type": "string", "minLength": 1, "maxLength": 2},
    {"type": "string", "pattern": "^[a-f]$"},
    {"enum": ["a", None]},
    {"const": "a"},
    {"type": "boolean"},
    {"type": "object"},
    {"type": "object", "additionalProperties": {"type": "integer"}},
    {"type": "object", "required": ["a"], "properties": {"a": {"type": "number"}},
     "additionalProperties": False},
    {"type": "array", "items": {"type": "boolean"}, "minItems": 1, "maxItems": 2},
    {"type": "array"},
    {"type": "array", "items": {"type": "array", "minItems": 2, "maxItems": 2, "prefixItems": [
        {"type": "integer", "minimum": 0, "maximum": 8}, {"type": "integer", "minimum": 1, "maximum": 9}]}},
    {"type": "array", "minItems": 1, "maxItems": 1, "prefixItems": [{"type": "string"}]},
    {"type": "object", "oneOf": [{"required": ["a"]}, {"required": ["b"]}]},
    {"type": "object", "if": {"required": ["a"], "properties": {"a": {"const": "x"}}},
     "then": {"required": ["b"]}},
]


@pytest.mark.parametrize("schema", SCHEMAS, ids=lambda schema: json.dumps(schema)[:60])
@settings(deadline=None, max_examples=60)
@given(data=st.data())
def test_it_agrees_with_jsonschema(schema, data):
    kinds = [st.integers(-2, 40), st.sampled_from(["", "a", "x", "abc", "b\n", "\x07"]), st.just(4.0)]
    values = st.one_of(
        PLAIN, *kinds, st.lists(st.lists(st.integers(0, 10) | st.booleans(), max_size=3), max_size=3),
        st.dictionaries(st.sampled_from("abc"), st.one_of(*kinds), max_size=3),
    )
    value = data.draw(values)
    assert compiled(schema, {})(value) == fits_slowly(value, schema)


def test_it_agrees_with_jsonschema_on_mutated_fronts():
    for data in mutants(BYTES, 150, seed=1, kinds=[swapped, moved, dropped]):
        document = json.loads(data)
        assert fits(document) == fits_slowly(document), data


def test_it_agrees_with_jsonschema_on_every_missing_entry():
    record = records()[4].to_json()
    assert fits(record, "record")
    for path in list(places(record))[1:]:
        changed = json.loads(json.dumps(record))
        holder = changed
        for key in path[:-1]:
            holder = holder[key]
        del holder[path[-1]]
        assert fits(changed, "record") == fits_slowly(changed, RECORD), path


@pytest.mark.parametrize("schema", [
    {"type": "string", "format": "date"}, {"const": 1},
    {"type": "array", "prefixItems": [{"type": "string"}]}, {"anyOf": []},
    {"type": "integer", "multipleOf": 2}, {"type": "array", "uniqueItems": True},
], ids=lambda schema: " ".join(schema))
def test_a_rule_that_it_does_not_know_is_refused(schema):
    with pytest.raises(ValueError, match=re.compile("known|constants")):
        compiled(schema, {})


def test_a_value_of_an_odd_type_is_left_to_the_slow_check():
    class Name(str):
        pass

    assert not compiled({"type": "string"}, {})(Name("a"))
