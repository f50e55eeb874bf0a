"""Tests of mpnas/export/onnx_qdq."""

import dataclasses

import jax
import lowered_nets
import numpy as np
import onnx
import pytest
from onnx import numpy_helper
from random_graphs import random_graph
from shipped_nets import calibrated, depthwise_net, images, outputs, random_assignment, residual_net

from mpnas.errors import ExportError, UnsupportedOperationError
from mpnas.export import (
    Add,
    Concat,
    Contraction,
    Dequantise,
    IntegerGraph,
    Multiply,
    Pool,
    Quantise,
    Requantise,
    Reshape,
    Table,
    Tensor,
)
from mpnas.export.integer import every_tensor, execute
from mpnas.export.lower import lower
from mpnas.export.onnx_qdq import onnx_model, run_onnx, write_onnx
from mpnas.export.parity import parity_of
from mpnas.space import Rule
from mpnas.supernet import discretize

STORAGES = ("int8", "packed")
HALF = 2.0**-1


def ints(*values):
    return np.array(values, np.int64)


def code(name, shape, bits=8, **about):
    return Tensor(name, shape, "code", bits, **({"scale": np.array([HALF])} | about))


def total(name, shape, scale=1.0):
    return Tensor(name, shape, "sum", scale=np.array([scale]))


def real(name, shape):
    return Tensor(name, shape, "real")


def requantise(name, source, target, factor, bounds, *, term=0.0, zero=0):
    """`clip(round(q * factor + term) + zero)`, with numbers that 2^-20 divides."""
    factors, terms = np.atleast_1d(factor), np.atleast_1d(term)
    return Requantise(
        name, source, target, (factors * 2**20).astype(np.int64), ints(20), (terms * 2**20).astype(np.int64),
        ints(bounds[0]), ints(bounds[1]), zero_out=zero,
    )


def contraction(codes, bits, bias, *, midrise=None, zero=None, **geometry):
    out = codes.shape[-1]
    return Contraction(
        "layer", "x_q", "layer_sum", "layer", codes.astype(np.int32), np.broadcast_to(bits, (out,)),
        np.zeros(out, np.int64) if zero is None else zero,
        np.zeros(out, bool) if midrise is None else midrise, np.asarray(bias), **geometry,
    )


def layer_graph(op, shape, out_shape, *, source=None, target=None, factor=HALF / 16, term=0.0, bounds=None):
    """One layer between two tensors of codes, all steps powers of two: float32 computes it exactly."""
    source = source or code("x_q", shape)
    target = target or code("y_q", out_shape, 8, signed=False)
    made = (real("x", shape), source, total("layer_sum", out_shape), target, real("y", out_shape))
    ops = (
        Quantise("quantise", "x", "x_q"), op,
        requantise("next", "layer_sum", "y_q", factor, bounds or target.code_range, term=term,
                   zero=target.zero_point),
        Dequantise("dequantise", "y_q", "y"),
    )
    return IntegerGraph("x", "y", {t.name: t for t in made}, ops)


def inputs(graph, rows=50, seed=0):
    return np.random.default_rng(seed).normal(size=(rows, *graph.tensors["x"].shape)).astype(np.float32) * 9


def agree(graph, tmp_path, storage, **options):
    """That onnxruntime gives the executor's numbers, which are not constant."""
    path, x = tmp_path / "net.onnx", inputs(graph)
    write_onnx(graph, path, storage=storage, **options)
    expected = execute(graph, x)
    assert np.std(expected) > 0.1, "a lost permutation would hide in a constant output"
    np.testing.assert_array_equal(run_onnx(path, x), expected)


def drawn(shape, bits, seed=1):
    draw, bits = np.random.default_rng(seed), np.broadcast_to(bits, shape[-1:])
    return draw.integers(-(2 ** (bits - 1)), 2 ** (bits - 1), shape)


SQUARE = dict(strides=(1, 1), padding=((1, 1), (0, 1)), dilation=(1, 1))
WIDTHS = ints(8, 2, 4, 1, 3, 8)
LAYERS = {
    "convolution": (drawn((3, 3, 2, 6), WIDTHS), SQUARE, (5, 5, 2), (5, 4, 6)),
    "stride_and_dilation": (
        drawn((2, 2, 2, 6), WIDTHS), dict(strides=(2, 1), padding=((0, 1), (0, 0)), dilation=(2, 1)),
        (5, 5, 2), (2, 4, 6),
    ),
    "depthwise": (drawn((3, 3, 1, 6), WIDTHS), SQUARE | {"groups": 6}, (5, 5, 6), (5, 4, 6)),
    "grouped": (drawn((3, 3, 2, 6), WIDTHS), SQUARE | {"groups": 2}, (5, 5, 4), (5, 4, 6)),
    "dense": (drawn((7, 6), WIDTHS), {}, (7,), (6,)),
    "dense_over_places": (drawn((7, 6), WIDTHS), {}, (3, 7), (3, 6)),
    "line": (drawn((3, 2, 6), WIDTHS), dict(strides=(1,), padding=((1, 1),), dilation=(1,)), (5, 2), (5, 6)),
}


@pytest.mark.parametrize("storage", STORAGES)
@pytest.mark.parametrize("kind", LAYERS)
def test_every_kind_of_layer_equals_the_executor_with_unsorted_bits_per_channel(kind, storage, tmp_path):
    codes, geometry, shape, out_shape = LAYERS[kind]
    op = contraction(codes, WIDTHS, ints(5, -70, 900, 3, 0, -41), **geometry)
    agree(layer_graph(op, shape, out_shape, source=code("x_q", shape, zero_point=3)), tmp_path, storage)


@pytest.mark.parametrize("slack", [0.0, 0.5], ids=["integers", "fused"])
@pytest.mark.parametrize("storage", STORAGES)
@pytest.mark.parametrize("case", ["midrise", "zero_points", "negative_factors", "clipped", "midrise_codes"])
def test_every_grid_equals_the_executor(case, storage, slack, tmp_path):
    codes, geometry, shape, out_shape = LAYERS["convolution"]
    layer, about = {}, {}
    if case == "midrise":
        layer["midrise"] = np.array([0, 1, 1, 1, 0, 1], bool)
    elif case == "zero_points":
        layer["zero"] = ints(-3, 1, 2, -1, 0, 100)
    elif case == "negative_factors":
        about = dict(factor=np.array([1, -1, 0.5, -2, 0, 1]) / 32, term=np.array([1, 2, 3.0, -4, 25, 0]))
    elif case == "clipped":
        about = dict(target=code("y_q", out_shape, 5, zero_point=-4), bounds=(-4, 11))
    else:
        about = dict(
            source=code("x_q", shape, 3, midrise=True), target=code("y_q", out_shape, 2, midrise=True),
            term=-0.5,
        )
    op = contraction(codes, WIDTHS, ints(5, -70, 900, 3, 0, -41) * 2, **geometry, **layer)
    agree(layer_graph(op, shape, out_shape, **about), tmp_path, storage, slack=slack)


def block_graph(scale=2.0**-12):
    """Two branches of a layer, added, pooled both ways, side by side, flattened: no ReLU hides a sign."""
    codes, geometry, shape, out_shape = LAYERS["convolution"]
    small = (2, 2, 6)
    made = [
        real("x", shape), code("x_q", shape), total("layer_sum", out_shape),
        total("a", out_shape, scale), total("b", out_shape, scale), total("sum", out_shape, scale),
        code("s_q", out_shape, 6), code("largest", small, 6), total("pooled", small, scale),
        code("mean", small, 6), code("both", (2, 2, 12), 6), code("flat", (48,), 6), real("y", (48,)),
    ]
    window = dict(window=(2, 2), strides=(2, 2), padding=((0, 0), (0, 0)))
    full = (-(2**31) + 1, 2**31 - 1)
    ops = (
        Quantise("quantise", "x", "x_q"), contraction(codes, WIDTHS, ints(1, 2, 3, 4, 5, 6), **geometry),
        requantise("r1", "layer_sum", "a", 4.0, full),
        requantise("r2", "layer_sum", "b", -16.0, (-60000, 90000)),
        Add("add", ("a", "b"), "sum"), requantise("r3", "sum", "s_q", 2.0**-9, (-32, 31), term=0.25),
        Pool("max", "s_q", "largest", "max", (2, 2), (2, 2), ((0, 0), (0, 0))),
        Pool("mean_pool", "sum", "pooled", "sum", **window),
        requantise("r4", "pooled", "mean", 2.0**-11, (-32, 31)),
        Concat("concat", ("largest", "mean"), "both"),
        Reshape("flatten", "both", "flat"), Dequantise("dequantise", "flat", "y"),
    )
    return IntegerGraph("x", "y", {t.name: t for t in made}, ops)


@pytest.mark.parametrize("storage", STORAGES)
def test_sums_pools_concatenations_and_reshapes_equal_the_executor(storage, tmp_path):
    agree(block_graph(), tmp_path, storage)


def gate_graph():
    """A layer times a table of its mean, one channel of another table, and itself: all of it below 2^24.

    The lines of a table rise by whole numbers a step, and no product is rounded: float32 sums are not.
    """
    codes, geometry, shape, out_shape = LAYERS["convolution"]
    made = [
        real("x", shape), code("x_q", shape, 4), total("layer_sum", out_shape, HALF),
        total("a", out_shape, HALF), total("pooled", (1, 1, 6), 1.0), total("gate", (1, 1, 6), HALF),
        total("place", (5, 4, 1), 1.0), total("curve", (5, 4, 1), 0.25), total("ag", out_shape, HALF**2),
        total("agc", out_shape, HALF**4), total("square", out_shape, 2.0),
        code("one_q", out_shape), code("agc_q", out_shape), code("square_q", out_shape),
        code("both", (5, 4, 12)), real("y", (5, 4, 12)),
    ]
    none = np.zeros(1, np.int64)
    place = Contraction(
        "place_op", "one_q", "place", "place", drawn((6, 1), 4).astype(np.int32), ints(4), none,
        none.astype(bool), none,
    )
    ops = (
        Quantise("quantise", "x", "x_q"), contraction(codes, WIDTHS, ints(1, 2, 3, 4, 5, 6), **geometry),
        requantise("r1", "layer_sum", "a", 1.0, (-40, 63)),
        Pool("mean", "a", "pooled", "sum", (5, 4), (5, 4), ((0, 0), (0, 0))),
        Table("gate_of", "pooled", "gate", ints(-9, 23, -41, -9, 64 - 9, 55, -41), -500, 5),
        requantise("r2", "a", "one_q", 1.0, (-128, 127)), place,
        Table("curve_of", "place", "curve", ints(1, 5, -7, 9), -7, 2),
        Multiply("m1", ("gate", "a"), "ag"), Multiply("m2", ("ag", "curve"), "agc"),
        Multiply("m3", ("a", "a"), "square"), requantise("r3", "agc", "agc_q", 2.0**-7, (-128, 127)),
        requantise("r4", "square", "square_q", 2.0**-4, (-128, 127), term=-120.0),
        Concat("concat", ("agc_q", "square_q"), "both"), Dequantise("dequantise", "both", "y"),
    )
    return IntegerGraph("x", "y", {t.name: t for t in made}, ops)


@pytest.mark.parametrize("storage", STORAGES)
def test_tables_and_products_equal_the_executor(storage, tmp_path):
    agree(gate_graph(), tmp_path, storage)


def test_a_product_whose_scale_is_not_that_of_its_factors_is_brought_to_it(tmp_path):
    """Integers are a * b / 4, a step of 1. The graph says that it is 8, and so do the reals of the file."""
    made = (
        real("x", (3,)), code("x_q", (3,)), total("a", (3,), 0.5), total("p", (3,), 8.0),
        code("y_q", (3,)), real("y", (3,)),
    )
    ops = (
        Quantise("quantise", "x", "x_q"), requantise("r", "x_q", "a", 2.0, (-200, 200)),
        Multiply("m", ("a", "a"), "p", 2), requantise("s", "p", "y_q", 0.125, (-128, 127)),
        Dequantise("dequantise", "y_q", "y"),
    )
    agree(IntegerGraph("x", "y", {t.name: t for t in made}, ops), tmp_path, "int8")


def test_a_swish_gives_the_codes_of_the_executor(tmp_path):
    """float32 against sums of 30 bits: less than a code in a thousand differs, by one."""
    layers = dict(stem=lowered_nets.linear(4, 9), head=lowered_nets.linear(9, 3))
    swish = lowered_nets.Net(lambda net, x: net.head(jax.nn.silu(net.stem(x))), **layers)
    rule, x = Rule(match="*", weights=(8,), activations=(8,)), lowered_nets.rows(2000, seed=3)
    net, parts = lowered_nets.calibrated(swish, x[:64], rule)
    graph = lower(net, parts, net.space.uniform(8), x[:1])
    head = graph.contractions[1].input
    end = graph.ops.index(graph.contractions[1])
    ops = (*graph.ops[:end], Dequantise("dequantise", head, "codes"))
    graph = IntegerGraph("input", "codes", dict(graph.tensors) | {"codes": real("codes", (9,))}, ops)
    write_onnx(graph, tmp_path / "net.onnx")
    apart = np.abs(run_onnx(tmp_path / "net.onnx", x) - execute(graph, x)) / graph.tensors[head].scale
    assert len(np.unique(execute(graph, x))) > 100
    assert apart.max() < 1.1 and np.mean(apart > 0.1) < 1e-3


def test_codes_that_are_added_and_rounded_again_run_where_the_runtime_fuses_them(tmp_path):
    shape, fine = (4, 4, 3), total("f", (4, 4, 3), HALF / 2**20)
    made = (
        real("x", shape), code("x_q", shape), dataclasses.replace(fine, name="a"),
        dataclasses.replace(fine, name="b"), dataclasses.replace(fine, name="sum"),
        code("y_q", shape, 8, scale=np.array([1.0]), zero_point=-7), real("y", shape),
    )
    full = (-(2**31) + 1, 2**31 - 1)
    lifts = [
        Requantise(f"lift {n}", "x_q", n, ints(1), ints(0), ints(0), *map(ints, full), left_shift=20)
        for n in ("a", "b")
    ]
    ops = (
        Quantise("quantise", "x", "x_q"), *lifts, Add("add", ("a", "b"), "sum"),
        Requantise("next", "sum", "y_q", ints(1), ints(21), ints(0), ints(-128), ints(127), zero_out=-7),
        Dequantise("dequantise", "y_q", "y"),
    )
    agree(IntegerGraph("x", "y", {t.name: t for t in made}, ops), tmp_path, "int8")


@pytest.mark.parametrize("storage", STORAGES)
def test_random_graphs_stay_within_one_code(storage, tmp_path):
    """Those that end in codes; half of their requantisations round otherwise, which only ties can show."""
    differing, compared = 0, 0
    for seed in range(40):
        graph = random_graph(seed, smooth=False)  # a table as steep as those shows the rounding of a sum
        last = graph.tensors[graph.ops[-1].input]
        path, x = tmp_path / "net.onnx", inputs(graph, 30) / 9
        try:
            write_onnx(graph, path, storage=storage)
            expected = execute(graph, x)
        except UnsupportedOperationError:
            continue
        if last.kind != "code":
            continue
        steps = np.abs(run_onnx(path, x) - expected) / last.scale[0]
        differing, compared = differing + int(np.sum(steps > 0.1)), compared + steps.size
        assert steps.max() < 2.1
    assert compared > 1000 and differing < compared / 100


@pytest.mark.parametrize("storage", STORAGES)
@pytest.mark.parametrize("build", [residual_net, depthwise_net])
def test_a_lowered_network_answers_as_the_network_does(build, storage, tmp_path):
    net, parts = calibrated(build)
    assignment, x, path = random_assignment(net, 5), images(400, seed=1), tmp_path / "net.onnx"
    write_onnx(lower(net, parts, assignment, x), path, storage=storage)
    found = parity_of(outputs(discretize(net, parts, assignment), x), run_onnx(path, x))
    assert found.n == 400 and found.mismatch_rate <= 0.01


def types_of(model):
    """Types of the kernels."""
    kernels = [c for c in model.graph.initializer if c.name.endswith("/kernel")]
    return sorted({onnx.TensorProto.DataType.Name(c.data_type) for c in kernels})


def test_packed_kernels_take_two_four_and_eight_bits_a_weight():
    codes, geometry, shape, out_shape = LAYERS["convolution"]
    graph = layer_graph(contraction(codes, WIDTHS, np.zeros(6, np.int64), **geometry), shape, out_shape)
    model = onnx_model(graph, storage="packed")
    assert types_of(model) == ["INT2", "INT4", "INT8"] and model.opset_import[0].version == 25
    size = {c.name: len(c.raw_data) for c in model.graph.initializer if c.name.endswith("/kernel")}
    # 18 weights a channel: two channels of 1 and 2 bits, two of 3 and 4, two of 8.
    assert sorted(size.values()) == [9, 18, 36]
    assert types_of(onnx_model(graph)) == ["UINT8"] and onnx_model(graph).opset_import[0].version == 21


def test_kernels_up_to_seven_bits_are_signed_bytes_and_wider_ones_unsigned():
    def kernel(value, **options):
        op = contraction(np.full((7, 6), value), 8, np.zeros(6, np.int64))
        model = onnx_model(layer_graph(op, (7,), (6,)), **options)
        return next(numpy_helper.to_array(c) for c in model.graph.initializer if c.name == "layer/kernel")

    assert kernel(-64).dtype == np.int8 and kernel(-64)[0, 0] == -64
    assert kernel(-65, vnni=True).dtype == np.int8 and kernel(-65, vnni=True)[0, 0] == -65
    assert kernel(-65).dtype == np.uint8 and kernel(-65)[0, 0] == 128 - 65


def test_slack_decides_between_a_fused_convolution_and_one_of_integers():
    codes, geometry, shape, out_shape = LAYERS["convolution"]
    # A bias of 0.3 steps of a code is 4.8 steps of the accumulator: rounding it moves 1/80 of a code.
    graph = layer_graph(
        contraction(codes, WIDTHS, np.zeros(6, np.int64), **geometry), shape, out_shape, factor=1 / 16,
        term=0.3,
    )
    nodes = {slack: onnx_model(graph, slack=slack).graph.node for slack in (0.012, 0.013)}
    kinds = {slack: {node.op_type for node in found} for slack, found in nodes.items()}
    # Not fused, the sums of whole numbers have a bound, so that nothing is multiplied into the kernel.
    assert {"Cast", "Conv", "Clip"} <= kinds[0.012] and not {"Cast", "Clip"} & kinds[0.013]
    assert "Conv" in kinds[0.013]


@pytest.mark.parametrize("codes, shape, geometry", [
    (drawn((3, 3, 16, 6), 7), (6, 6, 16), SQUARE), (drawn((3, 3, 16, 6), 8), (6, 6, 16), SQUARE),
    (drawn((3, 3, 1, 6), 7), (6, 6, 6), SQUARE | {"groups": 6}),
    (drawn((144, 6), 7), (144,), {}), (drawn((144, 6), 8), (3, 144), {}),
], ids=["convolution", "unsigned_bytes", "depthwise", "dense", "dense_over_places"])
def test_sums_of_whole_numbers_are_exact_whatever_their_step(codes, shape, geometry, tmp_path):
    """A sum of 144 products of up to 2^14 may be small: its float32 has 24 bits of it, not of its terms."""
    step = np.random.default_rng(3).uniform(0.001, 0.002, 6)
    places = (6, 5) if geometry else shape[:-1]
    out = Tensor("layer_sum", (*places, 6), "sum", scale=HALF * step)
    made = (real("x", shape), code("x_q", shape, zero_point=5), out, real("y", out.shape))
    op = contraction(codes, 8, np.zeros(6, np.int64), **geometry)
    ops = (Quantise("quantise", "x", "x_q"), op, Dequantise("dequantise", "layer_sum", "y"))
    graph = IntegerGraph("x", "y", {t.name: t for t in made}, ops)
    write_onnx(graph, tmp_path / "net.onnx")
    x = inputs(graph, 100)
    exact = every_tensor(graph, x)["layer_sum"] * out.scale
    off = np.abs(run_onnx(tmp_path / "net.onnx", x) - exact)
    assert np.quantile(np.abs(exact), 0.02) < np.abs(exact).max() / 50
    assert np.all(off <= np.abs(exact) * 2.0**-22)


@pytest.mark.parametrize("terms, kind", [(1032, "Clip"), (1033, "MatMulInteger")])
def test_sums_that_float32_may_not_hold_are_those_of_integers(terms, kind, tmp_path):
    """1032 products of -128 and 127 are 2^24 less 1024, one more goes beyond."""
    op = contraction(np.full((terms, 1), 127), 8, np.array([5]))
    graph = layer_graph(op, (terms,), (1,), factor=2.0**-12, term=100.3)
    kinds = {node.op_type for node in onnx_model(graph, slack=0.0).graph.node}
    assert kinds & {"Clip", "MatMulInteger"} == {kind}
    agree(graph, tmp_path, "int8", slack=0.0)


def test_what_the_file_cannot_hold_is_refused_with_its_name(tmp_path):
    graph = block_graph()
    with pytest.raises(ExportError, match="no storage 'int3'.*int8, packed"):
        write_onnx(graph, tmp_path / "x", storage="int3")
    with pytest.raises(UnsupportedOperationError, match="'attention/softmax' stays in float"):
        write_onnx(dataclasses.replace(graph, float_ops=("attention/softmax",)), tmp_path / "x")
    assert not list(tmp_path.iterdir())


def test_a_file_that_is_no_model_or_other_inputs_are_refused(tmp_path):
    path = tmp_path / "net.onnx"
    write_onnx(block_graph(), path)
    with pytest.raises(ExportError, match="net.onnx cannot be run"):
        run_onnx(path, np.zeros((2, 3, 3, 3)))
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(ExportError, match="net.onnx cannot be run"):
        run_onnx(path, np.zeros((2, 5, 5, 2)))
