"""Tests of mpnas/supernet/resize.py."""

import numpy as np
import pytest
from flax import nnx
from small_nets import (
    RNGS,
    Net,
    concat_net,
    conv,
    depthwise_net,
    flat_net,
    images,
    linear,
    mean,
    outputs,
    residual_net,
    rows,
)
from tie_nets import (
    depth_to_space_net,
    glu_net,
    lstm_net,
    shuffle_net,
    space_to_depth_net,
    split_heads_net,
    stacked_net,
    steps,
    transformer_net,
)

from mpnas.space import Lanes
from mpnas.supernet import trace
from mpnas.supernet.resize import leaf_at, remaining, slice_channels

HALF = {"a": np.array([True, False, True]), "b": np.array([False, True])}


@pytest.mark.parametrize("lanes, keep", [
    (Lanes.of("a", 3), [0, 2]),
    (Lanes.of("c", 9), None),
    (Lanes((("a", (0, 2)),)), None),
    (Lanes((("a", (0, 1, 2) * 2),)), [0, 2, 3, 5]),
    (Lanes((("a", (0, 0, 1, 1, 2, 2)),)), [0, 1, 4, 5]),
    (Lanes((("c", (0, 1)), ("b", (0, 1)), ("a", (2, 1)))), [0, 1, 3, 4]),
], ids=["one", "other", "those_that_exist", "repeated", "multiplied", "side_by_side"])
def test_entries_remain_where_their_channel_exists(lanes, keep):
    found = remaining(lanes, HALF)
    assert found is None if keep is None else found.tolist() == keep


def test_leaves_are_found_in_lists_and_dicts():
    net = Net(None, layers=nnx.List([linear(4, 6)]), named=nnx.Dict({"one": linear(6, 2)}))
    assert leaf_at(net, "layers/0/kernel") is net.layers[0].kernel
    assert leaf_at(net, "named/one/bias") is net.named["one"].bias


def sliced(model, inputs, **alive):
    """A clone of the model without some channels, and its work before."""
    model = nnx.clone(model)
    model.eval()
    work = trace(model, inputs())
    slice_channels(model, work, {f"{name}/channels": np.array(alive[name], bool) for name in alive})
    return model, work


def zeroed(model, inputs, **alive):
    """A clone of the whole model with zeros in the kernels that read what is gone."""
    model = nnx.clone(model)
    model.eval()
    work = trace(model, inputs())
    for layer in work.layers:
        if layer.reads is not None:
            sizes = {name: np.ones(size) for name, size in work.group_sizes.items()}
            exists = layer.reads.along(
                sizes | {f"{name}/channels": np.array(alive[name], float) for name in alive}
            )
            kernel = leaf_at(model, layer.kernel)
            shape = [-1 if k == layer.in_axis else 1 for k in range(len(layer.kernel_shape))]
            kernel.set_value(kernel[...] * exists.reshape(shape))
    return model


def multiplied_net():
    """A depthwise layer with two outputs per input, flattened, and a grouped layer after it."""
    return Net(
        lambda net, x: net.head(mean(nnx.relu(net.g(nnx.relu(net.depth(nnx.relu(net.stem(x)))))))),
        stem=conv(3, 4), depth=conv(4, 8, feature_group_count=4), g=conv(8, 6, feature_group_count=2),
        head=linear(6, 2),
    )


def general_net():
    options = {"rngs": RNGS}
    return Net(
        lambda net, x: net.b(nnx.relu(net.a(x))), a=nnx.LinearGeneral(4, (2, 6), **options),
        b=nnx.LinearGeneral((2, 6), 3, axis=(-2, -1), **options),
    )


CASES = {
    "residual": (residual_net, images, {"stem": [1, 0, 1, 1, 0], "first": [0, 1, 1, 0, 1, 0, 1]}),
    "depthwise": (depthwise_net, images, {"stem": [0, 1, 1, 0, 1, 0], "point": [1, 0, 1, 1]}),
    "concat": (concat_net, images, {"left": [0, 1, 0, 1], "right": [1, 1, 0, 0, 1]}),
    "flat": (flat_net, images, {"stem": [0, 1, 1, 0]}),
    "multiplied": (multiplied_net, images, {"stem": [1, 0], "g": [0, 1, 1]}),
    "general": (general_net, rows, {"a": [1, 0, 0, 1, 1, 0]}),
    "lstm": (lstm_net, steps, {"cell/ii": [1, 0, 1, 1, 0]}),
    "transformer": (transformer_net, steps, {"block/expand": [1] * 3 + [0] * 7}),
    "stacked": (stacked_net, rows, {"left": [0, 1, 1, 0, 1]}),
    "glu": (glu_net, rows, {"a": [1, 0, 0, 1, 1, 0]}),
    "depth_to_space": (depth_to_space_net, images, {"b": [1, 0, 1, 1]}),
    "space_to_depth": (space_to_depth_net, images, {"a": [1, 0, 1]}),
    "shuffle": (shuffle_net, images, {"a": [0, 1], "g": [0, 1, 1]}),
    "heads": (split_heads_net, lambda: steps(width=5), {"v": [1, 0, 1]}),
}


@pytest.mark.parametrize("name", CASES)
def test_a_sliced_network_computes_what_the_whole_one_does_without_those_channels(name):
    build, inputs, alive = CASES[name]
    model = build()
    small, work = sliced(model, inputs, **alive)
    whole = zeroed(model, inputs, **alive)
    np.testing.assert_allclose(outputs(small, inputs()), outputs(whole, inputs()), rtol=1e-4, atol=1e-5)
    for group, exists in alive.items():
        (found,) = [g for g in trace(small, inputs()).groups.values() if g.name == f"{group}/channels"]
        assert found.size == sum(exists) and work.groups[found.name].size == len(exists)


def test_modules_remember_their_new_sizes():
    small, *_ = sliced(multiplied_net(), images, **CASES["multiplied"][2])
    # Two of four stem channels: both halves of `g`'s input keep the same one.
    assert (small.stem.out_features, small.depth.in_features, small.depth.feature_group_count) == (2, 2, 2)
    assert small.depth.out_features == 4 and small.depth.kernel_shape == (3, 3, 1, 4)
    assert (small.g.in_features, small.g.out_features, small.g.feature_group_count) == (4, 4, 2)
    assert small.g.kernel.shape == (3, 3, 2, 4) and small.head.in_features == 4
    small, *_ = sliced(general_net(), rows, **CASES["general"][2])
    assert (small.a.out_features, small.b.in_features) == ((2, 3), (2, 3)) and small.a.bias.shape == (2, 3)
    small, *_ = sliced(lstm_net(), steps, **CASES["lstm"][2])
    assert (small.cell.hidden_features, small.cell.in_features) == (3, 3)
    assert small.cell.hf.kernel.shape == (3, 3) and small.cell.io.kernel.shape == (3, 3)
    small, *_ = sliced(transformer_net(), steps, **{"block/attention/value": [0, 1, 1, 0]})
    attention = small.block.attention
    assert (attention.value.out_features, attention.out.in_features) == ((2, 2), (2, 2))
    assert (attention.in_features, attention.in_kv_features, attention.out_features) == (8, 8, 8)


def test_groups_left_out_stay_whole():
    model = residual_net()
    model.eval()
    np.testing.assert_array_equal(sliced(model, images)[0](images()), model(images()))
