"""ONNX: an integer graph as QuantizeLinear and DequantizeLinear around floats, for runtimes that fuse them.

Each code tensor is one tensor of bytes with one DequantizeLinear, so that onnxruntime fuses
`DequantizeLinear -> Conv -> QuantizeLinear` into one integer convolution. Narrower codes are carried in
a byte and clipped there, on the bytes, to their own grid. Sums are float32. What differs from the
integer executor:

- A sum holds 24 bits; ties are rounded to even, whatever the kind of rounding.
- With `storage="int8"` a bias is whole steps of the accumulator, as integer convolutions want it.

Activations are unsigned bytes always (a signed code is moved by 128), and so are kernels beyond 7 bits:
processors without VNNI instructions saturate sums of two products of unsigned with wide signed bytes.

Layout: channels first inside, channels last at both ends, as in the network.

Source: https://onnx.ai/onnx/operators/onnx__DequantizeLinear.html; for saturation
https://onnxruntime.ai/docs/performance/model-optimizations/quantization.html.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal, get_args

import ml_dtypes
import numpy as np
import onnx
import onnxruntime
from jaxtyping import Float
from onnx import TensorProto, helper, numpy_helper

from mpnas.errors import ExportError, UnsupportedOperationError
from mpnas.export.folded import Kernel, affine_of, folds, kernel_of, step_of
from mpnas.export.graph import IntegerGraph, Tensor
from mpnas.export.ops import (
    Add,
    Concat,
    Contraction,
    Dequantise,
    Op,
    Pool,
    Quantise,
    Requantise,
    Reshape,
)

Storage = Literal["int8", "packed"]
OPSET, OPSET_INT2 = 21, 25
WITHOUT_VNNI = 64  # 2 * 255 * 64 is the largest sum of two products that 16 bits hold
WIDEST = 2**31 - 1
PACKED = ((ml_dtypes.int2, 2), (ml_dtypes.int4, 4), (np.int8, 8), (np.int16, 16))


def write_onnx(graph: IntegerGraph, path: Path, *, storage: Storage = "int8") -> None:
    """Write an integer graph as an ONNX file, checked by the checker of ONNX.

    Args:
      graph: What to write.
      path: Of the file; its folder exists.
      storage: `int8` for kernels in bytes, which onnxruntime runs as integer convolutions; `packed` for each
        output channel in the narrowest of 2, 4, 8 and 16 bits that holds it, which runs in float.

    Raises:
      UnsupportedOperationError: the file cannot hold an operation; names it.
      ExportError: no such storage.
    """
    model = onnx_model(graph, storage=storage)
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
        session = onnxruntime.InferenceSession(path.read_bytes(), providers=["CPUExecutionProvider"])
        (source,) = session.get_inputs()
        x = np.asarray(x, np.float32)
        parts = [session.run(None, {source.name: x[at: at + batch]})[0] for at in range(0, len(x), batch)]
    except Exception as error:  # onnxruntime's kinds of error have no common base
        raise ExportError(f"{path.name} cannot be run by onnxruntime: {error}") from error
    return np.concatenate(parts)


def onnx_model(graph: IntegerGraph, *, storage: Storage = "int8") -> onnx.ModelProto:
    """The ONNX model of an integer graph; as `write_onnx`."""
    if storage not in get_args(Storage):
        raise ExportError(f"there is no storage '{storage}' in ONNX; use one of {', '.join(get_args(Storage))}.")
    if graph.float_ops:
        raise UnsupportedOperationError(
            f"'{graph.float_ops[0]}' stays in float, which this file cannot hold. Use the format stablehlo."
        )
    writer = _Writer(graph, storage)
    for op in graph.ops:
        WRITE[type(op)](writer, op)
    ends = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", *graph.tensors[name].shape])
        for name in (graph.input, graph.output)
    ]
    made = helper.make_graph(writer.nodes, "mpnas", ends[:1], ends[1:], writer.constants)
    opset = [helper.make_opsetid("", writer.opset)]
    return helper.make_model(
        made, opset_imports=opset, producer_name="mpnas", ir_version=helper.find_min_ir_version_for(opset)
    )


class _Writer:
    """Nodes and constants so far. A code tensor goes by its name, its reals by `real`; a sum is its reals."""

    def __init__(self, graph: IntegerGraph, storage: Storage) -> None:
        self.tensors, self.storage = graph.tensors, storage
        self.after = folds(graph)
        self.folded = {after.name for after in self.after.values()}
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []
        self.opset = OPSET
        self._reals: dict[str, str] = {}
        self._names = set(graph.tensors)

    def name(self, wish: str) -> str:
        """The wish, or with a number where it is taken."""
        number, name = 1, wish
        while name in self._names:
            number += 1
            name = f"{wish}@{number}"
        self._names.add(name)
        return name

    def node(self, kind: str, inputs: list[str], output: str, **attributes: Any) -> str:
        """Add a node; returns its output."""
        self.nodes.append(helper.make_node(kind, inputs, [output], name=f"{kind} {output}", **attributes))
        return output

    def constant(self, values: Any, dtype: Any, wish: str) -> str:
        """Add a constant; returns its name."""
        name = self.name(wish)
        if dtype is ml_dtypes.int2:
            self.opset = OPSET_INT2
        self.constants.append(numpy_helper.from_array(np.ascontiguousarray(np.asarray(values).astype(dtype)), name))
        return name

    def along(self, values: np.ndarray, tensor: Tensor) -> np.ndarray:
        """Values per channel in a shape that stands beside the reals of a tensor."""
        return values.reshape(-1, *[1] * (len(tensor.shape) - 1)) if values.size > 1 else values.reshape(())

    def affine(self, source: str, factor: np.ndarray, term: np.ndarray, tensor: Tensor, wish: str) -> str:
        """`source * factor + term` beside `tensor`, without what changes nothing."""
        for kind, values, neutral in (("Mul", factor, 1.0), ("Add", term, 0.0)):
            values = np.asarray(values).astype(np.float32)
            if np.any(values != neutral):
                number = self.constant(self.along(values, tensor), np.float32, f"{wish}/{kind.lower()}")
                source = self.node(kind, [source, number], self.name(f"{wish}/{kind}"))
        return source

    def real(self, name: str) -> str:
        """The reals of a code tensor or a sum."""
        tensor = self.tensors[name]
        if tensor.kind != "code":
            return name
        if name not in self._reals:
            made = self.node(
                "DequantizeLinear", [name, *self._grid(tensor)], self.name(f"{name}/real"), **_axis(tensor.scale)
            )
            half = tensor.scale if tensor.midrise else np.zeros(1)
            self._reals[name] = self.affine(made, np.ones(1), half, tensor, f"{name}/level")
        return self._reals[name]

    def codes(self, reals: str, tensor: Tensor, low: np.ndarray, high: np.ndarray) -> None:
        """Round reals (of a midrise tensor: half a step down) to a code tensor, and clip it to its bounds."""
        dtype, move = _stored(tensor)
        ends = np.iinfo(dtype)
        low, high = np.asarray(low) + move, np.asarray(high) + move
        if low.size > 1 or high.size > 1:
            step = step_of(tensor)
            for kind, end in (("Max", low), ("Min", high)):
                bound = step * (np.broadcast_to(end, (tensor.channels,)) - move - tensor.zero_point)
                number = self.constant(self.along(bound, tensor), np.float32, f"{tensor.name}/{kind.lower()}")
                reals = self.node(kind, [reals, number], self.name(f"{tensor.name}/{kind}"))
            low, high = np.array([ends.min]), np.array([ends.max])
        clips = bool(low[0] > ends.min or high[0] < ends.max)
        output = self.name(f"{tensor.name}/byte") if clips else tensor.name
        self.node("QuantizeLinear", [reals, *self._grid(tensor)], output, **_axis(tensor.scale))
        if clips:
            bounds = [self.constant(end[0], dtype, f"{tensor.name}/{word}")
                      for word, end in (("low", low), ("high", high))]
            self.node("Clip", [output, *bounds], tensor.name)

    def sums(self, reals: str, tensor: Tensor, low: np.ndarray, high: np.ndarray) -> None:
        """Reals as a sum, clipped where its bounds are narrower than int32."""
        step, parts = step_of(tensor), []
        for kind, end, widest in (("Max", low, -WIDEST), ("Min", high, WIDEST)):
            if np.any(np.abs(end) < WIDEST):
                parts.append((kind, step * (np.asarray(end) - tensor.zero_point)))
        if not parts:
            self.node("Identity", [reals], tensor.name)
        for k, (kind, bound) in enumerate(parts):
            number = self.constant(self.along(bound, tensor), np.float32, f"{tensor.name}/{kind.lower()}")
            output = tensor.name if k == len(parts) - 1 else self.name(f"{tensor.name}/{kind}")
            reals = self.node(kind, [reals, number], output)

    def _grid(self, tensor: Tensor) -> list[str]:
        dtype, move = _stored(tensor)
        scale = step_of(tensor)
        zero = np.full(scale.shape, tensor.zero_point + move)
        if not np.iinfo(dtype).min <= zero[0] <= np.iinfo(dtype).max:
            raise UnsupportedOperationError(
                f"tensor '{tensor.name}' has zero point {tensor.zero_point}, which its {tensor.bits} bits cannot "
                "hold; ONNX has no place for it."
            )
        shape: tuple[int, ...] = scale.shape if scale.size > 1 else ()
        return [
            self.constant(scale.reshape(shape), np.float32, f"{tensor.name}/scale"),
            self.constant(zero.reshape(shape), dtype, f"{tensor.name}/zero_point"),
        ]


def _stored(tensor: Tensor) -> tuple[Any, int]:
    """Type in which codes are held, and what is added to them for it."""
    if tensor.bits == 16:
        return (np.int16, 0) if tensor.signed else (np.uint16, 0)
    return np.uint8, 128 if tensor.signed else 0


def _axis(scale: np.ndarray) -> dict[str, int]:
    return {"axis": 1} if scale.size > 1 else {}


def _quantise(writer: _Writer, op: Quantise) -> None:
    out, source = writer.tensors[op.output], op.input
    if (rank := len(out.shape)) > 1:
        order = [0, rank, *range(1, rank)]
        source = writer.node("Transpose", [source], writer.name(f"{op.name}/first"), perm=order)
    half = -out.scale if out.midrise else np.zeros(1)
    reals = writer.affine(source, np.ones(1), half, out, op.name)
    low, high = out.code_range
    bounds = (low if op.low is None else op.low, high if op.high is None else op.high)
    writer.codes(reals, out, *(np.array([end]) for end in bounds))


def _contraction(writer: _Writer, op: Contraction) -> None:
    source, after = writer.tensors[op.input], writer.after.get(op.name)
    target = writer.tensors[op.output if after is None else after.output]
    if source.scale.size > 1:
        raise UnsupportedOperationError(
            f"contraction '{op.name}' reads '{source.name}', whose scale differs by channel; no kernel of ONNX "
            "has steps along its inputs."
        )
    kernel = kernel_of(op, source, target, after)
    weights, step = _bytes(writer, op, kernel) if writer.storage == "int8" else _packed(writer, op, kernel)
    bias = _bias(writer, op, kernel, None if step is None else step * source.scale)
    inputs, reals = [writer.real(op.input), weights, bias], writer.name(f"{op.name}/product")
    rank = len(source.shape)
    if rank == 1:
        writer.node("Gemm", inputs, reals, transB=1)
    else:
        spatial = rank - 1
        pads = op.padding or ((0, 0),) * spatial
        writer.node(
            "Conv", inputs, reals, strides=list(op.strides or (1,) * spatial),
            dilations=list(op.dilation or (1,) * spatial), group=op.groups if op.strides else 1,
            kernel_shape=list(kernel.codes.shape[2:] or (1,) * spatial),
            pads=[pad[0] for pad in pads] + [pad[1] for pad in pads],
        )
    if after is None:
        writer.sums(reals, target, np.array([-WIDEST]), np.array([WIDEST]))
    else:
        _finished(writer, reals, target, after)


def _finished(writer: _Writer, reals: str, target: Tensor, op: Requantise) -> None:
    """What a requantisation does after its affine part."""
    done = writer.codes if target.kind == "code" else writer.sums
    if target.kind == "code" and op.zero_out != target.zero_point:
        shift = step_of(target) * (op.zero_out - target.zero_point)
        reals = writer.affine(reals, np.ones(1), shift, target, f"{op.name}/moved")
    done(reals, target, op.low, op.high)


def _shaped(kernel: Kernel, op: Contraction, rank: int) -> np.ndarray:
    """A matrix that is read as a convolution of one place gets a window."""
    return kernel.codes if op.strides or rank == 1 else kernel.codes.reshape(*kernel.codes.shape, *[1] * (rank - 1))


def _bytes(writer: _Writer, op: Contraction, kernel: Kernel) -> tuple[str, np.ndarray]:
    """The kernel in one type that integer convolutions take, else in 16 bits; its name and its steps."""
    whole = kernel.half != 0
    column = (-1, *[1] * (kernel.codes.ndim - 1))
    levels = np.where(whole.reshape(column), 2 * kernel.codes + 1, kernel.codes)
    step = np.where(whole, kernel.step / 2, kernel.step)
    turned = np.where(step < 0, -1, 1)  # a step is positive in most runtimes
    levels, step = levels * turned.reshape(column), np.abs(step)
    reach = int(np.abs(levels).max(initial=0))
    dtype, zero = (np.int8, 0) if reach <= WITHOUT_VNNI else (np.uint8, 128) if reach <= 127 else (np.int16, 0)
    if dtype is np.int16 and levels.min() >= -128 and levels.max() <= 127:
        dtype, zero = np.uint8, 128
    elif dtype is np.int16 and levels.min() >= -127 and levels.max() <= 128:
        dtype, zero = np.uint8, 127
    shaped = _shaped(Kernel(levels, step, kernel.half, kernel.bias), op, len(writer.tensors[op.input].shape))
    return _dequantised(writer, op, shaped, step, dtype, zero, op.name), step


def _dequantised(
    writer: _Writer, op: Contraction, codes: np.ndarray, step: np.ndarray, dtype: Any, zero: int, wish: str
) -> str:
    """Reals of a kernel stored in a type."""
    inputs = [
        writer.constant(codes + zero, dtype, f"{wish}/kernel"), writer.constant(step, np.float32, f"{wish}/step"),
        writer.constant(np.full(step.shape, zero), dtype, f"{wish}/kernel_zero_point"),
    ]
    return writer.node("DequantizeLinear", inputs, writer.name(f"{wish}/kernel_real"), axis=0)


def _packed(writer: _Writer, op: Contraction, kernel: Kernel) -> tuple[str, None]:
    """The kernel with each output channel in the narrowest type that holds it, put together again.

    It is stored in another shape than it is used in: onnxruntime 1.31 would fuse two bits into integer
    convolutions and blocked products that have no place for them, and fail or compute something else.
    """
    shaped = _shaped(kernel, op, len(writer.tensors[op.input].shape))
    flat = shaped.reshape(len(shaped), -1, *[1] * (shaped.ndim == 2))
    ends = [end(shaped.reshape(len(shaped), -1), axis=1) for end in (np.min, np.max)]
    fits = [(ends[0] >= -(2 ** (bits - 1))) & (ends[1] < 2 ** (bits - 1)) for _, bits in PACKED]
    narrowest = np.argmax(np.stack(fits), axis=0)
    parts, order = [], []
    for number in np.unique(narrowest):
        dtype, bits = PACKED[number]
        mine = np.flatnonzero(narrowest == number)
        parts.append(
            _dequantised(writer, op, flat[mine], kernel.step[mine], dtype, 0, f"{op.name}/{bits}_bits")
        )
        order.append(mine)
    together = parts[0]
    if len(parts) > 1:
        together = writer.node("Concat", parts, writer.name(f"{op.name}/kernel_sorted"), axis=0)
    places = np.argsort(np.concatenate(order))
    if np.any(np.diff(places) < 0):
        index = writer.constant(places, np.int64, f"{op.name}/order")
        together = writer.node("Gather", [together, index], writer.name(f"{op.name}/kernel_ordered"), axis=0)
    shape = writer.constant(shaped.shape, np.int64, f"{op.name}/kernel_shape")
    together = writer.node("Reshape", [together, shape], writer.name(f"{op.name}/kernel_shaped"))
    if np.any(kernel.half):
        column = (-1, *[1] * (shaped.ndim - 1))
        half = writer.constant((kernel.half * kernel.step).reshape(column), np.float32, f"{op.name}/half")
        together = writer.node("Add", [together, half], writer.name(f"{op.name}/kernel_levels"))
    return together, None


def _bias(writer: _Writer, op: Contraction, kernel: Kernel, step: np.ndarray | None) -> str:
    """The bias in whole steps of the accumulator, or in float32 without steps or where int32 is too short."""
    if step is not None:
        whole = np.rint(kernel.bias / step)
        if np.all(np.abs(whole) <= WIDEST):
            inputs = [
                writer.constant(whole, np.int32, f"{op.name}/bias"),
                writer.constant(step, np.float32, f"{op.name}/bias_step"),
                writer.constant(np.zeros(step.shape), np.int32, f"{op.name}/bias_zero_point"),
            ]
            return writer.node("DequantizeLinear", inputs, writer.name(f"{op.name}/bias_real"), axis=0)
    return writer.constant(kernel.bias, np.float32, f"{op.name}/bias")


def _requantise(writer: _Writer, op: Requantise) -> None:
    if op.name in writer.folded:
        return
    source, target, affine = writer.tensors[op.input], writer.tensors[op.output], affine_of(op)
    step = step_of(target)
    term = affine.factor * source.zero_point + affine.term
    if target.kind == "sum":
        term = term + op.zero_out - target.zero_point
    reals = writer.affine(
        writer.real(op.input), affine.factor * step / source.scale, term * step, target, op.name
    )
    _finished(writer, reals, target, op)


def _add(writer: _Writer, op: Add) -> None:
    source, out = writer.tensors[op.inputs[0]], writer.tensors[op.output]
    reals = op.inputs[0]
    for k, name in enumerate(op.inputs[1:], start=2):
        reals = writer.node("Add", [reals, name], writer.name(f"{op.output}/of{k}"))
    _rescaled(writer, reals, source.scale, out, np.full(1, -out.zero_point))


def _rescaled(writer: _Writer, reals: str, scale: np.ndarray, out: Tensor, steps: np.ndarray) -> None:
    """Reals of integers with another scale as the sum `out`, and some of its steps more."""
    made = writer.affine(reals, out.scale / scale, steps * out.scale, out, out.name)
    writer.node("Identity", [made], out.name)


def _concat(writer: _Writer, op: Concat) -> None:
    writer.node("Concat", list(op.inputs), op.output, axis=1)


def _pool(writer: _Writer, op: Pool) -> None:
    source, out = writer.tensors[op.input], writer.tensors[op.output]
    if any(max(pad) >= size for pad, size in zip(op.padding, op.window, strict=True)):
        raise UnsupportedOperationError(
            f"pool '{op.name}' pads by {op.padding} around windows of {op.window}; ONNX needs less padding than "
            "window, or some windows would hold nothing."
        )
    options: dict[str, Any] = dict(
        kernel_shape=list(op.window), strides=list(op.strides),
        pads=[pad[0] for pad in op.padding] + [pad[1] for pad in op.padding],
    )
    if op.kind == "max" and source.kind == "code" and source.bits <= 8 or op.kind == "max" and source.kind == "sum":
        writer.node("MaxPool", [op.input], op.output, **options)
    elif op.kind == "max":
        reals = writer.node("MaxPool", [writer.real(op.input)], writer.name(f"{op.name}/largest"), **options)
        reals = writer.affine(reals, np.ones(1), -out.scale if out.midrise else np.zeros(1), out, op.name)
        writer.codes(reals, out, *(np.array([end]) for end in out.code_range))
    else:
        size = int(np.prod(op.window))
        mean = writer.node(
            "AveragePool", [writer.real(op.input)], writer.name(f"{op.name}/mean"), count_include_pad=1, **options
        )
        steps = np.full(1, size * source.zero_point - out.zero_point)
        _rescaled(writer, mean, source.scale / size, out, steps)


def _reshape(writer: _Writer, op: Reshape) -> None:
    source, out, reals = writer.tensors[op.input], writer.tensors[op.output], op.input
    moved = source.kind != "real"
    if moved and len(source.shape) > 1 and max(source.shape[:-1]) > 1:
        reals = writer.node(
            "Transpose", [reals], writer.name(f"{op.name}/last"), perm=[0, *range(2, len(source.shape) + 1), 1]
        )
    turns = moved and len(out.shape) > 1
    shape = writer.constant([-1, *out.shape], np.int64, f"{op.name}/shape")
    reals = writer.node("Reshape", [reals, shape], writer.name(f"{op.name}/rows") if turns else op.output)
    if turns:
        rank = len(out.shape)
        writer.node("Transpose", [reals], op.output, perm=[0, rank, *range(1, rank)])


def _dequantise(writer: _Writer, op: Dequantise) -> None:
    reals, rank = writer.real(op.input), len(writer.tensors[op.input].shape)
    if rank > 1:
        writer.node("Transpose", [reals], op.output, perm=[0, *range(2, rank + 1), 1])
    else:
        writer.node("Identity", [reals], op.output)


WRITE: Mapping[type[Op], Callable[[_Writer, Any], None]] = {
    Quantise: _quantise,
    Contraction: _contraction,
    Requantise: _requantise,
    Add: _add,
    Concat: _concat,
    Pool: _pool,
    Reshape: _reshape,
    Dequantise: _dequantise,
}
"""What each operation becomes: `(writer, op)` adds its nodes."""
