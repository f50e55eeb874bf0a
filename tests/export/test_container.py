"""Tests of mpnas/export/container.py."""

import struct
import zlib

import pytest

from mpnas.errors import PackError
from mpnas.export.container import Sections, opened, sealed

SECTIONS = Sections(b"graph", b"\x01\x02\x03", 20)


def headed(data, at, code, value, *, seal=True):
    """The file with one field of its header changed, and the header's own checksum made anew."""
    changed = bytearray(data)
    struct.pack_into(code, changed, at, value)
    if seal:
        struct.pack_into("<I", changed, 64, zlib.crc32(changed[:64]))
    return bytes(changed)


def test_fields_of_the_header_stand_where_the_format_says():
    data = sealed(SECTIONS)
    assert data[:8] == b"MPNASPAK" and len(data) == 72 + 5 + 3
    assert struct.unpack_from("<IIQQQQQ", data, 8) == (2, 72, 80, 72, 40, 77, 20)
    assert struct.unpack_from("<II", data, 56) == (zlib.crc32(b"graph"), zlib.crc32(b"\x01\x02\x03"))
    assert opened(data) == SECTIONS


def test_files_of_version_1_are_read():
    assert opened(headed(sealed(SECTIONS), 8, "<I", 1)) == SECTIONS


@pytest.mark.parametrize("data, words", [
    (b"", "no packed network"),
    (b"\x89PNG\r\n\x1a\n" + b"\x00" * 100, r"starts with b'\\x89PNG"),
    (sealed(SECTIONS)[:40], "truncated: 40 of the 72 bytes"),
    (sealed(SECTIONS)[:-1], "truncated: it has 79 bytes, its header says 80"),
    (sealed(SECTIONS) + b"x", "followed by foreign bytes"),
    (headed(sealed(SECTIONS), 8, "<I", 3), "version 3 of the format; this mpnas reads up to version 2"),
    (headed(sealed(SECTIONS), 8, "<I", 0), "header .* contradicts itself"),
    (headed(sealed(SECTIONS), 48, "<Q", 99), "header .* contradicts itself"),
    (headed(sealed(SECTIONS), 48, "<Q", 2**64 - 1), "header .* contradicts itself"),
    (headed(sealed(SECTIONS), 32, "<Q", 41), "header .* contradicts itself"),
    (headed(sealed(SECTIONS), 32, "<Q", 48, seal=False), "header .* checksum fails"),
    (headed(sealed(SECTIONS), 72, "<B", 0), "graph section .* checksum fails"),
    (headed(sealed(SECTIONS), 79, "<B", 0), "weights section .* checksum fails"),
])
def test_a_file_that_is_not_whole_is_told_in_a_sentence(data, words):
    with pytest.raises(PackError, match=words):
        opened(data)
