"""Tests of mpnas/supernet/axes.py."""

import numpy as np
import pytest

from mpnas.supernet.axes import Channels, reshaped


def test_joined_axes_share_root_writers_and_frozen():
    channels = Channels()
    one, two, three = channels.fresh((4, 4, 4))
    one.written_by("a")
    two.written_by("b")
    three.freeze("read by a judge")
    one.join(two, "added here")
    two.join(three, "added there")
    assert one.roots.tolist() == two.roots.tolist() == three.roots.tolist()
    assert set(channels.writers()) == set(one.roots.tolist())
    assert set(channels.writers().values()) == {("a", "b")} and one.frozen == "read by a judge"
    assert set(channels.reasons().values()) == {("added here",)}, "only what joins two writers ties them"


def test_the_first_reason_to_freeze_stays():
    axis = Channels().axis(4)
    axis.freeze("first")
    axis.freeze("second")
    assert axis.frozen == "first"


def test_axes_of_different_sizes_are_frozen_instead_of_joined():
    one, two = Channels().fresh((4, 5))
    one.join(two, "added here")
    assert not set(one.roots) & set(two.roots)
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
    channels = Channels()
    axes = channels.fresh(before)
    result = reshaped(channels, axes, after, " in f")
    reason = "flattened or split by a reshape in f"
    assert tuple(axis.size for axis in result) == after
    for new, old in kept.items():
        assert result[new] is axes[old] and axes[old].frozen is None
    for k, axis in enumerate(result):
        assert k in kept or axis.size == 1 or axis.frozen == reason
    for k, axis in enumerate(axes):
        assert k in kept.values() or axis.size == 1 or axis.frozen == reason


def test_an_empty_array_is_frozen():
    channels = Channels()
    axes = channels.fresh((2, 0))
    assert [axis.size for axis in reshaped(channels, axes, (0,), "")] == [0]
    assert axes[0].frozen == "flattened or split by a reshape"


def test_channels_that_merge_with_positions_are_repeated():
    channels = Channels()
    rows, row = channels.fresh((2, 3))
    row.written_by("a")
    (flat,) = reshaped(channels, (rows, row), (6,), "")
    assert flat.roots.tolist() == row.roots.tolist() * 2 and row.frozen is None and rows.frozen


def test_heads_that_split_off_keep_the_same_channels():
    channels = Channels()
    (row,) = channels.fresh((6,))
    row.written_by("a")
    heads, each = reshaped(channels, (row,), (2, 3), " in f")
    assert heads.frozen == "flattened or split by a reshape in f" and each.frozen is None
    assert row.roots.tolist() == each.roots.tolist() * 2
    assert set(channels.reasons().values()) == {("split into equal parts by a reshape in f",)}


def test_rows_that_are_joined_crosswise_are_all_one():
    channels = Channels()
    (axis,) = channels.fresh((4,))
    channels.join(axis.ids, axis.ids[::-1], "turned")
    channels.join(axis.ids[:2], axis.ids[[1, 1]], "met")
    assert len(set(axis.roots.tolist())) == 1


def test_a_row_that_is_read_twice_over_is_no_reason_of_its_own():
    channels = Channels()
    read, row = channels.fresh((6, 3))
    row.written_by("a")
    channels.join(np.tile(row.ids, 2), read.ids, "multiplied")
    assert read.roots.tolist() == row.roots.tolist() * 2 and channels.reasons() == {}


def test_rows_that_two_layers_write_and_one_entry_joins_have_a_reason():
    channels = Channels()
    row, entry = channels.fresh((2, 1))
    channels.write(row.ids[:1], "a")
    channels.write(row.ids[1:], "b")
    channels.join(row.ids, entry.ids[[0, 0]], "met")
    (root,) = set(row.roots.tolist())
    assert channels.reasons() == {root: ("met",)} and channels.writers() == {root: ("a", "b")}
