"""Tests of mpnas/supernet/discretize.py."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from hypothesis import given, settings
from hypothesis import strategies as st
from small_nets import (
    RNGS,
    Net,
    conv,
    dense_residual_net,
    depthwise_net,
    gated_net,
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
from mpnas.space import Rule
from mpnas.space.words import ACT_RANGES, WEIGHT_RANGES
from mpnas.supernet import attach, discretize
from mpnas.supernet.discretize import kernel_values

BITS = {"weights": (0, 2, 4, 8), "activations": (4, 8)}
RULES = {
    "channel": Rule(match="*", granularity="channel", **BITS),
    "subgroups_and_shared_scales": Rule(match="*", granularity=2, scale=3, activation_range="moving", **BITS),
    "scale_of_the_largest_weight": Rule(
        match="*", granularity="channel", scale="layer", weight_range="minmax", **BITS
    ),
    "largest_weight_of_a_subgroup": Rule(match="*", granularity=3, scale=2, weight_range="minmax", **BITS),
}
# A scale of the whole layer reads weights that are removed, in channels of the layer and of its input.
RULES |= {
    word: Rule(match="*", granularity="channel", scale="layer", weight_range=word, **BITS)
    for word in WEIGHT_RANGES
}
RULES |= {
    f"{word}_activations": Rule(match="*", granularity=2, scale=3, activation_range=word, **BITS)
    for word in ACT_RANGES
}
RULES["dorefa_subgroups"] = Rule(match="*", granularity=2, scale=3, weight_range="dorefa", **BITS)


@functools.cache
def calibrated(build, inputs, rule):
    net = attach(build(), inputs(), [rule])
    return net, net.calibrated(net.parts, inputs())


def assigned(net, point):
    """The assignment with at least one channel left in every group."""
    for site in net.space.remover.values():
        point[site][0] = max(point[site][0], 1)
    return net.space.from_indices(point)


def random_assignment(net, seed):
    draw = np.random.default_rng(seed)
    choices = net.space.choices
    return assigned(net, {site: draw.integers(0, len(c.bits), c.decisions) for site, c in choices.items()})


def masked(net, parts, assignment, x):
    gates = {site: jnp.asarray(gate, jnp.float32) for site, gate in net.space.one_hot(assignment).items()}
    return run(net, parts, gates, x)[0]


def size(tree):
    return sum(leaf.size for leaf in jax.tree.leaves(tree))


@pytest.mark.parametrize("rule", ["channel", "largest_weight_of_a_subgroup"])
@given(data=st.data())
@settings(deadline=None, max_examples=4, derandomize=True)
def test_the_network_of_any_assignment_equals_the_masked_supernet(rule, data):
    net, parts = calibrated(dense_residual_net, rows, RULES[rule])
    point = {
        site: data.draw(st.lists(st.integers(0, len(c.bits) - 1), min_size=c.decisions, max_size=c.decisions))
        for site, c in net.space.choices.items()
    }
    assignment = assigned(net, point)
    small = discretize(net, parts, assignment)
    expected = masked(net, parts, assignment, rows())
    np.testing.assert_allclose(outputs(small, rows()), expected, rtol=1e-5, atol=1e-6)
    # What was removed is not stored, and the bits of each channel are those of the assignment.
    alive = sum(bits > 0 for bits in expanded(net, "first/kernel", assignment))
    shared = sum(bits > 0 for bits in expanded(net, "stem/channels", assignment))
    assert small.first.kernel.shape == (shared, alive) and small.inner.kernel.shape == (alive, shared)
    assert small.stem.bias.shape == (shared,) and small.head.kernel.shape == (shared, 2)


def expanded(net, site, assignment):
    return np.asarray(assignment.bits[site])[net.space.channel_decision[site]]


@pytest.mark.parametrize("build, inputs, seed, rule", [
    (residual_net, images, 0, "scale_of_the_largest_weight"),
    (depthwise_net, images, 1, "channel"),
    (gated_net, images, 2, "channel"),
    (twice_net, rows, 3, "subgroups_and_shared_scales"),
])
def test_every_kind_of_net_equals_its_masked_supernet(build, inputs, seed, rule):
    net, parts = calibrated(build, inputs, RULES[rule])
    assignment = random_assignment(net, seed)
    assert any(0 in bits for bits in assignment.bits.values())
    small = discretize(net, parts, assignment)
    output = masked(net, parts, assignment, inputs())
    np.testing.assert_allclose(small(inputs()), output, rtol=1e-4, atol=1e-5)
    assert np.std(output) > 0.01, "a lost permutation would hide in a constant output"
    assert size(nnx.state(small, nnx.Param)) < size(parts.params)


@pytest.mark.parametrize(
    "rule", [*WEIGHT_RANGES, *(f"{word}_activations" for word in ACT_RANGES), "dorefa_subgroups"]
)
def test_every_range_equals_its_masked_supernet(rule):
    net, parts = calibrated(dense_residual_net, rows, RULES[rule])
    point = net.space.indices(random_assignment(net, 6))
    for site in ("first/kernel", "stem/channels"):
        point[site][-1] = 0
    assignment = assigned(net, point)
    small = discretize(net, parts, assignment)
    output = masked(net, parts, assignment, rows())
    np.testing.assert_allclose(outputs(small, rows()), output, rtol=1e-5, atol=1e-6)
    assert np.std(output) > 0.01, "a lost permutation would hide in a constant output"


def test_weights_that_a_scale_bends_stay_bent_when_the_largest_is_removed():
    net, parts = calibrated(dense_residual_net, rows, RULES["dorefa"])
    kernel = net.kernels(parts.params)["first/kernel"]
    point = net.space.indices(net.space.uniform(8))
    largest = int(jnp.abs(kernel).max(axis=0).argmax())
    point["first/kernel"][largest] = 0
    small = discretize(net, parts, net.space.from_indices(point))
    others = np.delete(np.arange(7), largest)
    squashed = np.tanh(np.asarray(kernel, np.float64))
    expected = squashed / np.abs(squashed).max()
    np.testing.assert_allclose(kernel_values(small, "first"), expected[:, others], atol=1.01 / 255)
    assert jnp.abs(kernel_values(small, "first")).max() < 0.999


def test_unsorted_bits_of_channels_stay_with_their_channels():
    net, parts = calibrated(dense_residual_net, rows, RULES["channel"])
    point = net.space.indices(net.space.uniform(8))
    point["first/kernel"] = np.array([3, 0, 1, 2, 0, 3, 1])
    assignment = net.space.from_indices(point)
    small = discretize(net, parts, assignment)
    kept = [0, 2, 3, 5, 6]
    kernel = net.kernels(parts.params)["first/kernel"]
    choice = net.space.choices["first/kernel"]
    for column, channel in enumerate(kept):
        candidate = choice.candidates[point["first/kernel"][channel]]
        steps = parts.ranges["first/kernel"][f"{candidate.bits}/step"]
        alone = candidate.quantize(kernel, {"step": steps})[:, channel]
        np.testing.assert_array_equal(kernel_values(small, "first")[:, column], alone)
    hook = small.first.dot_general
    assert hook.weight.bits == (2, 4, 8), "the candidate of removed channels is gone"
    assert {name: value.shape for name, value in hook.weight_ranges.items()} == {
        "2/step": (5,), "4/step": (5,), "8/step": (5,)
    }


def test_only_the_used_candidates_are_stored():
    net, parts = calibrated(dense_residual_net, rows, RULES["channel"])
    small = discretize(net, parts, net.space.uniform(4))
    hook = small.first.dot_general
    assert hook.weight.bits == (4,) and hook.act.bits == (4,)
    assert list(hook.weight_ranges) == ["4/step"] and list(hook.act_ranges) == ["4/step"]
    assert hook.weight_gates.shape == (7, 1)
    assert hook.in_alive is None


def test_arrays_and_remembered_sizes_shrink_together():
    net, parts = calibrated(depthwise_net, images, RULES["channel"])
    point = net.space.indices(net.space.uniform(8))
    point["stem/channels"][[1, 3, 4]] = 0
    point["point/kernel"][2] = 0
    small = discretize(net, parts, net.space.from_indices(point))
    assert small.stem.kernel.shape == small.stem.kernel_shape == (3, 3, 3, 3) and small.stem.out_features == 3
    assert small.depth.kernel.shape == (3, 3, 1, 3)
    assert small.depth.in_features == small.depth.out_features == small.depth.feature_group_count == 3
    assert (small.point.in_features, small.point.out_features) == (3, 3)
    assert small.head.kernel.shape == (3, 2) and small.head.in_features == 3
    assert small.bn.num_features == 3 and small.bn.mean.shape == small.bn.var.shape == (3,)
    np.testing.assert_array_equal(small.bn.mean[...], parts.stats["bn"]["mean"][...][np.array([0, 2, 5])])


def test_the_supernet_keeps_its_arrays():
    net, parts = calibrated(dense_residual_net, rows, RULES["channel"])
    before = jax.tree.map(np.array, parts)
    discretize(net, parts, random_assignment(net, 5))
    jax.tree.map(np.testing.assert_array_equal, before, jax.tree.map(np.array, parts))


def test_grouped_layers_keep_their_sizes_when_others_shrink():
    def call(net, x):
        x = jax.nn.relu(net.g(jax.nn.relu(net.a(x))))
        return net.d(jax.nn.relu(net.c(mean(x))))

    def build():
        return Net(call, a=conv(3, 8), g=conv(8, 8, feature_group_count=4), c=linear(8, 6), d=linear(6, 2))

    net = attach(build(), images(), [RULES["channel"]])
    point = net.space.indices(net.space.uniform(8))
    point["c/kernel"][3] = 0
    small = discretize(net, net.parts, net.space.from_indices(point))
    assert small.g.in_features == 8 and small.g.kernel.shape == (3, 3, 2, 8)
    assert small.c.out_features == 5 and small.d.in_features == 5


def test_parameters_of_the_model_itself_are_sliced_too():
    def build():
        net = Net(lambda net, x: net.b(jax.nn.relu(net.a(x) * net.gain[...])), a=linear(4, 6), b=linear(6, 2))
        net.gain = nnx.Param(jnp.arange(1.0, 7.0))
        return net

    net, parts = calibrated(build, rows, RULES["channel"])
    assignment = random_assignment(net, 4)
    small = discretize(net, parts, assignment)
    assert small.gain.shape == (sum(bits > 0 for bits in assignment.bits["a/kernel"]),)
    expected = masked(net, parts, assignment, rows())
    np.testing.assert_allclose(outputs(small, rows()), expected, rtol=1e-5, atol=1e-6)


def test_layers_in_lists_and_other_normalisations_shrink():
    def build():
        return Net(
            lambda net, x: net.layers[1](mean(jax.nn.relu(net.norm(net.layers[0](x))))),
            layers=nnx.List([conv(3, 6), linear(6, 2)]), norm=nnx.InstanceNorm(6, rngs=RNGS),
        )

    net, parts = calibrated(build, images, RULES["channel"])
    point = net.space.indices(net.space.uniform(8))
    point["layers/0/kernel"][[0, 2]] = 0
    assignment = net.space.from_indices(point)
    small = discretize(net, parts, assignment)
    assert small.norm.num_features == 4 and small.norm.scale.shape == (4,)
    output = masked(net, parts, assignment, images())
    np.testing.assert_allclose(outputs(small, images()), output, rtol=1e-4, atol=1e-5)


def test_an_assignment_without_any_channel_is_refused():
    net, parts = calibrated(dense_residual_net, rows, RULES["channel"])
    with pytest.raises(SearchSpaceError, match="removes all 7 channels of 'first/channels'"):
        point = net.space.indices(net.space.uniform(8))
        point["first/kernel"][:] = 0
        discretize(net, parts, net.space.from_indices(point))


def test_an_assignment_of_another_net_is_refused():
    net, parts = calibrated(dense_residual_net, rows, RULES["channel"])
    other, _ = calibrated(twice_net, rows, RULES["channel"])
    with pytest.raises(SearchSpaceError, match="made for another network"):
        discretize(net, parts, other.space.uniform(8))


def test_a_net_without_choices_discretizes_to_itself():
    model = dense_residual_net()
    net = attach(model, rows(), [])
    np.testing.assert_array_equal(discretize(net, net.parts, net.space.uniform(8))(rows()), model(rows()))
