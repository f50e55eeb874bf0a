"""A point of a finished run as a file for elsewhere: rebuilt, written in a format, held against the network.

Each format is one function that writes a file; what the file then computes is compared with the discretised
network on images of the test part (`mpnas.export.parity`), where there is something here that can run it.
"""

import dataclasses
import functools
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np

from mpnas.cost import WeightBytes, exact_cost
from mpnas.errors import ConfigError, FrontFileError, PackError
from mpnas.export.converters import write_csv, write_qwix
from mpnas.export.graph import IntegerGraph
from mpnas.export.integer import execute
from mpnas.export.lower import lower
from mpnas.export.pack import pack
from mpnas.export.parity import Parity, parity_of
from mpnas.export.stablehlo import read_stablehlo, write_stablehlo
from mpnas.export.storage import storage_of
from mpnas.export.unpack import unpack
from mpnas.space import Assignment
from mpnas.sweep.collect import sites_of
from mpnas.sweep.point import Rebuilt, ids_of, rebuilt_point
from mpnas.train import one_hot_gates

COMPARED = 1000  # inputs of the test part
Run = Callable[[np.ndarray], np.ndarray]


@dataclasses.dataclass(frozen=True, eq=False)
class Shipped:
    """A point with everything that an exporter may ask for.

    Attributes:
      found: The network of the point.
      assignment: Its bits.
    """

    found: Rebuilt
    assignment: Assignment

    @functools.cached_property
    def graph(self) -> IntegerGraph:
        """The network as integers.

        Raises:
          UnsupportedOperationError, GraphError: it has no integer form; names the place.
        """
        found = self.found
        return lower(found.net, found.parts, self.assignment, found.bench.data.example())


@dataclasses.dataclass(frozen=True)
class Written:
    """What is to be said of a file that was written.

    Attributes:
      run: What computes outputs from inputs as the file does; None where nothing here can.
      sizes: What the file is made of -> bits.
    """

    run: Run | None = None
    sizes: Mapping[str, int] = dataclasses.field(default_factory=dict)


def packed(shipped: Shipped, path: Path) -> Written:
    """The packed file; it has been read back, and its weights are as long as the cost says.

    Raises:
      PackError: they are not.
    """
    space = shipped.found.net.space
    made = pack(shipped.graph, storage_of(space, shipped.assignment))
    cost = 8 * exact_cost(WeightBytes(), space, shipped.assignment)
    if made.weight_bits != cost:
        raise PackError(
            f"the weights of the packed file have {made.weight_bits} bits, the cost weight_bytes says "
            f"{cost:g}. This is a defect of mpnas: please report it with the experiment."
        )
    path.write_bytes(made.data)
    return Written(functools.partial(execute, unpack(path.read_bytes())), {
        "weights, as counted": made.weight_bits, "graph and constants": made.graph_bits,
        "header and filling": made.other_bits,
    })


def onnx(shipped: Shipped, path: Path) -> Written:
    """An ONNX file for onnxruntime, which runs it here.

    Raises:
      ConfigError: the extra `onnx` is not installed.
    """
    try:
        from mpnas.export.onnx_qdq import run_onnx, write_onnx
    except ImportError as error:
        raise ConfigError(f"ONNX files need another package ({error}). Install mpnas[onnx].") from error
    write_onnx(shipped.graph, path)
    return Written(functools.partial(run_onnx, path))


def stablehlo(shipped: Shipped, path: Path) -> Written:
    """The discretised network as JAX exports programs: its weights in floats, its function exact."""
    found = shipped.found
    write_stablehlo(found.net, found.parts, shipped.assignment, found.bench.data.example(), path)
    return Written(read_stablehlo(path))


def csv(shipped: Shipped, path: Path) -> Written:
    """The bits of each layer as a table."""
    write_csv(sites_of(shipped.found.net.space), shipped.assignment.to_json(), path)
    return Written()


def qwix(shipped: Shipped, path: Path) -> Written:
    """Rules for qwix."""
    write_qwix(sites_of(shipped.found.net.space), shipped.assignment.to_json(), path)
    return Written()


EXPORTERS: Mapping[str, Callable[[Shipped, Path], Written]] = {
    "packed": packed, "onnx": onnx, "stablehlo": stablehlo, "csv": csv, "qwix": qwix,
}
"""What writes each format."""


def shipped_point(folder: Path, front: Mapping[str, Any], point_id: str) -> Shipped:
    """A point from its checkpoint and assignment.

    Args:
      folder: The run folder.
      front: Its front.
      point_id: Of a point or reference.

    Raises:
      FrontFileError: no such point, one without an assignment or a checkpoint, or a front of another run.
      CheckpointError: the checkpoint cannot be read, or is of another network.
    """
    found = rebuilt_point(folder, front, point_id)
    if found.assignment is None:
        raise FrontFileError(
            f"'{point_id}' is the float network; it has no bits to export. The front has {ids_of(front)}."
        )
    return Shipped(found, found.assignment)


def export_point(
    folder: Path, front: Mapping[str, Any], point_id: str, kind: str, path: Path
) -> tuple[Shipped, Written, Parity | None]:
    """Write a point as a file of a format; a reader never sees half of it.

    Args:
      folder, front, point_id: As for `shipped_point`, which also says what is raised.
      kind: One of `EXPORTERS`.
      path: The file to write.

    Returns:
      The point, what was written, and how far the file's outputs are from the network's.

    Raises:
      ConfigError: no such format, or its package is not installed.
      UnsupportedOperationError, GraphError: the format cannot hold an operation; names it.
      PackError: the network has no place in a packed file.
    """
    if kind not in EXPORTERS:
        raise ConfigError(f"unknown format '{kind}'; there are {', '.join(EXPORTERS)}.")
    shipped = shipped_point(folder, front, point_id)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        written = EXPORTERS[kind](shipped, temporary)
        parity = None if written.run is None else compared(shipped, written.run)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    return shipped, written, parity


def compared(shipped: Shipped, run: Run, count: int = COMPARED) -> Parity:
    """What a file computes, held against the network on the first inputs of the test part."""
    found = shipped.found
    x, y, valid = next(found.bench.data.batches_of("test", min(count, found.bench.data.rows("test"))))
    gates = one_hot_gates(found.net, shipped.assignment)
    expected = np.asarray(found.net.apply(found.parts, gates, jnp.asarray(x), train=False)[0])
    return parity_of(expected[:valid], np.asarray(run(np.asarray(x)))[:valid], np.asarray(y)[:valid])
