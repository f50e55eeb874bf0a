"""The writer: nodes and constants of an ONNX graph, one after the other."""

from typing import Any, Literal

import ml_dtypes
import numpy as np
import onnx
from onnx import helper, numpy_helper

from mpnas.errors import UnsupportedOperationError
from mpnas.export.folded import folds, step_of
from mpnas.export.graph import IntegerGraph, Tensor
from mpnas.export.ops import Requantise

Storage = Literal["int8", "packed"]
OPSET, OPSET_INT2 = 21, 25
SLACK = 2.0**-10
WIDEST = 2**31 - 1


class Writer:
    """Nodes and constants so far. A code tensor goes by its name, its reals by `real`; a sum is its reals."""

    def __init__(self, graph: IntegerGraph, storage: Storage, slack: float, vnni: bool) -> None:
        self.tensors, self.storage, self.slack, self.vnni = graph.tensors, storage, slack, vnni
        self.after = folds(graph)
        self.folded = {after.name for after in self.after.values()}
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []
        self.opset = OPSET
        self._reals: dict[str, str] = {}
        self._whole: dict[str, str] = {}
        self._numbers: dict[int, str] = {}
        self._grids: dict[str, list[str]] = {}
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
        array = np.array(np.asarray(values).astype(dtype), order="C")  # ascontiguousarray makes scalars rows
        self.constants.append(numpy_helper.from_array(array, name))
        return name

    def number(self, value: int) -> str:
        """A whole number in float32, which stands once in the file."""
        if value not in self._numbers:
            self._numbers[value] = self.constant(value, np.float32, f"number/{value}")
        return self._numbers[value]

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
                "DequantizeLinear", [name, *self.grid(tensor)], self.name(f"{name}/real"),
                **_axis(tensor.scale),
            )
            half = tensor.scale if tensor.midrise else np.zeros(1)
            self._reals[name] = self.affine(made, np.ones(1), half, tensor, f"{name}/level")
        return self._reals[name]

    def whole(self, name: str) -> str:
        """A code tensor less its zero point, in float32."""
        if name not in self._whole:
            zero = self.grid(self.tensors[name])[1]
            inputs = [name, self.number(1), zero]
            self._whole[name] = self.node("DequantizeLinear", inputs, self.name(f"{name}/whole"))
        return self._whole[name]

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
        self.node("QuantizeLinear", [reals, *self.grid(tensor)], output, **_axis(tensor.scale))
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

    def grid(self, tensor: Tensor) -> list[str]:
        """Constants of the step and the zero point of a code tensor."""
        if tensor.name not in self._grids:
            self._grids[tensor.name] = self._made_grid(tensor)
        return self._grids[tensor.name]

    def _made_grid(self, tensor: Tensor) -> list[str]:
        dtype, move = _stored(tensor)
        scale = step_of(tensor)
        zero = np.full(scale.shape, tensor.zero_point + move)
        if not np.iinfo(dtype).min <= zero[0] <= np.iinfo(dtype).max:
            raise UnsupportedOperationError(
                f"tensor '{tensor.name}' has zero point {tensor.zero_point}, which its {tensor.bits} bits "
                "cannot hold; ONNX has no place for it."
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


def finish(writer: Writer, reals: str, target: Tensor, op: Requantise) -> None:
    """What a requantisation does after its affine part."""
    done = writer.codes if target.kind == "code" else writer.sums
    if target.kind == "code" and op.zero_out != target.zero_point:
        shift = step_of(target) * (op.zero_out - target.zero_point)
        reals = writer.affine(reals, np.ones(1), shift, target, f"{op.name}/moved")
    done(reals, target, op.low, op.high)
