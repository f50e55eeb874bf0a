"""Tests of mpnas/pareto/document.py."""

import json
import os

import pytest
from front_maker import made
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from mutation import let_in, mutants, places

from mpnas.errors import FrontFileError
from mpnas.pareto.document import dumps, load, parse, save
from mpnas.pareto.invariants import violations

FRONT = made()
BYTES = dumps(FRONT)


def test_a_saved_front_comes_back_equal(tmp_path):
    save(FRONT, tmp_path / "front.json")
    assert load(tmp_path / "front.json") == FRONT


def test_saving_what_was_loaded_gives_the_same_bytes(tmp_path):
    save(FRONT, tmp_path / "front.json")
    save(load(tmp_path / "front.json"), tmp_path / "again.json")
    assert (tmp_path / "again.json").read_bytes() == BYTES


def test_key_order_does_not_show_in_the_bytes():
    def turned(value):
        if isinstance(value, dict):
            return {key: turned(value[key]) for key in reversed(value)}
        return [turned(item) for item in value] if isinstance(value, list) else value

    assert dumps(turned(FRONT)) == BYTES


def test_bytes_end_with_a_newline_and_keep_runs_on_a_line():
    assert BYTES.endswith(b"}\n")
    assert b"[8, 2],\n" in BYTES and b'"values": [0.88]' in BYTES


@settings(deadline=None, max_examples=50)
@given(
    st.recursive(
        st.none() | st.booleans() | st.integers(-(2**60), 2**60)
        | st.text("[]{}\\\", \n1é", max_size=9)
        | st.floats(allow_nan=False, allow_infinity=False),
        lambda inner: st.lists(inner, max_size=4)
        | st.dictionaries(st.text("a[\n1", max_size=3), inner),
        max_leaves=12,
    )
)
def test_laying_out_rows_never_changes_the_value(value):
    assert json.loads(dumps({"run": value}))["run"] == value


def test_nothing_is_left_behind_when_writing_fails(tmp_path, monkeypatch):
    save(FRONT, tmp_path / "front.json")

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(FrontFileError, match="No space left"):
        save(made([]), tmp_path / "front.json")
    assert os.listdir(tmp_path) == ["front.json"]
    assert load(tmp_path / "front.json") == FRONT


def test_a_folder_that_does_not_exist_is_named(tmp_path):
    with pytest.raises(FrontFileError, match="absent"):
        save(FRONT, tmp_path / "absent" / "front.json")


def test_a_front_that_could_not_be_loaded_is_not_saved(tmp_path):
    with pytest.raises(FrontFileError, match="lacks 'points'"):
        save({key: FRONT[key] for key in FRONT if key != "points"}, tmp_path / "front.json")
    assert not os.listdir(tmp_path)


def changed(**changes):
    return json.dumps(FRONT | changes).encode()


@pytest.mark.parametrize(
    "data, says",
    [
        (b"", "not the JSON"),
        (BYTES[:-40], "not the JSON of a front.*build it again"),
        (b"\x80\x04\x95", "not the JSON"),
        (b"[" * 100_000, "not the JSON"),
        (b"9" * 5000, "not the JSON"),
        (b"[]", "holds a list"),
        (b"{}", "schema version none"),
        (changed(schema="mpnas.pareto/2.0"), "'mpnas.pareto/2.0', .* 'mpnas.pareto/1.0'. Read"),
        (changed(extra=1), "unknown key 'extra'"),
        (changed(points=[{}]), r"points\[0\] lacks 'id'"),
        (BYTES.replace(b"0.88", b"NaN", 1), "NaN"),
        (BYTES.replace(b"0.88", b"-Infinity", 1), "-Infinity"),
        (BYTES.replace(b"0.88", b"1e999", 1), "is inf"),
        (BYTES.replace(b'"seed":', b'"seed": 1, "seed":', 1), "'seed' comes twice"),
        (BYTES.replace(b'"label": "float"', b'"label": "\\u001b[2J"', 1), "control character"),
    ],
    ids=["empty", "cut", "binary", "deep", "long_number", "list", "no_version", "other_version",
         "extra", "violation", "nan", "infinity", "overflow", "twin_keys", "escape_code"],
)
def test_what_is_no_front_is_refused_with_a_reason(tmp_path, data, says):
    (tmp_path / "front.json").write_bytes(data)
    with pytest.raises(FrontFileError, match=says):
        load(tmp_path / "front.json")


@pytest.mark.parametrize("name", ["absent.json", ".", "no\0name"])
def test_a_path_that_cannot_be_read_is_named(tmp_path, name):
    with pytest.raises(FrontFileError, match="cannot be read"):
        load(os.path.join(tmp_path, name))


PATHS = list(places(FRONT))[1:]
ODD = st.sampled_from(
    [None, True, 0, -1, 7, 10**15, 10**400, 0.5, 1e308, float("nan"), float("inf"), "", "p000",
     "float", "../x", "\x00", "$", [], [[]], [[4, 10**15]], {}, {"a": 1}]
)


def look(data):
    """Read a stranger's bytes; whether they were a front. Only FrontFileError may come out."""
    try:
        front = parse(data, "front.json")
    except FrontFileError as error:
        assert str(error).startswith("front.json ") and len(str(error)) < 2000
        return False
    assert all(sentence[0] == "I" and sentence.endswith(".") for sentence in violations(front))
    again = dumps(front)
    assert parse(again, "again") == front and dumps(parse(again, "again")) == again
    return True


def test_of_a_thousand_mutants_each_is_a_front_to_judge_or_a_sentence():
    judged = [look(data) for data in mutants(BYTES, 1000)]
    assert 100 < sum(judged) < 900  # neither is everything let in, nor nothing


@settings(deadline=None, max_examples=150, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.lists(
        st.tuples(st.integers(0, len(BYTES) - 1), st.integers(0, 255)), min_size=1, max_size=4
    )
)
def test_flipped_bytes_do_no_more_than_raise_front_file_error(flips):
    data = bytearray(BYTES)
    for place, byte in flips:
        data[place] = byte
    assert look(bytes(data)) == let_in(bytes(data))


@settings(deadline=None, max_examples=150, suppress_health_check=[HealthCheck.too_slow])
@given(st.sampled_from(PATHS), st.none() | ODD.map(lambda odd: [odd]))
def test_replaced_and_dropped_values_do_no_more_than_raise_front_file_error(path, odd):
    front = json.loads(BYTES)
    inner = front
    for key in path[:-1]:
        inner = inner[key]
    if odd is None:
        del inner[path[-1]]
    else:
        inner[path[-1]] = odd[0]
    data = json.dumps(front).encode()
    assert look(data) == let_in(data)
