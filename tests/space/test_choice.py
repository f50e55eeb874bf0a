"""Tests of mpnas/space/choice.py."""

import pytest
from work_maker import chain, residual

from mpnas.space import Rule, build_space


@pytest.mark.parametrize("granularity, decisions, name", [
    ("layer", 1, "layer"), ("channel", 5, "channel"), (2, 3, "subgroup"), (9, 1, "subgroup"),
])
def test_decisions_are_counted_along_the_output_axis(granularity, decisions, name):
    space = build_space(chain(), [Rule(match="b", weights=(2, 4), granularity=granularity)])
    choice = space.choices["b/kernel"]
    assert choice.decisions == decisions and choice.granularity_name == name
    assert not choice.removes


def test_description_is_plain_data():
    rules = [Rule(match="*", weights=(0, 4), activations=(8,), granularity=3)]
    choices = build_space(residual(), rules).choices
    assert choices["skip/kernel"].describe() == {
        "kind": "weight",
        "layers": ["skip"],
        "granularity": "subgroup",
        "group_size": 3,
        "decisions": 2,
        "candidates": [0, 4],
        "parameters": 24,
        "macs": 24,
    }
    assert choices["conv/input"].describe()["kind"] == "activation"
    assert choices["stem/channels"].describe()["candidates"] == [0, 1]
    assert choices["stem/channels"].removes and choices["skip/kernel"].removes
    assert not choices["conv/input"].removes
