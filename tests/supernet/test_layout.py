"""Tests of mpnas/supernet/layout.py."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mpnas.supernet.axes import Axis, Channels
from mpnas.supernet.layout import (
    concatenated,
    cut,
    fixed,
    joined,
    per_channel,
    place,
    stacked,
    tiled,
    view_axes,
    windowed,
)


def equation_of(function, *shapes):
    """The only operation of a function of arrays."""
    (equation,) = jax.make_jaxpr(function)(*(jnp.zeros(shape) for shape in shapes)).eqns
    return equation


def seen(function, shape):
    """Axes before and after one view."""
    channels = Channels()
    axes = channels.fresh(shape)
    equation = equation_of(function, shape)
    after = view_axes(channels, equation, axes, equation.outvars[0].aval.shape, " in f")
    return axes, after


@pytest.mark.parametrize("function, shape, order", [
    (lambda x: jax.lax.transpose(x, (2, 0, 1)), (2, 3, 5), [2, 0, 1]),
    (lambda x: jax.lax.squeeze(x, (1,)), (2, 1, 5), [0, 2]),
    (lambda x: jax.lax.expand_dims(x, (1,)), (2, 5), [0, None, 1]),
    (lambda x: jax.lax.broadcast_in_dim(x, (2, 4, 5), (0, 2)), (2, 5), [0, None, 1]),
    (lambda x: jax.lax.broadcast_in_dim(x, (2, 4, 5), (0, 1, 2)), (2, 1, 5), [0, None, 2]),
    (lambda x: jax.lax.reshape(x, (2, 1, 5)), (2, 5), [0, None, 1]),
    (lambda x: jax.lax.convert_element_type(x, jnp.bfloat16), (2, 5), [0, 1]),
])
def test_views_carry_axes_on_in_their_new_places(function, shape, order):
    axes, after = seen(function, shape)
    for axis, source in zip(after, order, strict=True):
        assert axis is axes[source] if source is not None else all(axis is not one for one in axes)
    assert all(axis.frozen is None for axis in (*axes, *after))


def test_elementwise_operations_line_equal_sizes_up_and_let_others_broadcast():
    channels = Channels()
    image, vector, single = channels.fresh((2, 4, 6)), channels.fresh((1, 1, 6)), channels.fresh(())
    image[2].written_by("a")
    vector[2].written_by("b")
    equation = equation_of(lambda x, y: x + y, (2, 4, 6), (2, 4, 6))
    result = joined(channels, equation, [image, vector, single], (2, 4, 6), "added here")
    assert [axis.size for axis in result] == [2, 4, 6]
    assert result[2].roots.tolist() == image[2].roots.tolist() == vector[2].roots.tolist()
    assert not set(result[0].roots) & set(vector[0].roots) and all(axis.frozen is None for axis in result)
    assert set(channels.reasons().values()) == {("added here",)}


def test_sums_along_an_axis_freeze_it_alone():
    channels = Channels()
    equation = equation_of(lambda x: jax.lax.cumsum(x, axis=1), (2, 6))
    result = joined(channels, equation, [channels.fresh((2, 6))], (2, 6), "cumsum in f")
    assert result[0].frozen is None and result[1].frozen == "mixed by cumsum in f"


def test_a_concatenation_is_one_row_of_all_channels():
    channels = Channels()
    one, other = channels.fresh((2, 3)), channels.fresh((2, 4))
    result = concatenated(channels, 1, [one, other], "side by side")
    assert result[1].roots.tolist() == [*one[1].roots, *other[1].roots] and len(set(result[1].roots)) == 7
    assert result[0].roots.tolist() == one[0].roots.tolist() == other[0].roots.tolist()
    assert all(axis.frozen is None for axis in (*one, *other))


def test_a_stack_joins_its_operands_and_has_an_axis_of_its_own():
    channels = Channels()
    one, other = channels.fresh((2, 5)), channels.fresh((2, 5))
    result = stacked(channels, 1, [one, other], "stacked here")
    assert [axis.size for axis in result] == [2, 2, 5]
    assert result[2].roots.tolist() == one[1].roots.tolist() == other[1].roots.tolist()
    assert not set(result[1].roots) & {*result[0].roots, *result[2].roots}


def test_a_tiled_axis_is_the_same_channels_again():
    channels = Channels()
    batch, row = channels.fresh((2, 3))
    result = tiled(channels, (batch, row), (1, 2))
    assert result[1].roots.tolist() == row.roots.tolist() * 2
    assert result[0].roots.tolist() == batch.roots.tolist()


def test_equal_pieces_keep_the_same_channels():
    channels = Channels()
    axes = channels.fresh((2, 6))
    axes[1].written_by("a")
    left, middle, right = cut(axes, 1, (2, 2, 2), " in f")
    assert left[1].roots.tolist() == middle[1].roots.tolist() == right[1].roots.tolist()
    assert len(set(axes[1].roots)) == 2 and axes[1].frozen is None and left[0] is axes[0]
    assert set(channels.reasons().values()) == {("cut into 3 equal parts in f",)}


def test_unequal_pieces_must_stay():
    axes = Channels().fresh((2, 6))
    left, right = cut(axes, 1, (2, 4), " in f")
    assert left[1].frozen == right[1].frozen == "cut into unequal parts in f"
    assert [*left[1].ids, *right[1].ids] == axes[1].ids.tolist() and left[1].size == 2
    assert axes[0].frozen is None


def test_windows_freeze_what_they_touch_only():
    channels = Channels()
    axes = channels.fresh((2, 4, 4, 6))
    result = windowed(channels, axes, (2, 2, 4, 6), {2}, "pooled")
    assert [axis.frozen for axis in axes] == [None, "pooled", "pooled", None]
    assert result[3] is axes[3] and result[1] is not axes[1] and result[1].size == 2


def test_windows_of_another_rank_keep_nothing():
    channels = Channels()
    axes = channels.fresh((2, 6))
    assert [axis.frozen for axis in windowed(channels, axes, (2,), set(), "gone")] == [None]
    assert [axis.frozen for axis in axes] == ["gone", "gone"]


def test_an_array_of_the_program_keeps_what_it_meets():
    channels = Channels()
    (row,) = channels.fresh((6,))
    row.join(fixed(channels, (6,))[0], "multiplied here")
    assert row.frozen == "lined up with a constant array of the program"


def test_only_what_varies_with_the_channels_alone_can_be_folded():
    channels = Channels()
    channel, rows = channels.fresh((6, 4))
    single = channels.axis(1)
    assert per_channel((single, channel), channel) and per_channel((), channel)
    assert not per_channel((rows, channel), channel)
    assert not per_channel((Axis(channels, channel.ids[::-1]),), channel), "in another order"
    assert per_channel((Axis(channels, np.array(channel.ids)),), channel)


def test_a_place_is_that_of_ones_own_source():
    assert place(equation_of(lambda x: jnp.exp(x), (2,))).startswith(" in <lambda> (test_layout.py:")

    class Nowhere:
        source_info = None

    assert place(Nowhere()) == ""
