"""MLPerf Tiny's int8 ResNet-8, as its TFLite file has it, as an integer graph.

The convolutions of TFLite's reference implementation round twice; an addition shifts both sides
left by 20 bits, brings them to twice the larger scale, adds, and rescales (`add.h`); an average rounds
halves away from zero on the codes as they are (`pooling.h`).
"""

import dataclasses
import json

import numpy as np

from mpnas.export import (
    Add,
    Contraction,
    Dequantise,
    IntegerGraph,
    Pool,
    Quantise,
    Requantise,
    Reshape,
    Tensor,
)
from mpnas.export.rounding import fixed_point

LEFT_SHIFT = 20


class Importer:
    """Collects the operations of the archive's graph up to its softmax, which keeps the order of logits."""

    def __init__(self, path):
        with np.load(path, allow_pickle=False) as archive:
            prefix = "resnet8_int8/"
            self.arrays = {name[len(prefix):]: archive[name] for name in archive if name.startswith(prefix)}
        described = json.loads(self.arrays["graph_json"].tobytes().decode())
        self.given = described["tensors"]
        self.tensors = {"input": Tensor("input", (32, 32, 3), "real")}
        self.ops = []
        self.add_tensor(0)
        self.ops.append(Quantise("quantise", "input", "t00"))
        for number, op in enumerate(described["ops"]):
            if op["op"] != "softmax":
                getattr(self, op["op"])(f"op{number:02d}", op)
        last = self.ops[-1].output
        self.tensors["output"] = Tensor("output", (10,), "real")
        self.ops.append(Dequantise("dequantise", last, "output"))

    def graph(self):
        return IntegerGraph("input", "output", self.tensors, tuple(self.ops))

    def add_tensor(self, index):
        given = self.given[index]
        made = Tensor(
            f"t{index:02d}", tuple(given["shape"][1:]), "code", 8, scale=np.array([given["scale"]]),
            zero_point=given["zero_point"],
        )
        self.tensors[made.name] = made
        return made

    def scale(self, index):
        given = self.given[index]["scale"]
        if given == "array":
            return self.arrays[f"t{index:02d}/scale"].astype(np.float64)
        return np.array([given])

    def sum(self, name, shape, scale):
        self.tensors[name] = Tensor(name, shape, "sum", scale=scale)
        return name

    def rescale(self, name, source, out, factors, activation="none", **options):
        """gemmlowp's requantisation into an int8 tensor or a sum."""
        pairs = [fixed_point(float(factor)) for factor in factors]
        multiplier, shift = (np.array(row, np.int64) for row in zip(*pairs, strict=True))
        low, high = out.range
        low = out.zero_point if activation == "relu" else low
        self.ops.append(Requantise(
            name, source, out.name, multiplier, shift, offset=np.zeros(1, np.int64), low=np.array([low]),
            high=np.array([high]), rounding="double_round", zero_out=out.zero_point, **options,
        ))

    def contraction(self, name, op, kernel, **geometry):
        source, weights, bias = op["inputs"]
        out = self.add_tensor(op["outputs"][0])
        channels = kernel.shape[-1]
        scale = self.scale(source) * self.scale(weights)
        total = self.sum(f"{name}/sum", out.shape, scale)
        self.ops.append(Contraction(
            name, f"t{source:02d}", total, name, kernel.astype(np.int32), np.full(channels, 8),
            np.zeros(channels, np.int64), np.zeros(channels, bool), self.arrays[f"t{bias:02d}/data"],
            **geometry,
        ))
        self.rescale(f"{name}/requantise", total, out, scale / out.scale, op["activation"])

    def conv_2d(self, name, op):
        kernel = self.arrays[f"t{op['inputs'][1]:02d}/data"].transpose(1, 2, 3, 0)  # OHWI -> HWIO
        source, out = (self.given[op[side][0]]["shape"][1:3] for side in ("inputs", "outputs"))
        strides = (op["StrideH"], op["StrideW"])
        padding = tuple(map(same, source, out, kernel.shape[:2], strides))
        self.contraction(name, op, kernel, strides=strides, padding=padding, dilation=(1, 1))

    def fully_connected(self, name, op):
        """The stored outputs were made by a kernel that rounds this layer once."""
        self.contraction(name, op, self.arrays[f"t{op['inputs'][1]:02d}/data"].T)
        last = self.ops[-1]
        self.ops[-1] = dataclasses.replace(last, rounding="dyadic_half_up", shift=last.shift + 31)

    def add(self, name, op):
        sides, out = op["inputs"], self.add_tensor(op["outputs"][0])
        scales = [float(self.scale(side)[0]) for side in sides]
        twice = 2 * max(scales)
        fine = np.array([twice / 2**LEFT_SHIFT])
        names = []
        for side, scale in zip(sides, scales, strict=True):
            rescaled = self.sum(f"{name}/t{side}", out.shape, fine)
            names.append(rescaled)
            self.rescale(
                f"{name}/rescale{side}", f"t{side:02d}", self.tensors[rescaled], [scale / twice],
                left_shift=LEFT_SHIFT, zero_in=self.given[side]["zero_point"],
            )
        total = self.sum(f"{name}/sum", out.shape, fine)
        self.ops.append(Add(f"{name}/add", tuple(names), total))
        self.rescale(f"{name}/requantise", total, out, [fine[0] / out.scale[0]], op["activation"])

    def average_pool_2d(self, name, op):
        source, out = self.tensors[f"t{op['inputs'][0]:02d}"], self.add_tensor(op["outputs"][0])
        window = (op["FilterHeight"], op["FilterWidth"])
        total = self.sum(f"{name}/sum", out.shape, source.scale / 64)
        self.ops.append(Pool(f"{name}/pool", source.name, total, "sum", window, window, ((0, 0),) * 2))
        one, none = np.ones(1, np.int64), np.zeros(1, np.int64)
        self.ops.append(Requantise(
            f"{name}/divide", total, out.name, one, 6 * one, none, -128 * one, 127 * one, rounding="shift",
        ))

    def reshape(self, name, op):
        self.ops.append(Reshape(name, f"t{op['inputs'][0]:02d}", self.add_tensor(op["outputs"][0]).name))


def same(size, places, window, stride):
    """TFLite's SAME padding: what is missing, the larger half behind."""
    missing = max((places - 1) * stride + window - size, 0)
    return missing // 2, missing - missing // 2
