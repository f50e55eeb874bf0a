"""Files that hold a network, opened whatever they are: packed, ONNX, StableHLO, or a checkpoint.

What a file is, is told by its first bytes; its name may say anything. All are measured on the same data, and
held against each other.
"""

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mpnas.errors import CheckpointError, ConfigError, ExportError, MpnasError
from mpnas.export.container import MAGIC, opened
from mpnas.export.parity import Parity, parity_of
from mpnas.export.stablehlo import read_stablehlo
from mpnas.export.unpack import unpack
from mpnas.space import Assignment
from mpnas.sweep.bench import Bench
from mpnas.sweep.clean import size_of
from mpnas.sweep.outputs import Run, executed, labels_of, outputs_of, simulated
from mpnas.sweep.point import Part, Rebuilt
from mpnas.train import one_hot_gates
from mpnas.train.checkpoint import filled, load

ONNX_VERSION = b"\x08"  # field 1 of a ModelProto, a number; writers put it first


@dataclasses.dataclass(frozen=True, eq=False)
class Network:
    """A network that can be run.

    Attributes:
      name: What to call it.
      kind: What it is, in a word or two.
      file_bytes: Its length on disk; None of what is in memory.
      weight_bits: Length of its packed weights; None of what has none.
      run: What computes outputs from inputs.
    """

    name: str
    kind: str
    file_bytes: int | None
    weight_bits: int | None
    run: Run


@dataclasses.dataclass(frozen=True)
class Answers:
    """A network on a part of the data.

    Attributes:
      network: Which one.
      accuracy: In [0, 1].
      outputs: For every input, float `(n, outputs)`.
    """

    network: Network
    accuracy: float
    outputs: np.ndarray


def looks_like_a_checkpoint(path: Path) -> bool:
    """Whether a folder is one of checkpoints, or of a trial that has one."""
    return any(path.glob("step_*")) or any((path / "checkpoint").glob("step_*"))


def network_in(path: Path, bench: Bench) -> Network:
    """The network of a file or a checkpoint folder.

    Args:
      path: Of the file, or of the folder of a checkpoint or of a trial.
      bench: Its data; of a checkpoint also the network.

    Raises:
      PackError: a packed file that is truncated, damaged or of a newer version.
      ExportError: a file that holds no network that can be run here, or one for other inputs.
      CheckpointError: a checkpoint of another network, or of a training that is not over.
      SearchSpaceError: an assignment of another network.
      ConfigError: the package that runs such files is not installed.
    """
    if path.is_dir():
        return _checkpoint(path, bench)
    try:
        with path.open("rb") as file:
            head = file.read(16)
    except FileNotFoundError:
        raise ExportError(f"there is no file {path}. Write one with mpnas export.") from None
    shape = bench.data.input_shape
    if head and MAGIC.startswith(head[: len(MAGIC)]):
        return _packed(path, shape)
    if head[:1] == ONNX_VERSION and head[1:2] != b"\0" or path.suffix == ".onnx" and head:
        return _onnx(path, shape)
    root = int.from_bytes(head[:4], "little")  # of a flatbuffer: where its first table is
    if path.suffix == ".stablehlo" or 4 <= root < 256:
        return Network(str(path), "stablehlo", size_of(path), None, _for(str(path), read_stablehlo(path)))
    what = f"it starts with {head!r}" if head else "it is empty"
    raise ExportError(
        f"{path} is no network that can be run here: {what}. Give a packed file ({MAGIC.decode()}), an "
        "ONNX file, a StableHLO file of mpnas export, or a checkpoint folder."
    )


def network_of(found: Rebuilt) -> Network:
    """The network of a point, as its front has it."""
    gates = {} if found.assignment is None else one_hot_gates(found.net, found.assignment)
    return Network(found.point["id"], "point", None, None, simulated(found.net, found.parts, gates))


def answers(network: Network, bench: Bench, part: Part, count: int | None = None) -> Answers:
    """A network on the first `count` inputs of a part of the data; on all by default.

    Raises:
      ExportError: it cannot be run on such inputs, or answers with something else; names it.
    """
    try:
        outputs = outputs_of(network.run, bench.data, part, count)
    except ExportError as error:
        raise ExportError(f"{network.name} cannot be measured on {bench.data.name}: {error}") from error
    right = outputs.argmax(axis=1) == labels_of(bench.data, part, count)
    return Answers(network, float(np.mean(right)), outputs)


def agreement(one: Answers, other: Answers) -> Parity:
    """How far the outputs of `other` are from those of `one`.

    Raises:
      ExportError: they have another number of outputs, or some are not finite; names both.
    """
    try:
        return parity_of(one.outputs, other.outputs)
    except ExportError as error:
        raise ExportError(
            f"{other.network.name} cannot be held against {one.network.name}: {error}"
        ) from error


def agreements(networks: Sequence[Answers]) -> list[list[Parity]]:
    """How far each is from each."""
    return [[agreement(one, other) for other in networks] for one in networks]


def _packed(path: Path, shape: tuple[int, ...]) -> Network:
    data = path.read_bytes()
    try:
        graph, bits = unpack(data), opened(data).weight_bits
    except MpnasError as error:
        raise type(error)(f"{path}: {error}") from error
    _refuse_shape(str(path), graph.tensors[graph.input].shape, shape)
    return Network(str(path), "packed", len(data), bits, executed(graph))


def _onnx(path: Path, shape: tuple[int, ...]) -> Network:
    try:
        from mpnas.export.onnx_qdq import input_shape, run_onnx
    except ImportError as error:
        raise ConfigError(f"ONNX files need another package ({error}). Install mpnas[onnx].") from error
    _refuse_shape(str(path), input_shape(path), shape)
    return Network(str(path), "onnx", size_of(path), None, functools.partial(run_onnx, path))


def _refuse_shape(name: str, takes: tuple[int | None, ...], shape: tuple[int, ...]) -> None:
    """Raise unless inputs fit; None is a length that may be any."""
    fits = len(takes) == len(shape) and all(a in (None, b) for a, b in zip(takes, shape, strict=True))
    if not fits:
        wanted = "x".join("?" if n is None else str(n) for n in takes)
        raise ExportError(
            f"{name} takes inputs of {wanted}, and the data have {'x'.join(map(str, shape))}. It is of "
            "another network, or is to be measured on other data: name them with --data."
        )


def _for(name: str, run: Run) -> Run:
    """The function of a file, its refusals in words."""
    def call(x: np.ndarray) -> np.ndarray:
        try:
            return run(x)
        except (ValueError, TypeError) as error:
            first = str(error).splitlines()[0]
            raise ExportError(f"it does not take inputs {list(x.shape)}: {first}") from error

    return call


def _checkpoint(path: Path, bench: Bench) -> Network:
    """The network of a finished trial, of a retraining, or the float one."""
    home = path if any(path.glob("step_*")) else path / "checkpoint"
    if not looks_like_a_checkpoint(path):
        raise CheckpointError(f"{path} holds no checkpoint. Name the folder 'checkpoint' of a trial.")
    _, arrays, meta = load(home)
    if meta.get("stage") != "final":
        raise CheckpointError(
            f"{home} is of stage '{meta.get('stage')}', in the midst of a training. Finish it first: "
            "mpnas resume."
        )
    net, gates = bench.plain, dict[str, Any]()
    if decisions := _decisions(meta, home):
        net, assignment = bench.net, Assignment.from_json(decisions)
        net.space.check(assignment)
        gates = one_hot_gates(net, assignment)
    parts = filled(net.parts, arrays, home)
    return Network(str(path), "checkpoint", size_of(home), None, simulated(net, parts, gates))


def _decisions(meta: Mapping[str, Any], home: Path) -> Mapping[str, Any]:
    found = meta.get("assignment") or {}
    if not isinstance(found, dict):
        raise CheckpointError(f"{home} names no assignment but {type(found).__name__}. Run the trial again.")
    return found
