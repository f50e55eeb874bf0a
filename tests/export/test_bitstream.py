"""Tests of mpnas/export/bitstream.py."""

import numpy as np
import pytest

from mpnas.errors import PackError
from mpnas.export.bitstream import BitReader, BitWriter, FieldReader, FieldWriter


def test_numbers_stand_lowest_bit_first_without_gaps():
    """5 = 101, -1 in 2 bits = 11, 9 in 4 bits = 1001: from the lowest bit 101 11 1001."""
    out = BitWriter()
    out.write(np.array([5]), 3)
    out.write(np.array([-1]), 2)
    out.write(np.array([9]), 4)
    assert out.bits == 9
    assert out.done() == bytes([0b00111101, 0b1])


@pytest.mark.parametrize("width", [1, 2, 3, 7, 8, 13, 32, 63, 64])
def test_every_width_comes_back_at_any_place(width):
    draw = np.random.default_rng(width)
    values = draw.integers(-(2 ** (width - 1)), 2 ** (width - 1), 50, dtype=np.int64)
    out = BitWriter()
    out.write(np.array([1]), 3)
    out.write(values, width)
    reader = BitReader(out.done(), out.bits)
    reader.read(1, 3)
    np.testing.assert_array_equal(reader.read(50, width), values)
    assert reader.at == reader.bits


def test_unsigned_numbers_keep_their_highest_bit():
    out = BitWriter()
    out.write(np.array([0, 7, 4]), 3)
    np.testing.assert_array_equal(BitReader(out.done(), 9).read(3, 3, signed=False), [0, 7, 4])


def test_more_than_there_is_cannot_be_read():
    with pytest.raises(PackError, match="3 numbers of 3 bits are missing at bit 0 of 8"):
        BitReader(b"\x00\x00", 8).read(3, 3)


def test_fields_come_back_in_order():
    out = FieldWriter()
    out.whole(0, 127, 128, 2**31 - 1)
    for value in (0, -1, 1, -(2**31), 2**31 - 1):
        out.integer(value)
    out.text("stack1/übergang")
    out.integers(np.array([-3, 0, 5]))
    out.reals(np.array([0.5, 1e-9, 0.5]))
    reader = FieldReader(out.done())
    assert [reader.whole() for _ in range(4)] == [0, 127, 128, 2**31 - 1]
    assert [reader.integer() for _ in range(5)] == [0, -1, 1, -(2**31), 2**31 - 1]
    assert reader.text() == "stack1/übergang"
    np.testing.assert_array_equal(reader.integers(3), [-3, 0, 5])
    np.testing.assert_array_equal(reader.reals(), [0.5, 1e-9, 0.5])
    reader.end()


def test_a_vector_takes_the_least_width_that_holds_it():
    """Count, width, then 3 numbers of 4 bits (-8 to 7) in 2 bytes."""
    out = FieldWriter()
    out.integers(np.array([-8, 7, 0]))
    assert len(out.done()) == 2 + 2


@pytest.mark.parametrize("data, read", [
    (b"\xff" * 12, lambda r: r.whole()),
    (b"\x80", lambda r: r.whole()),
    (b"\x05abc", lambda r: r.text()),
    (b"\x01\xff", lambda r: r.text()),
    (b"\x03\x00", lambda r: r.integers()),
    (b"\x03\x41" + b"\x00" * 40, lambda r: r.integers()),
    (b"\xff\xff\xff\x7f\x01\x00", lambda r: r.integers()),
    (b"\x02\x02\x00", lambda r: r.integers(3)),
    (b"\x00\x01\x01\x00", lambda r: r.reals()),
    (b"\x00", lambda r: r.end()),
], ids=["endless", "cut", "short_text", "no_text", "no_width", "too_wide", "huge", "count", "index", "rest"])
def test_fields_that_are_none_are_refused(data, read):
    with pytest.raises(PackError, match="contradicts itself"):
        read(FieldReader(data))
