"""Container: the header of a packed file and its two sections, each with its length and its checksum.

All numbers are little-endian. The header has 72 bytes:

| byte | size | what |
|---|---|---|
| 0 | 8 | magic, `MPNASPAK` |
| 8 | 4 | version of the format, 2; files of version 1 hold no products of sums and no tables |
| 12 | 4 | length of the header, 72 |
| 16 | 8 | length of the file, bytes |
| 24 | 8 | offset of the graph section, bytes |
| 32 | 8 | length of the graph section, bits (whole bytes) |
| 40 | 8 | offset of the weights section, bytes |
| 48 | 8 | length of the weights section, **bits** |
| 56 | 4 | CRC-32 of the graph section |
| 60 | 4 | CRC-32 of the weights section, with the bits that fill its last byte |
| 64 | 4 | CRC-32 of the 64 bytes before |
| 68 | 4 | 0 |

The graph section follows the header, the weights section follows the graph section. What they hold is
said in `mpnas.export.pack`.
"""

import dataclasses
import struct
import zlib

from mpnas.errors import PackError

MAGIC = b"MPNASPAK"
VERSION = 2
READABLE = (1, VERSION)
HEADER = struct.Struct("<8sIIQQQQQII")
TAIL = struct.Struct("<II")
LENGTH = HEADER.size + TAIL.size


@dataclasses.dataclass(frozen=True)
class Sections:
    """The two sections of a packed file.

    Attributes:
      graph: What is not counted: structure, names, constants of execution.
      weights: What the cost of memory counts, the last byte filled with zeros.
      weight_bits: Length of the weights, without what fills them.
    """

    graph: bytes
    weights: bytes
    weight_bits: int


def sealed(sections: Sections) -> bytes:
    """The file of these sections."""
    graph, weights = sections.graph, sections.weights
    start = LENGTH + len(graph)
    head = HEADER.pack(
        MAGIC, VERSION, LENGTH, start + len(weights), LENGTH, 8 * len(graph), start, sections.weight_bits,
        zlib.crc32(graph), zlib.crc32(weights),
    )
    return head + TAIL.pack(zlib.crc32(head), 0) + graph + weights


def opened(data: bytes) -> Sections:
    """The sections of a file, whose checksums hold.

    Raises:
      PackError: the file is foreign, newer, truncated or damaged.
    """
    if data[: len(MAGIC)] != MAGIC[: len(data)] or not data:
        raise PackError(
            f"this is no packed network: it starts with {data[: len(MAGIC)]!r}, not {MAGIC!r}. "
            "Make one with mpnas export --format packed."
        )
    if len(data) < LENGTH:
        raise PackError(
            f"the packed file is truncated: {len(data)} of the {LENGTH} bytes of its header are there. "
            "Copy or export it again."
        )
    fields = HEADER.unpack_from(data)
    _, version, length, size, at, graph_bits, weights_at, bits, graph_sum, weights_sum = fields
    if version > VERSION:
        raise PackError(
            f"the packed file has version {version} of the format; this mpnas reads up to version {VERSION}. "
            "Use a newer mpnas, or export the network with this one."
        )
    if TAIL.unpack_from(data, HEADER.size) != (zlib.crc32(data[: HEADER.size]), 0):
        raise PackError(
            "the header of the packed file is damaged: its checksum fails. Copy or export it again."
        )
    if len(data) != size:
        what = "truncated" if len(data) < size else "followed by foreign bytes"
        raise PackError(
            f"the packed file is {what}: it has {len(data)} bytes, its header says {size}. "
            "Copy or export it again."
        )
    if (length, at, weights_at) != (LENGTH, LENGTH, LENGTH + graph_bits // 8) \
            or version not in READABLE or graph_bits % 8 or weights_at + -(-bits // 8) != size:
        raise PackError("the header of the packed file contradicts itself. Copy or export it again.")
    graph, weights = data[at:weights_at], data[weights_at:]
    for name, part, checksum in (("graph", graph, graph_sum), ("weights", weights, weights_sum)):
        if zlib.crc32(part) != checksum:
            raise PackError(
                f"the {name} section of the packed file is damaged: its checksum fails. "
                "Copy or export it again."
            )
    return Sections(graph, weights, bits)
