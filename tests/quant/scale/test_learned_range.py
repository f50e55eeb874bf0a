"""Tests of mpnas/quant/scale/learned_range.py."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mpnas.errors import ConfigError
from mpnas.quant.format import IntFormat
from mpnas.quant.granularity import PerChannel, PerTensor
from mpnas.quant.quantizer import Quantizer
from mpnas.quant.scale.learned_range import LearnedRange

FORMATS = [IntFormat(1), IntFormat(2), IntFormat(4), IntFormat(8, False), IntFormat(16), IntFormat(16, False)]


def scale_of(xmax, fmt):
    found = LearnedRange().range(jnp.ones(1), {"xmax": jnp.array([xmax])}, {}, fmt, PerTensor())
    return float(found.scale[0])


@pytest.mark.parametrize("xmax, fmt, step", [
    (3.5, IntFormat(4), 0.5),              # 7 codes above zero end at 3.5
    (3.51, IntFormat(4), 1.0),
    (1.0, IntFormat(1), 2.0),              # levels +-1
    (0.5, IntFormat(2), 0.5),
    (3.9, IntFormat(8, False), 2.0**-6),   # 255 / 64 = 3.98
    (4.0, IntFormat(8, False), 2.0**-5),
    (0.0, IntFormat(8), 2.0**-26),
    (-3.5, IntFormat(4), 0.5),
])
def test_the_step_is_the_smallest_power_of_two_that_reaches_the_range(xmax, fmt, step):
    assert scale_of(xmax, fmt) == step


@settings(deadline=None, max_examples=100)
@given(st.floats(2.0**-7, 2.0**20, width=32), st.sampled_from(FORMATS))
def test_the_step_is_a_power_of_two_that_covers_and_half_of_it_is_not(xmax, fmt):
    step, top = scale_of(xmax, fmt), fmt.qmax + fmt.offset
    assert np.frexp(step)[0] == 0.5
    assert xmax <= top * step * (1 + 2e-6) and xmax > top * step / 2


def test_values_are_clipped_to_the_range_before_they_are_rounded():
    quantizer = Quantizer(format=IntFormat(4), scale=LearnedRange())
    x, params = jnp.array([-9.0, -1.2, 0.7, 9.0]), {"xmax": jnp.array([2.2])}
    # The step is 0.5; the range ends at 2.2, which rounds to 2, not at the last code, 3.5.
    np.testing.assert_array_equal(quantizer.quantize(x, params), [-2.0, -1.0, 0.5, 2.0])


@pytest.mark.parametrize("fmt, by_x, clipped", [
    (IntFormat(4), [0, 2, 3, 0], 4.0 - 1.0),
    (IntFormat(3, False), [0, 0, 3, 0], 4.0),
])
def test_the_range_gets_the_gradients_of_what_it_clips_and_the_share_of_the_step(fmt, by_x, clipped):
    quantizer = Quantizer(format=fmt, scale=LearnedRange())
    x, xmax = jnp.array([-9.0, -1.2, 0.7, 9.0]), jnp.array([2.2])
    _, back = jax.vjp(lambda v, m: quantizer.quantize(v, {"xmax": m}), x, xmax)
    found_x, found_xmax = back(jnp.arange(1.0, 5.0))
    assert found_x.tolist() == by_x
    # The step is 0.5, and hears round(v) - v of each value in steps: of 2.2 it is 4 - 4.4.
    low = -2.2 if fmt.signed else 0.0
    steps = np.clip([-9.0, -1.2, 0.7, 9.0], low, 2.2) / 0.5
    by_step = np.sum(np.arange(1.0, 5.0) * (np.round(steps) - steps))
    np.testing.assert_allclose(found_xmax, [clipped + by_step * 0.5 / 2.2], rtol=1e-5)


def test_weights_start_three_sigmas_from_the_mean():
    # 99 times 1 and once 11: mean 1.1, variance 0.99.
    x = jnp.ones((100, 2)).at[0].set(jnp.array([11.0, -9.0]))
    params, stats = LearnedRange().init(x, IntFormat(4), PerChannel())
    np.testing.assert_allclose(params["xmax"], [1.1 + 3 * 0.99**0.5, 0.9 + 3 * 0.99**0.5], rtol=1e-5)
    assert stats == {}


def test_weights_start_no_farther_than_the_largest():
    params, _ = LearnedRange().init(jnp.array([1.0, -3.0]), IntFormat(4), PerTensor())
    np.testing.assert_allclose(params["xmax"], [3])


@pytest.mark.parametrize("signed, expected", [(True, 999.0), (False, 998.0)])
def test_activations_start_at_the_percentile_of_their_magnitude(signed, expected):
    # 1000 values: a magnitude of 1000 is left out; 999 is negative.
    x = jnp.concatenate([jnp.arange(1.0, 999.0), jnp.array([-999.0, 1000.0])])
    if not signed:
        x = x.at[-2].set(997.0)
    params, _ = LearnedRange(batched=True).init(x, IntFormat(8, signed), PerTensor())
    np.testing.assert_allclose(params["xmax"], [expected])


def test_asymmetric_formats_are_refused_with_the_way_out():
    with pytest.raises(ConfigError, match="LearnedRange learns a range without a zero point"):
        Quantizer(format=IntFormat(4, symmetric=False), scale=LearnedRange())


def test_a_missing_range_is_asked_for():
    with pytest.raises(ValueError, match="LearnedRange needs the parameter 'xmax', got \\[\\]"):
        Quantizer(format=IntFormat(4), scale=LearnedRange()).quantize(jnp.ones(3))
