"""Tests of mpnas/export/rounding.py and limbs.py.

Expected numbers are those of gemmlowp (its own test vectors re-derived with Python integers) or Python's
integers and fractions.
"""

import dataclasses
from fractions import Fraction
from math import floor

import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mpnas.errors import GraphError
from mpnas.export import Multiply, Requantise, Table, limbs, rounding

ACC = [0, 1, -1, 100, -100, 12345, -12345, 1048576, -1048576, 2147483647, -2147483648]
OUT = [0, 0, 0, 1, -1, 89, -89, 7599, -7599, 15563732, -15563732]
INT32 = st.integers(-(2**31), 2**31 - 1)


def made(kind, multiplier, shift, offset=0, **options):
    rows = (np.array([n], np.int64) for n in (multiplier, shift, offset, -(2**31), 2**31 - 1))
    return Requantise("r", "a", "b", *rows, rounding=kind, **options)


def both(op, q):
    """By the definition and by pairs of lanes, which must agree."""
    one = rounding.requantised(op, np.asarray(q, np.int64))
    other = limbs.requantised(op, jnp.asarray(q, jnp.int32))
    np.testing.assert_array_equal(one, np.asarray(other))
    return one


def test_the_golden_vector_of_gemmlowp():
    assert rounding.fixed_point(0.007247427341846) == (1992157658, 7)
    np.testing.assert_array_equal(both(made("double_round", 1992157658, 7), ACC), OUT)


@pytest.mark.parametrize("shift, pairs", [
    (1, {1: 1, 3: 2, -1: -1, -3: -2, 5: 3, -5: -3}), (2, {2: 1, 6: 2, -2: -1, -6: -2}),
])
def test_a_shift_takes_ties_away_from_zero(shift, pairs):
    np.testing.assert_array_equal(both(made("shift", 1, shift), list(pairs)), list(pairs.values()))


def test_ties_go_where_each_kind_says():
    """Halves of 1, 3, 5, -1, -3, -5: to even, up, away from zero (twice)."""
    halves = [1, 3, 5, -1, -3, -5]
    expected = {
        "single_round": [0, 2, 2, 0, -2, -2], "dyadic_half_up": [1, 2, 3, 0, -1, -2],
        "shift": [1, 2, 3, -1, -2, -3],
    }
    for kind, values in expected.items():
        np.testing.assert_array_equal(both(made(kind, 1, 1), halves), values)
    # 2^30 / 2^31 is a half that the high product rounds itself: away from zero, but up below it.
    np.testing.assert_array_equal(both(made("double_round", 2**30, 0), halves), [1, 2, 3, 0, -1, -2])


def test_the_most_negative_product_saturates():
    op = made("double_round", -(2**31) + 1, 0)
    assert both(op, [-(2**31)])[0] == 2**31 - 1
    lowest = np.array([-(2**31)])
    assert rounding.high_product(lowest, lowest)[0] == 2**31 - 1
    assert int(limbs.high_product(jnp.asarray(lowest, jnp.int32), lowest)[0]) == 2**31 - 1


@given(q=INT32, multiplier=st.integers(-(2**31) + 1, 2**31 - 1), shift=st.integers(0, 62),
       offset=st.integers(-(2**61), 2**61))
@settings(deadline=None, max_examples=300, derandomize=True)
def test_exact_kinds_round_the_fraction(q, multiplier, shift, offset):
    exact = Fraction(q * multiplier + offset, 2**shift)
    if abs(exact) >= 2**31 - 1:
        return
    # Python rounds fractions to even.
    assert both(made("single_round", multiplier, shift, offset), [q])[0] == round(exact)
    assert both(made("dyadic_half_up", multiplier, shift, offset), [q])[0] == floor(exact + Fraction(1, 2))


@given(q=INT32, multiplier=st.integers(-(2**31) + 1, 2**31 - 1), shift=st.integers(0, 62))
@settings(deadline=None, max_examples=200, derandomize=True)
def test_what_is_beyond_int32_is_clipped_to_the_same_code(q, multiplier, shift):
    low, high = -(2**15), 2**16 - 1
    op = dataclasses.replace(
        made("single_round", multiplier, shift), low=np.array([low]), high=np.array([high]), zero_out=2**15
    )
    one = rounding.requantised(op, np.array([q], np.int64))
    other = np.asarray(limbs.requantised(op, jnp.asarray([q], jnp.int32)))
    np.testing.assert_array_equal(np.clip(one, low, high), np.clip(other, low, high))


@given(q=INT32, multiplier=st.integers(-(2**31) + 1, 2**31 - 1), shift=st.integers(0, 30))
@settings(deadline=None, max_examples=300, derandomize=True)
def test_twice_rounded_is_within_one_of_the_fraction(q, multiplier, shift):
    result = both(made("double_round", multiplier, shift), [q])[0]
    assert abs(result - Fraction(q * multiplier, 2 ** (31 + shift))) <= 1


@pytest.mark.parametrize("kind, multiplier, shift", [
    ("shift", 1, 0), ("single_round", 2**30, 30), ("dyadic_half_up", 2**30, 30), ("double_round", 2**30, 0),
])
def test_zero_points_and_left_shifts_come_first_and_last(kind, multiplier, shift):
    """`(q - 3) * 16 - 7`, and half of the product where 2^30 is read as a half."""
    op = made(kind, multiplier, shift, left_shift=4, zero_in=3, zero_out=-7)
    factor = 8 if kind == "double_round" else 16
    q = np.array([-1000, 2, 3, 4, 999])
    np.testing.assert_array_equal(both(op, q), (q - 3) * factor - 7)


@given(st.floats(1e-9, 0.999999999))
@settings(max_examples=200, derandomize=True)
def test_fixed_points_are_as_near_as_31_bits_are(factor):
    multiplier, shift = rounding.fixed_point(factor)
    assert 2**30 <= multiplier < 2**31
    assert abs(multiplier / 2 ** (31 + shift) - factor) <= factor * 2**-30


def test_a_factor_above_one_is_no_fixed_point():
    with pytest.raises(GraphError, match="between 0 and 1, got 1.5"):
        rounding.fixed_point(1.5)


@given(a=INT32, b=INT32, shift=st.integers(0, 62))
@settings(deadline=None, max_examples=300, derandomize=True)
def test_products_of_two_sums_round_the_fraction_to_even(a, b, shift):
    exact = round(Fraction(a * b, 2**shift))
    if abs(exact) < 2**31:
        op = Multiply("m", ("a", "b"), "c", shift)
        assert int(rounding.multiplied(op, np.array(a), np.array(b))) == exact
        assert int(limbs.multiplied(op, jnp.array(a, jnp.int32), jnp.array(b, jnp.int32))) == exact


def test_halves_of_products_and_of_lines_go_to_even():
    """1 * odd / 2; and lines up to 2 and down to -1, whose rise of half a step rounds to 0."""
    odd, halves = np.array([1, 3, 5, -1, -3, -5]), [0, 2, 2, 0, -2, -2]
    op = Multiply("m", ("a", "b"), "c", 1)
    np.testing.assert_array_equal(rounding.multiplied(op, np.array([1]), odd), halves)
    found = limbs.multiplied(op, jnp.array([1], jnp.int32), jnp.array(odd, jnp.int32))
    np.testing.assert_array_equal(found, halves)
    table = Table("t", "a", "b", np.array([0, 1, 2, 1, 0, -1]), 0, 1)
    q, expected = np.arange(-3, 14), [0] * 5 + [1, 1, 2, 2, 1, 1, 0] + [0] * 5
    np.testing.assert_array_equal(rounding.looked_up(table, q), expected)
    np.testing.assert_array_equal(limbs.looked_up(table, jnp.array(q, jnp.int32)), expected)


@given(q=st.lists(INT32, min_size=4, max_size=4), start=INT32, shift=st.integers(0, 30), data=st.data())
@settings(deadline=None, max_examples=200, derandomize=True)
def test_tables_are_straight_lines_between_their_entries(q, start, shift, data):
    """By fractions: the entry before, and the share of the way to the next one, a tie to even."""
    size = data.draw(st.integers(2, min(9, 1 + 2 ** (31 - shift))))
    entries = data.draw(st.lists(st.integers(-(2**30) + 1, 2**30 - 1), min_size=size, max_size=size))
    start = min(start, 2**31 - ((size - 1) << shift))
    table = Table("t", "a", "b", np.array(entries), start, shift)
    expected = []
    for number in q:
        along = Fraction(min(max(number, start), start + ((size - 1) << shift) - 1) - start, 2**shift)
        k = floor(along)
        expected.append(entries[k] + round((entries[k + 1] - entries[k]) * (along - k)))
    np.testing.assert_array_equal(rounding.looked_up(table, np.array(q)), expected)
    np.testing.assert_array_equal(limbs.looked_up(table, jnp.array(q, jnp.int32)), expected)
