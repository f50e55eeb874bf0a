"""A point of a finished run as a file for elsewhere: rebuilt, lowered to integers, written in a format."""

import dataclasses
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from mpnas.cost import WeightBytes, exact_cost
from mpnas.errors import ConfigError, FrontFileError, PackError
from mpnas.export.graph import IntegerGraph
from mpnas.export.lower import lower
from mpnas.export.pack import pack
from mpnas.export.storage import storage_of
from mpnas.export.unpack import unpack
from mpnas.space import Assignment
from mpnas.supernet import Parts
from mpnas.sweep.point import Point, ids_of, rebuilt_point
from mpnas.sweep.trial import Bench


@dataclasses.dataclass(frozen=True)
class Lowered:
    """A point with everything that an exporter may ask for.

    Attributes:
      point: As in the front.
      bench: Data and networks of its run.
      parts: Its trained arrays.
      assignment: Its bits.
      graph: The same network as integers.
    """

    point: Point
    bench: Bench
    parts: Parts
    assignment: Assignment
    graph: IntegerGraph


@dataclasses.dataclass(frozen=True)
class Exported:
    """A file to write, and what is to be said of it.

    Attributes:
      data: The file.
      sizes: What it is made of -> bits.
    """

    data: bytes
    sizes: Mapping[str, int]


def packed(lowered: Lowered) -> Exported:
    """The packed file; it has been read back, and its weights are as long as the cost says.

    Raises:
      PackError: they are not.
    """
    space = lowered.bench.net.space
    made = pack(lowered.graph, storage_of(space, lowered.assignment))
    cost = 8 * exact_cost(WeightBytes(), space, lowered.assignment)
    if made.weight_bits != cost:
        raise PackError(
            f"the weights of the packed file have {made.weight_bits} bits, the cost weight_bytes says "
            f"{cost:g}. This is a defect of mpnas: please report it with the experiment."
        )
    unpack(made.data)
    return Exported(made.data, {
        "weights, as counted": made.weight_bits, "graph and constants": made.graph_bits,
        "header and filling": made.other_bits,
    })


EXPORTERS: Mapping[str, Callable[[Lowered], Exported]] = {"packed": packed}
"""What each format makes of a point."""


def lowered_point(folder: Path, front: Mapping[str, Any], point_id: str) -> Lowered:
    """The integer graph of a point, from its checkpoint and assignment.

    Args:
      folder: The run folder.
      front: Its front.
      point_id: Of a point or reference.

    Raises:
      FrontFileError: no such point, one without an assignment or a checkpoint, or a front of another run.
      CheckpointError: the checkpoint cannot be read, or is of another network.
      UnsupportedOperationError, GraphError: the network has no integer form; names the place.
    """
    found = rebuilt_point(folder, front, point_id)
    if found.assignment is None:
        raise FrontFileError(
            f"'{point_id}' is the float network; it has no bits to export. The front has {ids_of(front)}."
        )
    graph = lower(found.net, found.parts, found.assignment, found.bench.data.example())
    return Lowered(found.point, found.bench, found.parts, found.assignment, graph)


def export_point(
    folder: Path, front: Mapping[str, Any], point_id: str, kind: str, path: Path
) -> tuple[Lowered, Exported]:
    """Write a point as a file of a format; a reader never sees half of it.

    Args:
      folder, front, point_id: As for `lowered_point`, which also says what is raised.
      kind: One of `EXPORTERS`.
      path: The file to write.

    Raises:
      ConfigError: no such format.
      PackError: the network has no place in a packed file.
    """
    if kind not in EXPORTERS:
        raise ConfigError(f"unknown format '{kind}'; there are {', '.join(EXPORTERS)}.")
    lowered = lowered_point(folder, front, point_id)
    made = EXPORTERS[kind](lowered)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        temporary.write_bytes(made.data)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    return lowered, made
