"""Tests of mpnas/quant/granularity.py."""

import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mpnas.errors import ConfigError
from mpnas.quant.granularity import PerChannel, PerTensor, Subgroup

SHAPES = st.lists(st.integers(1, 5), min_size=1, max_size=4).map(tuple)
REDUCTIONS = [(jnp.max, np.max), (jnp.min, np.min), (jnp.sum, np.sum), (jnp.mean, np.mean)]


@st.composite
def granularities_with_shapes(draw):
    shape = draw(SHAPES)
    axis = draw(st.integers(-len(shape), len(shape) - 1))
    granularity = draw(
        st.sampled_from([PerTensor(), PerChannel(axis)])
        | st.integers(1, 6).map(lambda size: Subgroup(size, axis))
    )
    return granularity, shape


def group_of_each_element(granularity, shape):
    """Brute force: the group number of every element, from one-element bookkeeping."""
    groups = np.zeros(shape, dtype=int)
    for position in np.ndindex(shape):
        if isinstance(granularity, PerChannel):
            groups[position] = position[granularity.axis]
        elif isinstance(granularity, Subgroup):
            groups[position] = position[granularity.axis] // granularity.size
    return groups


@settings(deadline=None, max_examples=50)
@given(granularities_with_shapes())
def test_groups_and_sizes_agree_with_counting_elements(case):
    granularity, shape = case
    counted = np.bincount(group_of_each_element(granularity, shape).ravel())
    assert granularity.groups(shape) == len(counted)
    assert granularity.group_sizes(shape).tolist() == counted.tolist()


@settings(deadline=None, max_examples=30)
@given(granularities_with_shapes(), st.sampled_from(REDUCTIONS))
def test_reduce_agrees_with_collecting_each_groups_elements(case, reduction):
    granularity, shape = case
    fn, reference = reduction
    x = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    member = group_of_each_element(granularity, shape)
    expected = [reference(x[member == g]) for g in range(granularity.groups(shape))]
    np.testing.assert_allclose(granularity.reduce(jnp.asarray(x), fn), expected, atol=1e-5)


@settings(deadline=None, max_examples=50)
@given(granularities_with_shapes())
def test_expand_gives_every_element_its_groups_value(case):
    granularity, shape = case
    member = group_of_each_element(granularity, shape)
    expanded = granularity.expand(jnp.arange(granularity.groups(shape)) * 1.0, shape)
    assert expanded.ndim == len(shape)
    assert sum(size > 1 for size in expanded.shape) <= 1
    np.testing.assert_array_equal(np.broadcast_to(expanded, shape), member)


def test_last_subgroup_is_shorter_and_is_not_padded():
    x = jnp.array([[-1.0, -2.0, -3.0, -4.0, -5.0]])
    subgroup = Subgroup(2)
    assert subgroup.groups(x.shape) == 3
    assert subgroup.group_sizes(x.shape).tolist() == [2, 2, 1]
    assert subgroup.reduce(x, jnp.max).tolist() == [-1, -3, -5]
    assert subgroup.reduce(x, jnp.mean).tolist() == [-1.5, -3.5, -5]
    assert subgroup.expand(jnp.array([7.0, 8.0, 9.0]), x.shape).tolist() == [[7, 7, 8, 8, 9]]


@pytest.mark.parametrize(
    "granularity, expected",
    [(PerTensor(), [0, 0, 0]), (PerChannel(), [0, 1, 2]), (Subgroup(2), [0, 0, 1])],
)
def test_index_maps_channels_to_groups(granularity, expected):
    assert granularity.index(3).tolist() == expected


@pytest.mark.parametrize("granularity", [PerTensor(), PerChannel(), Subgroup(2)])
def test_expanding_the_wrong_number_of_values_says_how_many_are_needed(granularity):
    with pytest.raises(ValueError, match=r"shape \(3, 4\) has \d groups, .* shape \(5,\)"):
        granularity.expand(jnp.ones(5), (3, 4))


def test_scalar_tensor_is_one_group():
    assert PerTensor().reduce(jnp.float32(3.0), jnp.max).shape == (1,)
    assert PerTensor().expand(jnp.ones(1), ()).shape == ()


def test_an_axis_that_the_tensor_lacks_is_named():
    with pytest.raises(ValueError, match=r"shape \(3,\) has no channel axis 1"):
        PerChannel(axis=1).groups((3,))


def test_a_subgroup_of_no_channels_is_refused():
    with pytest.raises(ConfigError, match="got size 0"):
        Subgroup(0)
