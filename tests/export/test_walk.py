"""Tests of mpnas/export/walk.py and emit.py: which operations a program becomes."""

import collections

import jax
import jax.numpy as jnp
import numpy as np
from lowered_nets import LEARNED, Net, calibrated, conv, images, linear, mean, norm, rows

from mpnas.export import Contraction, Requantise, lower
from mpnas.export.interval import intervals


def lowered(call, inputs=images, **layers):
    net, parts = calibrated(Net(call, **layers), inputs(8), LEARNED)
    return lower(net, parts, net.space.uniform(8), inputs(1))


def kinds(graph):
    return dict(collections.Counter(type(op).__name__ for op in graph.ops))


def test_a_normalisation_and_an_activation_are_one_requantisation():
    graph = lowered(
        lambda net, x: net.head(jax.nn.relu6(net.bn(net.a(x)))), rows,
        a=linear(4, 5), bn=norm(5), head=linear(5, 3),
    )
    # The last requantisation brings the logits to one step.
    assert kinds(graph) == {"Quantise": 1, "Contraction": 2, "Requantise": 2, "Dequantise": 1}
    codes = next(op for op in graph.ops if isinstance(op, Requantise))
    step = graph.tensors[codes.output].scale[0]
    assert codes.low.tolist() == [0] and codes.high.tolist() == [min(255, round(6 / step))]
    assert graph.tensors[codes.output].signed is False


def test_a_tensor_that_two_layers_read_is_quantised_once():
    graph = lowered(
        lambda net, x: net.head(net.a(x) + net.b(x)), rows, a=linear(4, 5), b=linear(4, 5), head=linear(5, 3)
    )
    assert kinds(graph) == {"Quantise": 1, "Contraction": 3, "Requantise": 4, "Add": 1, "Dequantise": 1}


def test_a_mean_is_a_sum_over_places_with_a_finer_step():
    graph = lowered(lambda net, x: net.head(mean(net.a(x))), a=conv(3, 4), head=linear(4, 3))
    assert kinds(graph)["Pool"] == 1
    pool = next(op for op in graph.ops if type(op).__name__ == "Pool")
    assert (pool.kind, pool.window, graph.tensors[pool.output].shape) == ("sum", (4, 4), (1, 1, 4))


def test_channels_side_by_side_are_quantised_apart_and_joined_as_codes():
    def call(net, x):
        return net.head(mean(jax.nn.relu(net.c(jnp.concatenate([net.a(x), net.b(x)], axis=-1)))))

    graph = lowered(call, a=conv(3, 4), b=conv(3, 5), c=conv(9, 4), head=linear(4, 3))
    joined = next(op for op in graph.ops if type(op).__name__ == "Concat")
    assert graph.tensors[joined.output].kind == "code" and graph.tensors[joined.output].channels == 9


def test_a_layer_that_is_called_twice_is_two_contractions_of_one_site():
    graph = lowered(
        lambda net, x: net.head(net.a(jax.nn.relu(net.a(x)))), rows, a=linear(4, 4), head=linear(4, 3)
    )
    assert [op.site for op in graph.ops if isinstance(op, Contraction)] == ["a", "a", "head"]


def test_sums_are_as_fine_as_32_bits_allow():
    """The step of a sum is a power of two with which nothing overflows. The two layers have equal weights:
    their difference is 0 for every input, and its quantizer has the smallest step that there is."""
    graph = lowered(
        lambda net, x: net.head(net.a(x) - net.b(x)), rows, a=linear(4, 5), b=linear(4, 5), head=linear(5, 3)
    )
    added = next(op for op in graph.ops if type(op).__name__ == "Add")
    steps = [graph.tensors[name].scale[0] for name in (*added.inputs, added.output)]
    assert len(set(steps)) == 1 and np.log2(steps[0]) == round(np.log2(steps[0]))
    reach = max(np.abs(end).max() for end in intervals(graph)[added.output])
    assert 2**28 <= reach < 2**31


def test_a_gate_is_a_table_and_a_product_of_sums():
    """A hard sigmoid is the bounds of a requantisation. A square has one factor, twice."""
    def call(net, x):
        y = net.a(x)
        return net.head(mean(y * jax.nn.sigmoid(y)) * jax.nn.hard_sigmoid(net.b(mean(y))) ** 2)

    graph = lowered(call, a=conv(3, 4), b=linear(4, 4), head=linear(4, 3))
    found = {type(op).__name__: [o for o in graph.ops if type(o) is type(op)] for op in graph.ops}
    (table,), products = found["Table"], found["Multiply"]
    shapes = [tuple(graph.tensors[name].shape for name in op.inputs) for op in products]
    assert shapes == [((4, 4, 4), (4, 4, 4)), ((4,), (4,)), ((4,), (4,))]
    assert table.output in products[0].inputs and len(set(products[1].inputs)) == 1
    clipped = next(op for op in graph.ops if op.output == products[1].inputs[0])
    step = graph.tensors[clipped.output].scale[0]
    assert isinstance(clipped, Requantise)
    assert clipped.low.tolist() == [0] and clipped.high.tolist() == [round(1 / step)]
    # A table has steps of 2^-30; products are as fine as 31 bits allow.
    assert graph.tensors[table.output].scale.tolist() == [2.0**-30]
    assert all(np.abs(intervals(graph)[op.output]).max() <= 2**30 for op in products)


def test_a_gate_of_one_channel_counts_for_both_sides_of_a_concatenation():
    def call(net, x):
        gate = jnp.tanh(net.place(x))
        return net.head(mean(jnp.concatenate([net.a(x), net.b(x)], axis=-1) * gate))

    graph = lowered(call, a=conv(3, 4), b=conv(3, 5), place=conv(3, 1), head=linear(9, 3))
    assert kinds(graph)["Multiply"] == 2 and kinds(graph)["Table"] == 1
