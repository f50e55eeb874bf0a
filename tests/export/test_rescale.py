"""Tests of mpnas/export/rescale.py."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mpnas.errors import UnsupportedOperationError
from mpnas.export.rescale import rescaled
from mpnas.export.rounding import requantised


def made(factor, term=0.0, kind="single_round", largest=2**20):
    row = np.array([factor]), np.array([term])
    ends = np.array([-(2**31)]), np.array([2**31 - 1])
    bounds = np.array([-largest]), np.array([largest])
    return rescaled("r", "a", "b", *row, low=ends[0], high=ends[1], zero_out=0, rounding=kind, bounds=bounds)


@given(factor=st.floats(2.0**-20, 2.0**-4), sign=st.sampled_from([-1, 1]), term=st.floats(-500, 500),
       q=st.integers(-(2**12), 2**12))
@settings(max_examples=300, derandomize=True)
def test_exact_kinds_are_right_away_from_the_edges(factor, sign, term, q):
    exact = q * sign * Fraction(factor) + Fraction(term)
    edge = abs((exact - Fraction(1, 2)) - round(exact - Fraction(1, 2)))
    for kind in ("single_round", "dyadic_half_up"):
        result = int(requantised(made(sign * factor, term, kind, 2**12), np.array([q]))[0])
        assert result == round(exact) or edge < Fraction(1, 2**18)


def test_powers_of_two_are_exact_with_their_ties():
    """Quarters of -6 .. 6 and a half more, by hand: ties to even."""
    q = np.arange(-6, 7)
    expected = [-1, -1, 0, 0, 0, 0, 0, 1, 1, 1, 2, 2, 2]
    np.testing.assert_array_equal(requantised(made(0.25, 0.5), q), expected)


def test_double_rounding_follows_the_factor_within_one():
    q = np.arange(-3000, 3000, 7)
    for factor in (0.0031, -0.7, 2.5, 40.0):
        result = requantised(made(factor, kind="double_round"), q)
        assert np.abs(result - q * factor).max() <= 1


def test_shifts_are_exact_powers_of_two():
    np.testing.assert_array_equal(requantised(made(0.25, kind="shift"), np.array([2, 6, -6])), [1, 2, -2])
    np.testing.assert_array_equal(requantised(made(8.0, kind="shift"), np.array([3])), [24])


@pytest.mark.parametrize("factor, term, kind, words", [
    (0.3, 0.0, "shift", "multiplies by 0.3, which shift cannot express"),
    (0.25, 3.0, "double_round", "adds 3 steps"),
    (2.0**33, 0.0, "single_round", "which single_round cannot express"),
])
def test_what_a_kind_cannot_express_is_refused(factor, term, kind, words):
    with pytest.raises(UnsupportedOperationError, match=words):
        made(factor, term, kind)
