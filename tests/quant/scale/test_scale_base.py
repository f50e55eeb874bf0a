"""Tests of mpnas/quant/scale/base.py."""

import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mpnas.quant.format import IntFormat
from mpnas.quant.scale.base import SCALE_FLOOR, covering_range

ENDS = st.floats(-100, 100, width=32)


@pytest.mark.parametrize(
    "fmt, low, high, expected",
    [
        (IntFormat(4), -4.0, 7.0, 1.0),          # 7 codes above zero decide
        (IntFormat(4), -16.0, 7.0, 2.0),         # 8 codes below zero decide
        (IntFormat(1), -1.0, 3.0, 6.0),          # levels +-scale/2 reach the largest magnitude
        (IntFormat(4, signed=False), -9.0, 30.0, 2.0),  # what is below zero is clipped
        (IntFormat(8), 0.0, 0.0, SCALE_FLOOR),
        (IntFormat(4, signed=False), -9.0, -1.0, SCALE_FLOOR),
    ],
)
def test_symmetric_scale_is_the_smallest_that_covers(fmt, low, high, expected):
    found = covering_range(jnp.array([low]), jnp.array([high]), fmt)
    np.testing.assert_allclose(found.scale, [expected], rtol=1e-6)
    assert found.zero_point is None


@pytest.mark.parametrize(
    "low, high, scale, zero_point",
    [
        (-1.0, 2.0, 0.2, 5),     # 15 steps of 0.2; zero is 5 steps above -1
        (3.0, 6.0, 0.4, 0),      # widened to [0, 6]
        (-6.0, -3.0, 0.4, 15),   # widened to [-6, 0]
        (-1.0, 2.1, 3.1 / 15, 5),  # 1 / 0.2067 = 4.84 is nudged to 5
        (0.0, 0.0, SCALE_FLOOR, 0),
    ],
)
def test_asymmetric_unsigned_range_is_jacobs(low, high, scale, zero_point):
    found = covering_range(jnp.array([low]), jnp.array([high]), IntFormat(4, False, False))
    np.testing.assert_allclose(found.scale, [scale], rtol=1e-6)
    assert found.zero_point.tolist() == [zero_point]


def test_signed_codes_shift_the_zero_point_by_half_the_codes():
    low, high = jnp.array([-1.0]), jnp.array([2.0])
    unsigned = covering_range(low, high, IntFormat(4, False, False))
    signed = covering_range(low, high, IntFormat(4, True, False))
    assert signed.scale == unsigned.scale
    assert signed.zero_point == unsigned.zero_point - 8


@settings(deadline=None, max_examples=50)
@given(ENDS, ENDS, st.sampled_from([1, 2, 4, 8, 16]), st.booleans())
def test_nudged_grid_reaches_both_ends_within_half_a_step(a, b, bits, signed):
    fmt = IntFormat(bits, signed, symmetric=False)
    low, high = min(a, b, 0.0), max(a, b, 0.0)
    found = covering_range(jnp.array([min(a, b)]), jnp.array([max(a, b)]), fmt)
    scale, zero_point = float(found.scale[0]), float(found.zero_point[0])
    assert zero_point == round(zero_point) and fmt.qmin <= zero_point <= fmt.qmax
    slack = scale * 0.5 + 1e-5 * (high - low)
    assert (fmt.qmin - zero_point) * scale <= low + slack
    assert (fmt.qmax - zero_point) * scale >= high - slack
