"""Tests of mpnas/space/lanes.py."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mpnas.space import Lanes

ENTRIES = st.lists(st.tuples(st.sampled_from("ab"), st.integers(0, 3)), min_size=1, max_size=20)
VALUES = {"a": np.array([1.0, 2.0, 3.0, 4.0]), "b": np.array([10.0, 20.0, 30.0, 40.0])}


def test_one_group_in_order_is_whole():
    lanes = Lanes.of("a", 4)
    assert lanes.runs == (("a", (0, 1, 2, 3)),) and lanes.groups == ("a",) and lanes.size == 4
    assert lanes.is_whole({"a": 4}) and not lanes.is_whole({"a": 5})


@pytest.mark.parametrize("runs", [
    (("a", (1, 0)),), (("a", (0, 1, 0, 1)),), (("a", (0,)), ("b", (0, 1))), (("a", (0, 0, 1, 1)),),
], ids=["turned", "repeated", "two_groups", "multiplied"])
def test_what_is_not_one_group_in_order_is_not_whole(runs):
    assert not Lanes(runs).is_whole({"a": 2, "b": 2})


@given(ENTRIES)
@settings(deadline=None, max_examples=50)
def test_entries_are_laid_along_one_by_one(entries):
    lanes = Lanes.from_entries(entries)
    assert lanes.size == len(entries)
    assert [(group, c) for group, channels in lanes.runs for c in channels] == entries
    neighbours = zip(lanes.runs, lanes.runs[1:])
    assert all(one[0] != other[0] for one, other in neighbours), "runs are as long as can be"
    assert lanes.groups == tuple(dict.fromkeys(group for group, _ in entries))
    expected = [VALUES[group][channel] for group, channel in entries]
    np.testing.assert_array_equal(lanes.along(VALUES), expected)


def test_values_keep_their_kind_and_their_gradient():
    lanes = Lanes((("a", (0, 1, 0, 1)), ("b", (2,))))
    assert isinstance(lanes.along(VALUES), np.ndarray)
    traced = {group: jnp.asarray(value) for group, value in VALUES.items()}
    assert isinstance(lanes.along(traced), jax.Array)
    slope = jax.grad(lambda values: lanes.along(values) @ jnp.arange(1.0, 6.0))(traced)
    np.testing.assert_array_equal(slope["a"], [1 + 3, 2 + 4, 0, 0])
    np.testing.assert_array_equal(slope["b"], [0, 0, 5, 0])


def test_a_whole_group_is_not_copied():
    assert Lanes.of("a", 4).along(VALUES) is VALUES["a"]


def test_the_first_channels_of_a_group_are_not_the_group():
    np.testing.assert_array_equal(Lanes.of("a", 2).along(VALUES), [1.0, 2.0])
