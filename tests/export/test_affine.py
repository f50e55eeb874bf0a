"""Tests of mpnas/export/affine.py: a value is what its float program computes."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from mpnas.export.affine import plain

CHANGES = {
    "times": lambda x, c: x * c, "plus": lambda x, c: x + c, "at_least": np.maximum, "at_most": np.minimum,
}
NUMBERS = st.sampled_from([-2.0, -1.0, -0.5, 0.0, 0.25, 1.0, 3.0])
PROGRAMS = st.lists(st.tuples(st.sampled_from(sorted(CHANGES)), NUMBERS, NUMBERS), max_size=6)


@given(PROGRAMS)
@settings(deadline=None, max_examples=200, derandomize=True)
def test_any_chain_of_scales_shifts_and_clips_is_one_clipped_affine_function(program):
    q = np.arange(-5, 6)[:, None] * np.ones(2)
    value, expected = plain("q", np.array([0.5]), (2,)), 0.5 * q
    for name, one, other in program:
        constant = np.array([one, other])
        value, expected = getattr(value, name)(constant), CHANGES[name](expected, constant)
    found = np.clip(value.scale * q + value.bias, value.low, value.high)
    np.testing.assert_array_equal(found, expected)
    low, high = value.interval((np.full(2, -5), np.full(2, 5)))
    np.testing.assert_array_equal(low, expected.min(axis=0))
    np.testing.assert_array_equal(high, expected.max(axis=0))


def test_a_plain_value_is_neither_shifted_nor_clipped():
    value = plain("q", np.array([0.5]), (2,))
    assert value.is_plain and value.channels == 2 and value.viewed((1, 2)).shape == (1, 2)
    assert not value.plus(np.ones(2)).is_plain and not value.at_least(np.zeros(2)).is_plain
