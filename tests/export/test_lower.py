"""Tests of mpnas/export/lower.py: what ships computes what was simulated.

With steps that are powers of two simulation is exact in float32, and every bit is compared. With learned
steps its own sums are rounded, and how often that shows is measured.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from lowered_nets import (
    GATED,
    LEARNED,
    NETS,
    POWERS,
    Net,
    calibrated,
    conv,
    dense_residual_net,
    images,
    linear,
    mean,
    random_assignment,
    rows,
    simulated,
    simulated_inputs,
)

from mpnas.errors import GraphError, UnsupportedOperationError
from mpnas.export import Requantise, compiled, integer
from mpnas.export.lower import lower
from mpnas.models import MLP, DigitsCNN
from mpnas.space import Rule
from mpnas.supernet import attach

COUNT = 10_000


def lowered(model, inputs, rule, seed, count=COUNT):
    """Graph, inputs, simulated outputs and executed outputs."""
    net, parts = calibrated(model, inputs(64), rule)
    assignment = random_assignment(net, seed)
    graph = lower(net, parts, assignment, inputs(1))
    x = inputs(count, seed=seed + 100)
    expected = simulated(net, parts, assignment, x)
    assert any(0 in bits for bits in assignment.bits.values()), "no channel is removed"
    assert any(list(bits) != sorted(bits) for bits in assignment.bits.values())
    assert np.mean(expected.std(axis=0) > 0.01) > 0.6, "a lost permutation would hide in constant outputs"
    return graph, x, expected, np.asarray(compiled.compiled(graph)(x))


@pytest.mark.parametrize("name, seed", [(name, seed) for seed, name in enumerate(NETS, start=1)])
def test_steps_of_powers_of_two_give_every_bit_of_simulation(name, seed):
    build, inputs = NETS[name]
    graph, x, expected, found = lowered(build(), inputs, POWERS, seed)
    np.testing.assert_array_equal(found, expected)
    np.testing.assert_array_equal(integer.execute(graph, x[:20]), found[:20])
    assert graph.float_ops == ()


def grey(count, seed=7):
    return np.random.default_rng(seed).uniform(size=(count, 8, 8, 1)).astype(np.float32)


def flat_grey(count, seed=7):
    return grey(count, seed).reshape(count, 64)


def with_statistics(model):
    """Batch statistics as after training; fresh ones scale by almost 1."""
    draw = np.random.default_rng(3)
    for _, module in nnx.iter_modules(model):
        if isinstance(module, nnx.BatchNorm):
            size = module.mean.shape
            module.mean.set_value(jnp.asarray(draw.normal(size=size) * 0.2, jnp.float32))
            module.var.set_value(jnp.asarray(draw.uniform(0.2, 2.0, size), jnp.float32))
    return model


@pytest.mark.parametrize("build, inputs, seed", [
    (NETS["depthwise"][0], images, 4), (GATED["efficient_net"], images, 6),
    (lambda: DigitsCNN(rngs=nnx.Rngs(0)), grey, 2),
    (lambda: MLP(rngs=nnx.Rngs(0)), flat_grey, 3),
], ids=["depthwise", "efficient_net", "digits_cnn", "mlp"])
def test_learned_steps_are_simulated_up_to_the_edges_between_codes(build, inputs, seed):
    """Simulation rounds its sums in float32: rarely a value on the edge falls to the other side there."""
    graph, x, expected, found = lowered(with_statistics(build()), inputs, LEARNED, seed)
    apart = np.abs(found - expected).max(axis=1) > 1e-5 * np.abs(expected).max()
    print(f"{apart.sum()} of {len(x)} inputs differ, at most by {np.abs(found - expected).max():g}")
    assert np.mean(apart) < 5e-3
    assert np.mean(found.argmax(axis=1) != expected.argmax(axis=1)) <= 1e-3
    np.testing.assert_array_equal(integer.execute(graph, x[:20]), found[:20])


@pytest.mark.parametrize("name", GATED)
def test_gates_and_smooth_activations_give_the_codes_of_simulation(name):
    """Every input of every layer; a table is 1e-6 from its function, a code thousands of times as long."""
    net, parts = calibrated(GATED[name](), images(64), Rule(match="*", weights=(8,), activations=(8,)))
    assignment, x = net.space.uniform(8), images(1000, seed=9)
    graph = lower(net, parts, assignment, images(1))
    inputs, outputs = simulated_inputs(net, parts, assignment, x)
    found = {key: np.asarray(value) for key, value in compiled.every_tensor(graph)(x).items()}
    differing, compared = 0, 0
    assert [path for path, _ in inputs] == [op.site for op in graph.contractions]
    for op, (_, reals) in zip(graph.contractions, inputs, strict=True):
        tensor = graph.tensors[op.input]
        codes = np.rint(reals / tensor.scale[0]).astype(int) + tensor.zero_point
        apart = np.abs(found[op.input].reshape(codes.shape) - codes)
        assert apart.max() <= 1 and len(np.unique(codes)) > 10
        differing, compared = differing + int(np.sum(apart > 0)), compared + apart.size
    print(f"{differing} of {compared} codes differ")
    assert differing <= 1e-4 * compared
    assert np.mean(found[graph.output].argmax(axis=1) != outputs.argmax(axis=1)) <= 1e-3
    np.testing.assert_array_equal(integer.execute(graph, x[:20]), found[graph.output][:20])


def chain_net():
    return Net(lambda net, x: net.head(jax.nn.relu(net.stem(x))), stem=linear(4, 8), head=linear(8, 3))


@pytest.mark.parametrize("kind, rule", [
    ("dyadic_half_up", LEARNED), ("double_round", LEARNED), ("shift", POWERS),
])
def test_other_roundings_stay_near(kind, rule):
    """They put biases into whole steps of accumulators, which low bits make coarse, or move ties."""
    # A shift cannot turn a sign.
    model = chain_net() if kind == "shift" else dense_residual_net()
    net, parts = calibrated(model, rows(64), rule)
    assignment, x = random_assignment(net, 3), rows(COUNT, seed=5)
    graph = lower(net, parts, assignment, rows(1), rounding=kind)
    assert {op.rounding for op in graph.ops if isinstance(op, Requantise)} == {kind}
    expected = simulated(net, parts, assignment, x)
    found = np.asarray(compiled.compiled(graph)(x))
    apart = np.abs(found - expected).max(axis=1) > 1e-5 * np.abs(expected).max()
    print(f"{kind}: {apart.sum()} of {len(x)} inputs differ, at most by {np.abs(found - expected).max():g}")
    assert np.mean(np.abs(found - expected)) < 0.05 * expected.std()
    assert np.mean(found.argmax(axis=1) == expected.argmax(axis=1)) > 0.95
    np.testing.assert_array_equal(integer.execute(graph, x[:20]), found[:20])


def test_shifts_need_powers_of_two():
    net, parts = calibrated(dense_residual_net(), rows(64), LEARNED)
    with pytest.raises(UnsupportedOperationError, match="which shift cannot express"):
        lower(net, parts, net.space.uniform(8), rows(1), rounding="shift")


def plain(call, **layers):
    net, parts = calibrated(Net(call, **layers), images(8), LEARNED)
    return lower(net, parts, net.space.uniform(8), images(1))


@pytest.mark.parametrize("call, words", [
    (lambda net, x: net.head(mean(jax.nn.elu(net.a(x)))), "operation 'gt' in .*no integer form"),
    (lambda net, x: net.head(mean(net.a(x) / net.b(x))), "operation 'div' in "),
    (lambda net, x: net.head(mean(net.a(x) ** 4)), "operation 'integer_pow' in "),
    (lambda net, x: net.a(x * x), "operation 'mul of the unquantised input' in "),
    (lambda net, x: net.a(jnp.tanh(x)), "operation 'tanh of the unquantised input' in "),
    (lambda net, x: net.head(mean(jnp.concatenate([net.a(x), net.b(x)], -1) * net.c(x))[:, :4]), "'mul' in "),
    (lambda net, x: net.head(mean(net.a(x)[:, ::2] + net.b(x)[:, ::2])), "operation 'slice'"),
    (lambda net, x: jax.nn.softmax(net.head(mean(net.a(x) + net.b(x)))), "operation 'reduce_max'"),
], ids=[
    "elu", "quotient", "fourth_power", "square_of_input", "tanh_of_input", "cuts", "slice", "softmax",
])
def test_an_operation_without_integers_is_named_with_its_place(call, words):
    with pytest.raises(UnsupportedOperationError, match=words):
        plain(call, a=conv(3, 4), b=conv(3, 4), c=conv(3, 8), head=linear(4, 3))


@pytest.mark.parametrize("rules, words", [
    ([LEARNED, Rule(match="inner", weights=(32,), activations=(8,))], r"1 parts .*: inner \(weights in "),
    ([LEARNED, Rule(match="head", weights=(8,), activations=(32,))], r"head \(input in float\)"),
    ([Rule(match="stem", weights=(8,), activations=(8,))], r"first \(weights and input in .*, head "),
])
def test_a_layer_in_float_is_named(rules, words):
    net = attach(dense_residual_net(), rows(8), rules)
    with pytest.raises(UnsupportedOperationError, match=words):
        lower(net, net.parts, net.space.uniform(), rows(1))


def test_an_accumulator_that_could_overflow_is_refused():
    """4 products of 16-bit codes reach 4 * 2^15 * 2^15 = 2^32."""
    def call(net, x):
        return net.head(jax.nn.relu(net.wide(x)))

    net = attach(Net(call, wide=linear(4, 8), head=linear(8, 2)), rows(8),
                 [Rule(match="*", weights=(16,), activations=(16,))])
    with pytest.raises(GraphError, match="beyond int32. Give its weights or its input fewer bits"):
        lower(net, net.parts, net.space.uniform(16), rows(1))
