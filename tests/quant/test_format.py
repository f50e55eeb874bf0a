"""Tests of mpnas/quant/format.py."""

import numpy as np
import pytest

from mpnas.errors import ConfigError
from mpnas.quant.format import INTEGER_BITS, FloatFormat, IntFormat, Pruned, format_of


@pytest.mark.parametrize(
    "bits, signed, qmin, qmax",
    [
        (1, True, -1, 0), (2, True, -2, 1), (4, True, -8, 7), (8, True, -128, 127),
        (16, True, -32768, 32767), (1, False, 0, 1), (8, False, 0, 255), (16, False, 0, 65535),
    ],
)
def test_codes_span_the_full_integer_range(bits, signed, qmin, qmax):
    fmt = IntFormat(bits, signed)
    assert (fmt.qmin, fmt.qmax) == (qmin, qmax)


@pytest.mark.parametrize("bits", INTEGER_BITS)
@pytest.mark.parametrize("signed", [True, False])
def test_there_are_two_to_the_bits_codes_and_the_dtype_holds_them(bits, signed):
    fmt = IntFormat(bits, signed)
    assert fmt.qmax - fmt.qmin + 1 == 2**bits
    held = np.iinfo(fmt.code_dtype)
    assert held.min <= fmt.qmin and fmt.qmax <= held.max
    assert fmt.code_dtype.itemsize == (1 if bits <= 8 else 2)


@pytest.mark.parametrize("bits", [0, 9, 12, 32, -1])
def test_a_width_without_integers_names_the_allowed_ones(bits):
    with pytest.raises(ConfigError, match=rf"\(1, 2, 3, 4, 5, 6, 7, 8, 16\) bits, got {bits}"):
        IntFormat(bits)


def test_only_signed_symmetric_one_bit_stands_between_the_codes():
    offsets = {
        (bits, signed, symmetric): IntFormat(bits, signed, symmetric).offset
        for bits in (1, 2, 8) for signed in (True, False) for symmetric in (True, False)
    }
    assert [key for key, offset in offsets.items() if offset] == [(1, True, True)]
    assert offsets[1, True, True] == 0.5


def test_midrise_levels_lie_as_many_above_zero_as_below():
    fmt = IntFormat(3, midrise=True)
    assert [code + fmt.offset for code in range(fmt.qmin, fmt.qmax + 1)] == [
        -3.5, -2.5, -1.5, -0.5, 0.5, 1.5, 2.5, 3.5
    ]
    assert format_of(3, midrise=True) == fmt != format_of(3)


@pytest.mark.parametrize("signed, symmetric", [(False, True), (True, False), (False, False)])
def test_midrise_levels_are_refused_where_they_are_not_symmetric(signed, symmetric):
    with pytest.raises(ConfigError, match="symmetrically around zero, got .*midrise=False"):
        IntFormat(4, signed, symmetric, midrise=True)


def test_only_asymmetric_integers_store_a_zero_point():
    assert IntFormat(8, symmetric=False).has_zero_point
    assert not any(f.has_zero_point for f in (IntFormat(8), FloatFormat(), Pruned()))


def test_bits_choose_the_format():
    assert format_of(0) == Pruned()
    assert format_of(32) == FloatFormat()
    assert format_of(3, signed=False, symmetric=False) == IntFormat(3, False, False)
    assert [format_of(bits).bits for bits in (0, 1, 16, 32)] == [0, 1, 16, 32]


def test_formats_are_equal_by_value_and_hash_alike():
    assert len({IntFormat(4), IntFormat(4), Pruned(), Pruned(), FloatFormat()}) == 3
