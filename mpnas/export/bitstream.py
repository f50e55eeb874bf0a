"""Bit streams: whole numbers of any width one after the other, the lowest bit first, nothing between.

Bit i of a stream is bit `i % 8` of byte `i // 8`. Negative numbers are in two's complement. A stream of
`Fields` is made of bytes instead: variable-length numbers (LEB128; negative ones in zigzag order), texts
with their length before them, and vectors that say their count and their width.
"""

import numpy as np
from jaxtyping import Float, Int

from mpnas.errors import PackError

LONGEST_TEXT = 4096
WORD = 64


class BitWriter:
    """Collects numbers of any width."""

    def __init__(self) -> None:
        self._rows: list[np.ndarray] = []
        self.bits = 0

    def write(self, values: Int[np.ndarray, "..."], width: int) -> None:
        """The numbers in row-major order, `width` bits each; 1 to 64."""
        flat = np.asarray(values, np.int64).ravel().astype("<i8")
        bits = np.unpackbits(flat.view(np.uint8).reshape(-1, 8), axis=1, bitorder="little")[:, :width]
        self._rows.append(bits.ravel())
        self.bits += bits.size

    def write_float32(self, values: Float[np.ndarray, "..."]) -> None:
        """The numbers as IEEE float32."""
        self.write(np.asarray(values, np.float32).view(np.int32), 32)

    def done(self) -> bytes:
        """The stream; zeros fill the last byte."""
        rows = self._rows or [np.zeros(0, np.uint8)]
        return np.packbits(np.concatenate(rows), bitorder="little").tobytes()


class BitReader:
    """Reads what `BitWriter` wrote.

    Args:
      data: The stream.
      bits: Its length; what lies behind is not read.
    """

    def __init__(self, data: bytes, bits: int) -> None:
        self._bytes, self.bits, self.at = np.frombuffer(data, np.uint8), bits, 0

    def read(self, count: int, width: int, *, signed: bool = True) -> Int[np.ndarray, "count"]:
        """The next numbers, int64.

        Raises:
          PackError: the stream holds fewer.
        """
        end = self.at + count * width
        if end > self.bits:
            raise PackError(
                f"the packed file ends within its weights: {count} numbers of {width} bits are missing at "
                f"bit {self.at} of {self.bits}. Export it again."
            )
        covering = self._bytes[self.at // 8 : -(-end // 8)]
        bits = np.unpackbits(covering, bitorder="little")[self.at % 8 :][: count * width]
        self.at = end
        return _numbers(bits.reshape(count, width), signed)

    def read_float32(self, count: int) -> Float[np.ndarray, "count"]:
        """The next numbers, float32; as `read`."""
        return self.read(count, 32).astype(np.int32).view(np.float32)


def _numbers(bits: np.ndarray, signed: bool) -> np.ndarray:
    """Rows of bits, the lowest first, as int64."""
    count, width = bits.shape
    wide = np.zeros((count, WORD), np.uint8)
    wide[:, :width] = bits
    if signed and count:
        wide[:, width:] = bits[:, -1:]
    return np.packbits(wide, axis=1, bitorder="little").view("<i8").ravel().astype(np.int64)


class FieldWriter:
    """Collects fields of bytes."""

    def __init__(self) -> None:
        self._data = bytearray()

    def whole(self, *values: int) -> None:
        """Numbers >= 0."""
        for value in values:
            while value >= 0x80:
                self._data.append(value & 0x7F | 0x80)
                value >>= 7
            self._data.append(value)

    def integer(self, value: int) -> None:
        """A number of any sign."""
        self.whole(2 * value if value >= 0 else -2 * value - 1)

    def text(self, text: str) -> None:
        """A text.

        Raises:
          PackError: it is longer than a reader takes.
        """
        data = text.encode()
        if len(data) > LONGEST_TEXT:
            raise PackError(f"the name '{text[:40]}...' has {len(data)} bytes; a packed file takes 4096.")
        self.whole(len(data))
        self._data += data

    def integers(self, values: Int[np.ndarray, "count"]) -> None:
        """A vector, in the least width that holds all of its numbers."""
        flat = np.asarray(values, np.int64).ravel()
        ends = (int(flat.min(initial=0)), int(flat.max(initial=0)))
        width = max((end if end >= 0 else ~end).bit_length() for end in ends) + 1
        bits = BitWriter()
        bits.write(flat, width)
        self.whole(flat.size, width)
        self._data += bits.done()

    def reals(self, values: Float[np.ndarray, "count"]) -> None:
        """A vector of float64: its different numbers, and which of them is where."""
        different, index = np.unique(np.asarray(values, np.float64), return_inverse=True)
        self.whole(different.size)
        self._data += different.astype("<f8").tobytes()
        self.integers(index)

    def done(self) -> bytes:
        """The stream."""
        return bytes(self._data)


class FieldReader:
    """Reads what `FieldWriter` wrote; each method raises `PackError` where the stream holds no such field."""

    def __init__(self, data: bytes) -> None:
        self._data, self.at = data, 0

    def whole(self, limit: int = 2**31) -> int:
        """A number from 0 to below the limit."""
        value, shift = 0, 0
        while True:
            byte = self._take(1)[0]
            value |= (byte & 0x7F) << shift
            shift += 7
            if value >= limit or shift > 70:
                raise damaged(f"a number at byte {self.at} of its graph is {value}, not below {limit}")
            if byte < 0x80:
                return value

    def integer(self) -> int:
        """A number of any sign, of 32 bits."""
        value = self.whole(2**33)
        return value // 2 if value % 2 == 0 else -(value + 1) // 2

    def text(self) -> str:
        """A text."""
        data = self._take(self.whole(LONGEST_TEXT + 1))
        try:
            return data.decode()
        except UnicodeDecodeError as error:
            raise damaged(f"a name at byte {self.at} of its graph is no text") from error

    def integers(self, count: int | None = None) -> Int[np.ndarray, "count"]:
        """A vector, int64; of this length, if it is given."""
        found, width = self.whole(), self.whole(WORD + 1)
        if width == 0 or count not in (None, found):
            raise damaged(f"a vector at byte {self.at} of its graph has {found} numbers of {width} bits")
        data = self._take(-(-found * width // 8))
        return BitReader(data, found * width).read(found, width)

    def reals(self) -> Float[np.ndarray, "count"]:
        """A vector, float64."""
        different = np.frombuffer(self._take(8 * self.whole()), "<f8").astype(np.float64)
        index = self.integers()
        if np.any((index < 0) | (index >= different.size)):
            raise damaged(f"a vector at byte {self.at} of its graph picks numbers that it does not have")
        return different[index]

    def end(self) -> None:
        """Nothing is left."""
        if self.at != len(self._data):
            raise damaged(f"{len(self._data) - self.at} bytes follow its graph")

    def _take(self, count: int) -> bytes:
        if self.at + count > len(self._data):
            raise damaged(f"its graph ends at byte {len(self._data)}, within a field")
        self.at += count
        return self._data[self.at - count : self.at]


def damaged(what: str) -> PackError:
    """The error of a file whose checksums hold and whose content does not."""
    return PackError(f"the packed file contradicts itself: {what}. Export it again.")
