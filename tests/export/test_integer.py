"""Tests of mpnas/export/integer.py: hand counts, and sums over loops."""

import itertools

import numpy as np
from random_graphs import Drawn

from mpnas.export import Contraction, Dequantise, IntegerGraph, Pool, Quantise, Requantise, Tensor, integer


def rows(*values):
    return np.array(values, np.int64)


def test_a_dense_layer_by_hand():
    """x = (1, -2) in steps of 0.5: codes 2, -4.

    Sums are 2 * 3 - 4 * 1 + 10 = 12 and 2 * (-8) - 4 * 7 = -44; a quarter of them 3, and -11, clipped to -8.
    """
    tensors = [
        Tensor("x", (2,), "real"), Tensor("q", (2,), "code", 4, scale=np.array([0.5])),
        Tensor("s", (2,), "sum"), Tensor("r", (2,), "code", 4, scale=np.array([0.25])),
        Tensor("y", (2,), "real"),
    ]
    layer = Contraction(
        "a", "q", "s", "a", np.array([[3, -8], [1, 7]], np.int32), rows(3, 4), rows(0, 0), np.zeros(2, bool),
        rows(10, 0),
    )
    rescale = Requantise("r/op", "s", "r", rows(1), rows(2), rows(0), rows(-8), rows(7), rounding="shift")
    graph = IntegerGraph(
        "x", "y", {t.name: t for t in tensors},
        (Quantise("q/op", "x", "q"), layer, rescale, Dequantise("y/op", "r", "y")),
    )
    values = integer.every_tensor(graph, np.array([[1.0, -2.0]], np.float32))
    assert values["q"].tolist() == [[2, -4]] and values["s"].tolist() == [[12, -44]]
    assert values["r"].tolist() == [[3, -8]] and values["y"].tolist() == [[0.75, -2.0]]
    np.testing.assert_array_equal(integer.execute(graph, np.array([[1.0, -2.0]])), values["y"])


def test_quantisation_clips_rounds_to_even_and_knows_zero_points_and_odd_levels():
    for tensor, x, expected in [
        (Tensor("q", (4,), "code", 2), [0.5, 1.5, -0.5, -9], [0, 1, 0, -2]),
        (Tensor("q", (4,), "code", 3, False, zero_point=2), [0.5, 1.5, -9, 9], [2, 4, 0, 7]),
        (Tensor("q", (4,), "code", 1, midrise=True), [0.1, 3, -0.1, -3], [1, 1, -1, -1]),
    ]:
        named = {"x": Tensor("x", (4,), "real"), "q": tensor}
        graph = IntegerGraph("x", "q", named, (Quantise("o", "x", "q"),))
        assert integer.execute(graph, np.array([x])).tolist() == [expected]
    named = {"x": Tensor("x", (2,), "real"), "q": Tensor("q", (2,), "code", 4)}
    graph = IntegerGraph("x", "q", named, (Quantise("o", "x", "q", low=-1, high=0),))
    assert integer.execute(graph, np.array([[-5.0, 5.0]])).tolist() == [[-1, 0]]


def looped(op, x, zero):
    """A convolution of one image by loops over places, taps and channels."""
    height, width, inner, out = op.codes.shape
    (top, bottom), (left, right) = op.padding
    padded = np.full((x.shape[0] + top + bottom, x.shape[1] + left + right, x.shape[2]), zero)
    padded[top:top + x.shape[0], left:left + x.shape[1]] = x
    rows_out = (padded.shape[0] - (height - 1) * op.dilation[0] - 1) // op.strides[0] + 1
    columns_out = (padded.shape[1] - (width - 1) * op.dilation[1] - 1) // op.strides[1] + 1
    result = np.zeros((rows_out, columns_out, out), int)
    for i, j, o in itertools.product(range(rows_out), range(columns_out), range(out)):
        group = o // (out // op.groups)
        total = int(op.bias[o])
        for a, b, c in itertools.product(range(height), range(width), range(inner)):
            code = int(op.codes[a, b, c, o])
            level = 2 * code + 1 if op.midrise[o] else code - int(op.zero_point[o])
            place = padded[i * op.strides[0] + a * op.dilation[0], j * op.strides[1] + b * op.dilation[1]]
            total += level * (int(place[group * inner + c]) - zero)
        result[i, j, o] = total
    return result


def test_convolutions_of_every_geometry_are_loops_of_products():
    geometries = [(1, 1, 1), (1, 2, 1), (2, 1, 1), (4, 2, 1), (1, 1, 2)]
    for seed, (groups, stride, dilation) in enumerate(geometries):
        drawn = Drawn(seed)
        drawn.now = drawn.code((6, 5, 4))
        drawn.ops[:] = [Quantise("quantise", "x", drawn.now.name)]
        drawn.tensors["x"] = Tensor("x", (6, 5, 4), "real")
        source = drawn.now
        drawn.contraction(groups, stride, (3, 2), dilation)
        graph = drawn.graph()
        x = np.random.default_rng(seed).normal(size=(2, 6, 5, 4))
        values = integer.every_tensor(graph, x)
        for q, found in zip(values[source.name], values[graph.ops[1].output], strict=True):
            np.testing.assert_array_equal(found, looped(graph.ops[1], q, source.zero_point))


def test_windows_by_hand():
    """1 to 9 in a square: sums of 2x2 are 12 16 24 28; with a place before, the largest of 2, 3 is 3."""
    tensors = [
        Tensor("x", (3, 3, 1), "real"), Tensor("q", (3, 3, 1), "code", 8, False, zero_point=0),
        Tensor("s", (2, 2, 1), "sum"), Tensor("m", (2, 2, 1), "code", 8, False),
    ]
    named = {t.name: t for t in tensors}
    start = Quantise("q/op", "x", "q")
    x = np.arange(1.0, 10.0).reshape(1, 3, 3, 1)
    total = Pool("s/op", "q", "s", "sum", (2, 2), (1, 1), ((0, 0), (0, 0)))
    graph = IntegerGraph("x", "s", named, (start, total))
    assert integer.execute(graph, x).ravel().tolist() == [12, 16, 24, 28]
    largest = Pool("m/op", "q", "m", "max", (2, 2), (2, 2), ((1, 0), (1, 0)))
    graph = IntegerGraph("x", "m", named, (start, largest))
    assert integer.execute(graph, x).ravel().tolist() == [1, 3, 7, 9]
