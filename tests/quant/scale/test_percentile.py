"""Tests of mpnas/quant/scale/percentile.py."""

import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mpnas.errors import ConfigError
from mpnas.quant.format import IntFormat
from mpnas.quant.granularity import PerChannel, PerTensor, Subgroup
from mpnas.quant.scale.minmax import MinMax
from mpnas.quant.scale.percentile import Percentile

SIGNED, UNSIGNED, ASYMMETRIC = IntFormat(4), IntFormat(4, False), IntFormat(4, False, False)


@pytest.mark.parametrize("percent, expected", [(99.9, 999), (99.95, 1000), (90.0, 900), (50.1, 501)])
def test_it_is_the_smallest_element_that_so_many_percent_do_not_exceed(percent, expected):
    x = jnp.asarray(np.random.default_rng(0).permutation(np.arange(1.0, 1001)), jnp.float32)
    low, high = Percentile(percent).ends(x, UNSIGNED, PerTensor())
    assert (low.tolist(), high.tolist()) == ([1], [expected])


def test_symmetric_formats_clip_the_magnitude_and_reach_no_farther_than_the_values():
    x = jnp.array([-1.0, -0.5, 0.2, 0.3, 0.6, 0.7, 0.8, 0.9, 2.0, 50.0])
    low, high = Percentile(90.0).ends(x, SIGNED, PerTensor())
    np.testing.assert_allclose([low[0], high[0]], [-1, 2])


def test_asymmetric_formats_clip_as_many_values_at_both_ends():
    low, high = Percentile(90.0).ends(jnp.arange(-4.0, 16.0), ASYMMETRIC, PerTensor())
    assert (low.tolist(), high.tolist()) == ([-2], [13]), "two of twenty values below and above"


def test_values_that_an_unsigned_format_clips_do_not_widen_its_range():
    low, high = Percentile(75.0).ends(jnp.array([-9.0, -8.0, 1.0, 2.0]), UNSIGNED, PerTensor())
    assert high.tolist() == [1]


@pytest.mark.parametrize("granularity", [PerChannel(), PerChannel(axis=0), Subgroup(2)], ids=str)
def test_groups_are_ranked_apart(granularity):
    x = np.random.default_rng(1).normal(size=(20, 5)).astype(np.float32)
    low, high = Percentile(80.0).ends(jnp.asarray(x), SIGNED, granularity)
    member = np.broadcast_to(granularity.expand(jnp.arange(len(high)), x.shape), x.shape)
    for group in range(len(high)):
        values = x[member == group]
        most = np.quantile(np.abs(values), 0.8, method="inverted_cdf")
        assert high[group] == min(values.max(), most) and low[group] == max(values.min(), -most)


@settings(deadline=None, max_examples=50)
@given(st.lists(st.one_of(st.integers(-3, 3), st.floats(-(2.0**100), 2.0**100)), min_size=30, max_size=30))
def test_the_percentile_of_any_numbers_is_that_of_numpy(values):
    x = np.array(values, np.float32)
    x[np.abs(x) < 1e-30] = 0.0
    _, high = Percentile(70.0).ends(jnp.asarray(x), ASYMMETRIC, PerTensor())
    assert high[0] == np.quantile(x, 0.7, method="inverted_cdf")


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 2**32 - 1), st.sampled_from([SIGNED, UNSIGNED, ASYMMETRIC]))
def test_a_smaller_percentage_never_has_a_wider_step_and_all_is_min_max(seed, fmt):
    x = jnp.asarray(np.random.default_rng(seed).standard_cauchy((50, 4)), jnp.float32)
    scales = [
        Percentile(percent).range(x, {}, {}, fmt, PerChannel()).scale for percent in (60.0, 80.0, 95.0, 100.0)
    ]
    assert (np.diff(scales, axis=0) >= 0).all()
    np.testing.assert_array_equal(scales[-1], MinMax().range(x, {}, {}, fmt, PerChannel()).scale)


@pytest.mark.parametrize("percent", [50.0, 100.1, -1.0, float("nan")])
def test_a_percentage_that_is_none_is_refused(percent):
    with pytest.raises(ConfigError, match=f"50 < percent <= 100, got {percent}"):
        Percentile(percent)
