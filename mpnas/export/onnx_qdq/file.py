"""Files of ONNX: an integer graph written, checked, and run by onnxruntime."""

from pathlib import Path
from typing import get_args

import numpy as np
import onnx
import onnxruntime
from jaxtyping import Float
from onnx import TensorProto, helper

from mpnas.errors import ExportError, UnsupportedOperationError
from mpnas.export.graph import IntegerGraph
from mpnas.export.onnx_qdq.operations import WRITE
from mpnas.export.onnx_qdq.writer import SLACK, Storage, Writer


def write_onnx(
    graph: IntegerGraph, path: Path, *, storage: Storage = "int8", slack: float = SLACK, vnni: bool = False
) -> None:
    """Write an integer graph as an ONNX file, checked by the checker of ONNX.

    Args:
      graph: What to write.
      path: Of the file; its folder exists.
      storage: `int8` for kernels in bytes, which onnxruntime runs as integer convolutions; `packed` for
        each output channel in the narrowest of 2, 4, 8 and 16 bits that holds it; it runs in float.
      slack: How far, in steps of a code, the rounding of a bias may move a result so that onnxruntime can
        fuse the convolution with what is around it. 0.5 lets everything fuse that can; of `int8` only.
      vnni: Whether the file is for processors with VNNI (or ARM's) products of bytes alone, and may hold
        kernels of 8 bits in signed bytes. They run two to three times as fast there, and saturate elsewhere.

    Raises:
      UnsupportedOperationError: the file cannot hold an operation; names it.
      ExportError: no such storage.
    """
    model = onnx_model(graph, storage=storage, slack=slack, vnni=vnni)
    onnx.checker.check_model(model, full_check=True)
    path.write_bytes(model.SerializeToString())


def run_onnx(path: Path, x: Float[np.ndarray, "batch ..."], *, batch: int = 500) -> np.ndarray:
    """Outputs of an ONNX file in onnxruntime on the CPU, float32.

    Args:
      path: Of the file, with one input and one output.
      x: Inputs.
      batch: How many to run at a time.

    Raises:
      ExportError: the file cannot be read or run, or takes other inputs.
    """
    try:
        session = _session(path)
        (source,) = session.get_inputs()
        x = np.asarray(x, np.float32)
        parts = [session.run(None, {source.name: x[at: at + batch]})[0] for at in range(0, len(x), batch)]
    except Exception as error:  # onnxruntime's kinds of error have no common base
        raise ExportError(f"{path.name} cannot be run by onnxruntime: {error}") from error
    return np.concatenate(parts)


def _session(path: Path) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # errors, which are raised; what it warns of, nobody here can mend
    return onnxruntime.InferenceSession(path.read_bytes(), options, providers=["CPUExecutionProvider"])


def input_shape(path: Path) -> tuple[int | None, ...]:
    """Shape of the one input of an ONNX file without its batch axis; None for a length that may be any.

    Raises:
      ExportError: the file cannot be read, or has several inputs, or not of float32.
    """
    try:
        session = _session(path)
    except Exception as error:  # onnxruntime's kinds of error have no common base
        raise ExportError(f"{path.name} is no ONNX file that onnxruntime can run: {error}") from error
    sources = [(one.name, one.type, one.shape) for one in session.get_inputs()]
    if len(sources) != 1 or sources[0][1] != "tensor(float)" or not sources[0][2]:
        raise ExportError(
            f"{path.name} takes {', '.join(f'{name}: {kind}' for name, kind, _ in sources) or 'nothing'}; a "
            "network here takes one batch of float32."
        )
    return tuple(length if isinstance(length, int) else None for length in sources[0][2][1:])


def onnx_model(
    graph: IntegerGraph, *, storage: Storage = "int8", slack: float = SLACK, vnni: bool = False
) -> onnx.ModelProto:
    """The ONNX model of an integer graph; as `write_onnx`."""
    if storage not in get_args(Storage):
        known = ", ".join(get_args(Storage))
        raise ExportError(f"there is no storage '{storage}' in ONNX; use one of {known}.")
    if graph.float_ops:
        raise UnsupportedOperationError(
            f"'{graph.float_ops[0]}' stays in float, which this file cannot hold. Use the format stablehlo."
        )
    writer = Writer(graph, storage, slack, vnni)
    for op in graph.ops:
        WRITE[type(op)](writer, op)
    ends = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", *graph.tensors[name].shape])
        for name in (graph.input, graph.output)
    ]
    used = {name for node in writer.nodes for name in node.input}
    constants = [constant for constant in writer.constants if constant.name in used]
    made = helper.make_graph(writer.nodes, "mpnas", ends[:1], ends[1:], constants)
    opset = [helper.make_opsetid("", writer.opset)]
    return helper.make_model(
        made, opset_imports=opset, producer_name="mpnas", ir_version=helper.find_min_ir_version_for(opset)
    )
