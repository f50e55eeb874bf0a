"""Tests of mpnas/quant/scale/mse.py."""

import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mpnas.errors import ConfigError
from mpnas.quant.format import IntFormat
from mpnas.quant.granularity import PerChannel, PerTensor, Subgroup
from mpnas.quant.quantizer import Quantizer
from mpnas.quant.scale.base import SCALE_FLOOR
from mpnas.quant.scale.minmax import MinMax
from mpnas.quant.scale.mse import MSE

FORMATS = [IntFormat(1), IntFormat(2), IntFormat(4), IntFormat(3, False), IntFormat(3, False, False)]


def errors(scale, fmt, granularity, x):
    quantizer = Quantizer(format=fmt, granularity=granularity, scale=scale)
    return np.asarray(granularity.reduce((quantizer.quantize(x) - x) ** 2, jnp.sum))


def brute_force(x, points):
    """Scale and squared error of 3 signed bits at the best fraction, written out in float64."""
    tried = []
    for k in range(points, 0, -1):
        scale = max(x.min() * k / points / -4, x.max() * k / points / 3)
        tried.append((np.sum((scale * np.clip(np.round(x / scale), -4, 3) - x) ** 2), scale))
    return min(tried)


@pytest.mark.parametrize("seed", range(5))
def test_it_finds_the_fraction_that_trying_all_of_them_finds(seed):
    x = np.random.default_rng(seed).standard_t(3, size=(60, 4))
    found = MSE(50).range(jnp.asarray(x, jnp.float32), {}, {}, IntFormat(3), PerChannel())
    error = errors(MSE(50), IntFormat(3), PerChannel(), jnp.asarray(x, jnp.float32))
    for channel in range(4):
        least, scale = brute_force(x[:, channel], 50)
        np.testing.assert_allclose(found.scale[channel], scale, rtol=1e-5)
        np.testing.assert_allclose(error[channel], least, rtol=1e-4)


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 2**32 - 1), st.sampled_from(FORMATS), st.sampled_from([PerTensor(), Subgroup(3)]))
def test_no_group_errs_more_than_under_min_max(seed, fmt, granularity):
    x = jnp.asarray(np.random.default_rng(seed).standard_cauchy((10, 5)), jnp.float32)
    least = errors(MSE(10), fmt, granularity, x)
    assert (least <= errors(MinMax(), fmt, granularity, x) * (1 + 1e-6)).all()


def test_one_point_is_min_max():
    x = jnp.asarray(np.random.default_rng(0).normal(size=40), jnp.float32)
    one = MSE(1).range(x, {}, {}, IntFormat(4), PerTensor())
    np.testing.assert_array_equal(one.scale, MinMax().range(x, {}, {}, IntFormat(4), PerTensor()).scale)


def test_an_outlier_is_clipped_where_that_pays():
    # 999 values on the grid of step 1 and a 3.5 whose clipping to 3 costs 0.25.
    x = jnp.concatenate([jnp.tile(jnp.array([-3.0, 1.0, 2.0]), 333), jnp.array([3.5])])
    found = MSE(7).range(x, {}, {}, IntFormat(3), PerTensor())
    np.testing.assert_allclose(found.scale, [1], rtol=1e-6)


def test_a_group_of_zeros_gets_the_floor():
    found = MSE().range(jnp.zeros((3, 2)), {}, {}, IntFormat(4), PerChannel())
    np.testing.assert_allclose(found.scale, [SCALE_FLOOR] * 2)


def test_a_sweep_without_points_is_refused():
    with pytest.raises(ConfigError, match="at least 1 point, got 0"):
        MSE(0)
