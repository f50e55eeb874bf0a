"""Tests of mpnas/supernet/axes.py."""

import pytest

from mpnas.supernet.axes import Axis, fresh, reshaped


def test_joined_axes_share_root_writers_and_frozen():
    one, two, three = Axis(4), Axis(4), Axis(4)
    one.written_by("a")
    two.written_by("b")
    three.freeze("read by a judge")
    one.join(two, "added here")
    two.join(three, "added there")
    assert one.root is two.root is three.root
    assert three.writers == ("a", "b") and one.frozen == "read by a judge"
    assert one.reasons == ("added here",), "only what joins two writers ties them"


def test_the_first_reason_to_freeze_stays():
    axis = Axis(4)
    axis.freeze("first")
    axis.freeze("second")
    assert axis.frozen == "first"


def test_axes_of_different_sizes_are_frozen_instead_of_joined():
    one, two = Axis(4), Axis(5)
    one.join(two, "added here")
    assert one.root is not two.root
    assert one.frozen == two.frozen == "lined up with an axis of another size, added here"


@pytest.mark.parametrize("before, after, kept", [
    ((2, 4, 5), (2, 4, 5), {0: 0, 1: 1, 2: 2}),
    ((2, 1, 1, 5), (2, 5), {0: 0, 1: 3}),
    ((2, 5), (2, 1, 1, 5), {0: 0, 3: 1}),
    ((2, 3, 5), (6, 5), {1: 2}),
    ((6, 5), (2, 3, 5), {2: 1}),
    ((2, 3, 4), (2, 4, 3), {0: 0}),
    ((2, 4, 2, 2), (2, 4, 4), {0: 0, 1: 1}),
    ((2, 4, 6), (2, 4, 3, 2), {0: 0, 1: 1}),
])
def test_reshapes_keep_the_axes_that_pass_through(before, after, kept):
    axes = fresh(before)
    result = reshaped(axes, after, "reshaped")
    assert tuple(axis.size for axis in result) == after
    for new, old in kept.items():
        assert result[new] is axes[old] and axes[old].frozen is None
    for k, axis in enumerate(result):
        assert k in kept or axis.size == 1 or axis.frozen == "reshaped"
    for k, axis in enumerate(axes):
        assert k in kept.values() or axis.size == 1 or axis.frozen == "reshaped"


def test_an_empty_array_is_frozen():
    axes = fresh((2, 0))
    assert [axis.size for axis in reshaped(axes, (0,), "reshaped")] == [0]
    assert axes[0].frozen == "reshaped"
