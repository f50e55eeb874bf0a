"""Tests of mpnas/supernet/attach.py."""

import dataclasses
import os
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from small_nets import (
    EVERYTHING,
    FLOAT,
    RNGS,
    Net,
    conv,
    dense_residual_net,
    depthwise_net,
    images,
    linear,
    mean,
    outputs,
    residual_net,
    rows,
    run,
    twice_net,
)

from mpnas.errors import SearchSpaceError
from mpnas.quant import Quantizer
from mpnas.space import Rule
from mpnas.supernet import attach
from mpnas.supernet.trace import leaf_name

NETS = {
    "residual": (residual_net, images),
    "depthwise": (depthwise_net, images),
    "twice": (twice_net, rows),
}


def float32(gates):
    return {site: jnp.asarray(gate, jnp.float32) for site, gate in gates.items()}


def named(state):
    return {leaf_name(path): leaf for path, leaf in jax.tree_util.tree_flatten_with_path(state)[0]}


def one_hot(net, assignment):
    return float32(net.space.one_hot(assignment))


@pytest.fixture(scope="module")
def residual():
    return attach(residual_net(), images(), [EVERYTHING])


@pytest.mark.parametrize("name", ["residual", "depthwise", "twice"])
def test_float_candidates_change_no_bit_of_the_output(name):
    build, inputs = NETS[name]
    model = build()
    model.eval()
    net = attach(model, inputs(), [FLOAT])
    output, _ = run(net, net.parts, one_hot(net, net.space.uniform(32)), inputs())
    np.testing.assert_array_equal(output, outputs(model, inputs()))


def test_the_highest_of_several_candidates_being_float_changes_no_bit_either():
    model = dense_residual_net()
    rule = Rule(match="*", weights=(0, 4, 32), activations=(8, 32), granularity="channel")
    net = attach(model, rows(), [rule])
    output, _ = run(net, net.parts, one_hot(net, net.space.uniform(None)), rows())
    np.testing.assert_array_equal(output, outputs(model, rows()))


def test_float_candidates_change_no_bit_in_half_precision():
    model = Net(lambda net, x: net.d(mean(jax.nn.relu(net.a(x)))),
                a=conv(3, 4, dtype=jnp.bfloat16), d=linear(4, 2, dtype=jnp.bfloat16))
    net = attach(model, images(), [FLOAT])
    output, _ = run(net, net.parts, one_hot(net, net.space.uniform(32)), images())
    assert output.dtype == jnp.bfloat16
    expected = outputs(model, images())
    np.testing.assert_array_equal(np.asarray(output, np.float32), np.asarray(expected, np.float32))


def test_weights_alone_can_be_searched_in_half_precision():
    model = Net(lambda net, x: net.d(mean(net.a(x))),
                a=conv(3, 4, dtype=jnp.bfloat16), d=linear(4, 2, dtype=jnp.bfloat16))
    net = attach(model, images(), [Rule(match="*", weights=(0, 4, 8), granularity="channel")])
    output, _ = run(net, net.parts, one_hot(net, net.space.uniform(4)), images(), True)
    assert output.dtype == jnp.bfloat16 and bool(jnp.all(jnp.isfinite(output)))


@pytest.mark.parametrize("training", [True, False])
def test_attaching_never_changes_the_model(training):
    model = residual_net()
    model.train() if training else model.eval()
    graph, state = nnx.split(model)
    before = jax.tree.map(np.array, state)
    net = attach(model, images(batch=1), [EVERYTHING])
    parts = net.calibrated(net.parts, images())
    run(net, parts, one_hot(net, net.space.uniform(4)), images(), True)
    graph_after, state_after = nnx.split(model)
    assert graph_after == graph
    jax.tree.map(np.testing.assert_array_equal, before, jax.tree.map(np.array, state_after))
    assert model.stem.conv_general_dilated is jax.lax.conv_general_dilated
    assert model.bn.use_running_average is not training


def test_without_rules_the_supernet_is_the_model():
    model = residual_net()
    model.eval()
    net = attach(model, images(), [])
    assert net.space.choices == {} and net.slots == {}
    np.testing.assert_array_equal(run(net, net.parts, {}, images())[0], outputs(model, images()))
    assert net.calibrated(net.parts, images()).ranges == {}


def test_one_hot_gates_are_the_fixed_quantizers():
    """Every layer of an MLP, computed by hand from the candidates' own quantizers."""
    model = Net(lambda net, x: net.b(jax.nn.relu(net.a(x))), a=linear(4, 6), b=linear(6, 2))
    rule = Rule(match="*", weights=(2, 4, 8), activations=(4, 8), granularity="channel")
    net = attach(model, rows(), [rule])
    parts = net.calibrated(net.parts, rows())
    point = {"a/kernel": [2, 0, 1, 1, 0, 2], "b/kernel": [0, 2], "a/input": [0], "b/input": [1]}
    output, _ = run(net, parts, one_hot(net, net.space.from_indices(point)), rows())

    def quantized(site, x):
        columns = []
        choice = net.space.choices[site]
        for k in point[site]:
            bits = choice.bits[k]
            params = {"step": parts.ranges[site][f"{bits}/step"]}
            columns.append(choice.candidates[k].quantize(x, params))
        if len(columns) == 1:
            return columns[0]
        return jnp.stack([column[:, c] for c, column in enumerate(columns)], axis=1)

    h = quantized("a/input", rows()) @ quantized("a/kernel", model.a.kernel[...]) + model.a.bias[...]
    h = quantized("b/input", jax.nn.relu(h)) @ quantized("b/kernel", model.b.kernel[...]) + model.b.bias[...]
    np.testing.assert_allclose(output, h, rtol=1e-6)


def test_removed_channels_do_not_reach_the_layers_that_read_them(residual):
    point = residual.space.indices(residual.space.uniform(8))
    point["first/kernel"][[1, 4]] = 0
    point["stem/channels"][3] = 0
    module = residual.module(residual.parts, one_hot(residual, residual.space.from_indices(point)))
    inner = module.inner.conv_general_dilated.quantized_kernel(module.inner.kernel[...])
    first = module.first.conv_general_dilated.quantized_kernel(module.first.kernel[...])
    head = module.head.dot_general.quantized_kernel(module.head.kernel[...])
    removed = np.array([1, 4])
    assert not np.any(inner[:, :, removed]) and not np.any(first[..., removed])
    assert not np.any(first[:, :, 3]) and not np.any(head[3])
    assert np.all(np.any(inner, axis=(0, 1, 3)) == ~np.isin(np.arange(7), removed))


@pytest.mark.parametrize("name, removers", [
    ("residual", ["stem/channels", "first/kernel"]),
    ("depthwise", ["stem/channels", "point/kernel"]),
])
def test_gradients_of_gates_reach_the_masks_of_input_channels(name, removers):
    build, inputs = NETS[name]
    net = attach(build(), inputs(), [EVERYTHING])
    parts = net.calibrated(net.parts, inputs())
    gates = {s: jnp.full((c.decisions, len(c.bits)), 1 / len(c.bits)) for s, c in net.space.choices.items()}

    def loss(gates):
        return jnp.sum(run(net, parts, gates, inputs(), True)[0] ** 2)

    slopes = jax.jit(jax.grad(loss))(gates)
    for site, slope in slopes.items():
        assert np.all(np.isfinite(slope)) and np.any(slope != 0), site
    assert sorted(net.space.remover.values()) == sorted(removers)
    for site in removers:
        assert np.any(slopes[site][:, 0] != 0), "leaving a channel out changes what its readers see"


def test_calibration_takes_the_ranges_of_the_unquantised_network(residual):
    model = residual_net()
    model.eval()
    x = images(batch=4, seed=9)
    parts = residual.calibrated(residual.parts, x)
    seen = {"stem/input": x, "first/input": jax.nn.relu(model.stem_bn(model.stem(x)))}
    for site, tensor in seen.items():
        for candidate in residual.space.choices[site].candidates:
            expected = candidate.init(tensor)[0]["step"]
            found = parts.ranges[site][f"{candidate.bits}/step"]
            np.testing.assert_allclose(found, expected, rtol=1e-5)
    assert residual.parts.ranges["first/input"]["8/step"] != parts.ranges["first/input"]["8/step"]
    for site in ("stem/kernel", "inner/kernel"):
        jax.tree.map(np.testing.assert_array_equal, parts.ranges[site], residual.parts.ranges[site])


def test_calibration_can_observe_extremes_which_training_then_follows():
    model = Net(lambda net, x: net.b(jax.nn.relu(net.a(x))), a=linear(4, 6), b=linear(6, 2))
    net = attach(model, rows(), [Rule(match="*", activations=(8,), activation_range="moving")])
    parts = net.calibrated(net.parts, rows())

    def observed(stats):
        return {n: np.asarray(v) for n, v in named(stats).items() if "act_stats" in n and n.startswith("a/")}

    assert {n.rsplit("/", 1)[1]: float(v[0]) for n, v in observed(parts.stats).items()} == {
        "low": float(rows().min()), "high": float(rows().max())
    }
    gates = one_hot(net, net.space.uniform(8))
    _, same = run(net, parts, gates, 3 * rows())
    jax.tree.map(np.testing.assert_array_equal, observed(same), observed(parts.stats))
    _, moved = run(net, parts, gates, 3 * rows(), True)
    high = next(v for n, v in observed(moved).items() if n.endswith("high"))
    np.testing.assert_allclose(high, [(0.99 + 0.01 * 3) * float(rows().max())], rtol=1e-6)


@pytest.mark.parametrize("weight, act", [
    ("minmax", "moving"), ("percentile", "percentile"), ("mse", "mse"), ("octav", "octav"),
    ("dorefa", "pact"), ("pow2", "pow2"),
])
def test_every_range_can_be_calibrated_and_trained_through(weight, act):
    rule = Rule(match="*", weights=(2, 4), activations=(4, 8), weight_range=weight, activation_range=act)
    model = Net(lambda net, x: net.b(jax.nn.relu(net.a(x))), a=linear(4, 6), b=linear(6, 2))
    net = attach(model, rows(), [rule])
    x = 3 * rows(batch=64)
    parts = net.calibrated(net.parts, x)
    gates = {site: jnp.full((c.decisions, 2), 0.5) for site, c in net.space.choices.items()}

    def total(params, ranges, x):
        fresh = dataclasses.replace(parts, params=params, ranges=ranges)
        return (net.apply(fresh, gates, x, train=True)[0] ** 2).sum()

    # Ten times what was calibrated, so that learned ranges clip and hear of it.
    by_params, by_ranges = jax.jit(jax.grad(total, argnums=(0, 1)))(parts.params, parts.ranges, 10 * x)
    for leaf in jax.tree.leaves((by_params, by_ranges)):
        assert jnp.isfinite(leaf).all() and jnp.any(leaf != 0)
    learned = {name.rpartition("/")[2] for entries in by_ranges.values() for name in entries}
    assert learned == {"dorefa": {"alpha"}, "pow2": {"xmax"}}.get(weight, set())


@pytest.mark.parametrize("act, name, expected", [
    ("percentile", "high", lambda x: np.quantile(np.abs(x), 0.999, method="inverted_cdf")),
    ("pact", "alpha", lambda x: 6.0),
    ("pow2", "xmax", lambda x: np.quantile(np.abs(x), 0.999, method="inverted_cdf")),
])
def test_calibration_starts_ranges_where_their_batch_says(act, name, expected):
    model = Net(lambda net, x: net.b(jax.nn.relu(net.a(x))), a=linear(4, 6), b=linear(6, 2))
    net = attach(model, rows(), [Rule(match="*", activations=(8,), activation_range=act)])
    x = rows(batch=2000).at[0, 0].set(50.0)
    parts = net.calibrated(net.parts, x)
    found = {n: v for n, v in (named(parts.stats) | dict(named(parts.ranges))).items() if n.endswith(name)}
    value = next(v for n, v in found.items() if n.startswith("a/"))
    np.testing.assert_allclose(value, [expected(np.asarray(x))], rtol=1e-6)


def test_batch_statistics_move_in_training_only(residual):
    gates = one_hot(residual, residual.space.uniform(8))
    _, kept = run(residual, residual.parts, gates, images())
    _, moved = run(residual, residual.parts, gates, images(), True)
    before = named(residual.parts.stats)
    np.testing.assert_array_equal(named(kept)["stem_bn/mean"], before["stem_bn/mean"])
    assert np.any(named(moved)["stem_bn/mean"] != before["stem_bn/mean"])


def test_dropout_acts_in_training_only_and_its_stream_moves_on():
    model = Net(lambda net, x: net.b(net.drop(net.a(x))), a=linear(4, 64), drop=nnx.Dropout(0.5, rngs=RNGS),
                b=linear(64, 2))
    net = attach(model, rows(), [Rule(match="*", weights=(8,))])
    gates = one_hot(net, net.space.uniform(8))
    quiet, _ = run(net, net.parts, gates, rows())
    again, _ = run(net, net.parts, gates, rows())
    one, stats = run(net, net.parts, gates, rows(), True)
    two, _ = run(net, type(net.parts)(net.parts.params, net.parts.ranges, stats), gates, rows(), True)
    np.testing.assert_array_equal(quiet, again)
    assert np.any(one != quiet) and np.any(one != two)


def test_layers_that_read_one_tensor_share_its_range():
    def call(net, x):
        h = jax.nn.relu(net.a(x))
        return net.b(h) + net.c(h)

    model = Net(call, a=linear(4, 6), b=linear(6, 2), c=linear(6, 2))
    net = attach(model, rows(), [Rule(match="*", activations=(4, 8))])
    assert net.space.act_site["c"] == net.space.act_site["b"] == "b/input"
    parts = net.calibrated(net.parts, rows())
    module = net.module(parts, one_hot(net, net.space.uniform(4)))
    np.testing.assert_array_equal(
        module.b.dot_general.act_ranges["4/step"][...], module.c.dot_general.act_ranges["4/step"][...]
    )


def test_distortion_is_the_squared_error_of_each_decisions_weights(residual):
    site = "inner/kernel"
    kernel = np.asarray(residual.kernels(residual.parts.params)[site])
    distortions = residual.distortions(residual.parts)[site]
    choice = residual.space.choices[site]
    assert distortions.shape == (5, len(choice.bits))
    four_bits = choice.candidates[choice.bits.index(4)]
    assert isinstance(four_bits, Quantizer)
    params = {"step": residual.parts.ranges[site]["4/step"]}
    error = np.asarray(four_bits.quantize(jnp.asarray(kernel), params)) - kernel
    np.testing.assert_allclose(distortions[:, choice.bits.index(4)], (error**2).sum((0, 1, 2)), rtol=1e-5)
    point = residual.distortions(residual.parts)["first/kernel"][:, 0]
    first = np.asarray(residual.kernels(residual.parts.params)["first/kernel"])
    np.testing.assert_allclose(point, (first**2).sum((0, 1, 2)), rtol=1e-5)


def test_distortion_of_bent_weights_is_the_error_of_rounding_them():
    rule = Rule(match="*", weights=(2, 8), scale="layer", weight_range="dorefa")
    net = attach(Net(lambda net, x: net.a(x), a=linear(4, 6)), rows(), [rule])
    kernel = np.asarray(net.kernels(net.parts.params)["a/kernel"], np.float64)
    bent = np.tanh(kernel) / np.abs(np.tanh(kernel)).max()
    expected = [
        np.sum((2 * np.round(top * (bent / 2 + 0.5)) / top - 1 - bent) ** 2) for top in (3, 255)
    ]
    np.testing.assert_allclose(net.distortions(net.parts)["a/kernel"], [expected], rtol=1e-3)


def test_a_known_lowest_input_makes_the_first_activations_unsigned():
    blind = attach(residual_net(), images(), [Rule(match="*", activations=(8,))])
    known = attach(residual_net(), images(), [Rule(match="*", activations=(8,))], input_low=0)
    assert blind.space.choices["stem/input"].candidates[0].format.signed
    assert not known.space.choices["stem/input"].candidates[0].format.signed


def raw_net():
    net = Net(lambda net, x: jax.nn.relu(net.a(x)) @ net.w[...], a=linear(4, 6))
    net.w = nnx.Param(jnp.ones((6, 3)))
    return net


def test_a_raw_product_matched_by_a_rule_is_a_sentence():
    with pytest.raises(SearchSpaceError, match="attached to 'w': it is a parameter that a Net multiplies"):
        attach(raw_net(), rows(), [Rule(match="*", weights=(4,))])


def test_a_raw_product_beside_the_rules_keeps_the_channels_that_it_reads():
    net = attach(raw_net(), rows(), [Rule(match="a", weights=(0, 4), granularity="channel")])
    assert net.space.choices["a/kernel"].bits == (4,)
    assert any("whose channels must stay: read by 'w'" in note for note in net.space.notes)


def test_a_users_own_product_in_the_hook_is_kept():
    def doubled(*args, **kwargs):
        return 2 * jax.lax.dot_general(*args, **kwargs)

    model = Net(lambda net, x: net.a(x), a=linear(4, 6, dot_general=doubled))
    net = attach(model, rows(), [FLOAT])
    output, _ = run(net, net.parts, one_hot(net, net.space.uniform(32)), rows())
    np.testing.assert_array_equal(output, outputs(model, rows()))


TREE_MODE = """
import jax.numpy as jnp
from flax import nnx
from mpnas.models import MLP
from mpnas.space import Rule
from mpnas.supernet import attach, discretize
x = jnp.linspace(-1, 1, 12).reshape(3, 4)
rule = Rule(match="*", weights=(0, 2, 4), activations=(8,), granularity="channel", activation_range="moving")
net = attach(MLP((4, 6, 2), rngs=nnx.Rngs(0)), x, [rule])
parts = net.calibrated(net.parts, x)
point = net.space.indices(net.space.uniform(4))
point["dense0/kernel"][1] = 0
assignment = net.space.from_indices(point)
gates = {site: jnp.asarray(gate, jnp.float32) for site, gate in net.space.one_hot(assignment).items()}
output, stats = net.apply(parts, gates, x, train=False)
net.apply(parts, gates, x, train=True)
small = discretize(net, parts, assignment)
assert small.dense0.kernel.shape == (4, 5)
assert bool(jnp.allclose(small(x), output, atol=1e-6))
print("equal")
"""


def test_everything_works_in_the_planned_tree_mode_of_flax():
    settings = os.environ | {"NNX_GRAPH_MODE": "false", "NNX_GRAPH_UPDATES": "false"}
    ran = subprocess.run([sys.executable, "-c", TREE_MODE], env=settings, capture_output=True, text=True)
    assert ran.stdout.strip() == "equal", ran.stderr
