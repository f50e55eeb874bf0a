"""Tests of mpnas/supernet/widen.py."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from small_nets import (
    Net,
    concat_net,
    conv,
    depthwise_net,
    flat_net,
    gated_net,
    images,
    linear,
    mean,
    outputs,
    residual_net,
    rows,
    twice_net,
)
from tie_nets import (
    depth_to_space_net,
    glu_net,
    inverted_residual_net,
    lstm_net,
    shuffle_net,
    space_to_depth_net,
    split_heads_net,
    stacked_net,
    steps,
    unet_net,
)

from mpnas.errors import SearchSpaceError
from mpnas.space import Lanes, Rule
from mpnas.supernet import attach, trace
from mpnas.supernet.widen import _blocks, growth_of, widened

WIDTHS = Rule(match="*", widths=(0.5, 1, 1.5))


def multiplied_net():
    """A depthwise layer with two outputs for each of 4 channels."""
    return Net(
        lambda net, x: net.head(mean(nnx.relu(net.depth(nnx.relu(net.stem(x)))))),
        stem=conv(3, 4), depth=conv(4, 8, feature_group_count=4), head=linear(8, 2),
    )


def grouped_net():
    """Two groups of 3 channels, from which 2 and 2 come."""
    return Net(
        lambda net, x: net.head(mean(nnx.relu(net.g(nnx.relu(net.stem(x)))))),
        stem=conv(3, 6), g=conv(6, 4, feature_group_count=2), head=linear(4, 2),
    )


NETS = {
    "residual": (residual_net, images),
    "depthwise": (depthwise_net, images),
    "multiplied": (multiplied_net, images),
    "grouped": (grouped_net, images),
    "concat": (concat_net, images),
    "flat": (flat_net, images),
    "gate": (gated_net, images),
    "twice": (twice_net, rows),
    "unet": (unet_net, images),
    "inverted_residual": (inverted_residual_net, images),
    "lstm": (lstm_net, steps),
    "stacked": (stacked_net, rows),
    "glu": (glu_net, rows),
    "depth_to_space": (depth_to_space_net, images),
    "space_to_depth": (space_to_depth_net, images),
    "shuffle": (shuffle_net, images),
}


def evaluated(build):
    model = build()
    model.eval()
    return model


@pytest.mark.parametrize("name", NETS)
def test_a_wider_network_computes_what_it_computed_before(name):
    build, inputs = NETS[name]
    model = evaluated(build)
    work = trace(model, inputs())
    growth = growth_of(work, [WIDTHS])
    free = {g.name: g.size for g in work.groups.values() if g.frozen is None}
    assert growth == {group: round(1.5 * size) for group, size in free.items()}
    wide = widened(model, work, growth)
    np.testing.assert_allclose(outputs(wide, inputs()), outputs(model, inputs()), rtol=1e-5, atol=1e-5)
    again = trace(wide, inputs())
    assert {name: again.groups[name].size for name in growth} == growth
    assert {g.name: (g.producers, g.consumers, g.frozen) for g in again.groups.values()} == {
        g.name: (g.producers, g.consumers, g.frozen) for g in work.groups.values()
    }


@pytest.mark.parametrize("name", ["residual", "multiplied", "grouped", "flat", "lstm"])
def test_the_given_width_of_an_attached_network_is_the_given_network(name):
    build, inputs = NETS[name]
    model = evaluated(build)
    rule = Rule(match="*", weights=(32,), activations=(32,), widths=(0.5, 1, 1.5))
    net = attach(model, inputs(), [rule])
    gates = {s: jnp.asarray(g, jnp.float32) for s, g in net.space.one_hot(net.space.uniform(32)).items()}
    found = jax.jit(lambda parts, gates, x: net.apply(parts, gates, x, train=False)[0])(
        net.parts, gates, inputs()
    )
    np.testing.assert_allclose(found, outputs(model, inputs()), rtol=1e-5, atol=1e-5)


def test_new_channels_come_last_and_their_readers_begin_at_zero():
    model = evaluated(residual_net)
    work = trace(model, images())
    wide = widened(model, work, {"first/channels": 10})
    first, inner = np.asarray(wide.first.kernel[...]), np.asarray(wide.inner.kernel[...])
    np.testing.assert_array_equal(first[..., :7], model.first.kernel[...])
    np.testing.assert_array_equal(inner[:, :, :7], model.inner.kernel[...])
    assert first.shape == (3, 3, 5, 10) and np.all(np.any(first[..., 7:], axis=(0, 1, 2)))
    assert not np.any(inner[:, :, 7:])
    np.testing.assert_allclose(first[..., 7:].std(), first[..., :7].std(), rtol=0.2)
    np.testing.assert_array_equal(wide.first.bias[...][7:], np.zeros(3))


def test_new_channels_are_normalised_neutrally():
    model = evaluated(residual_net)
    wide = widened(model, trace(model, images()), {"stem/channels": 8})
    for name, neutral in {"scale": 1, "var": 1, "mean": 0, "bias": 0}.items():
        vector = np.asarray(getattr(wide.stem_bn, name)[...])
        np.testing.assert_array_equal(vector[5:], [neutral] * 3)
        np.testing.assert_array_equal(vector[:5], getattr(model.stem_bn, name)[...])
    assert wide.stem_bn.num_features == 8


def test_channels_of_a_multiplier_come_in_their_order():
    # Depthwise output j belongs to input j // 2: 0 0 1 1 2 2 3 3, and two new inputs after them.
    model = evaluated(multiplied_net)
    wide = widened(model, trace(model, images()), {"stem/channels": 6})
    np.testing.assert_array_equal(wide.depth.kernel[...][..., :8], model.depth.kernel[...])
    assert wide.depth.kernel.shape == (3, 3, 1, 12) and wide.depth.feature_group_count == 6
    assert wide.head.kernel.shape == (12, 2) and not np.any(wide.head.kernel[...][8:])


def test_every_group_of_a_grouped_layer_grows_alike():
    # Groups of 3 become groups of 5: entries 3, 4 and 8, 9 of the stem are new.
    model = evaluated(grouped_net)
    wide = widened(model, trace(model, images()), {"stem/channels": 5})
    np.testing.assert_array_equal(
        wide.stem.kernel[...][..., np.array([0, 1, 2, 5, 6, 7])], model.stem.kernel[...]
    )
    assert wide.g.kernel.shape == (3, 3, 5, 4) and not np.any(wide.g.kernel[...][:, :, 3:])
    assert (wide.g.in_features, wide.g.feature_group_count) == (10, 2)


def test_what_is_new_can_learn():
    model = evaluated(residual_net)
    wide = widened(model, trace(model, images()), {"first/channels": 10})
    graph, params, rest = nnx.split(wide, nnx.Param, ...)

    def loss(params):
        return jnp.sum(nnx.merge(graph, params, rest, copy=True)(images()) ** 2)

    slopes = jax.jit(jax.grad(loss))(params)
    assert np.any(slopes["inner"]["kernel"][...][:, :, 7:]), "zeros that read something have a gradient"


def test_the_model_is_not_changed_and_the_same_seed_draws_the_same():
    model = evaluated(residual_net)
    work = trace(model, images())
    before = jax.tree.map(np.array, nnx.state(model))
    one, again, other = (widened(model, work, {"first/channels": 9}, seed=s) for s in (1, 1, 2))
    jax.tree.map(np.testing.assert_array_equal, before, jax.tree.map(np.array, nnx.state(model)))
    np.testing.assert_array_equal(one.first.kernel[...], again.first.kernel[...])
    assert np.any(one.first.kernel[...] != other.first.kernel[...])
    np.testing.assert_array_equal(widened(model, work, {}).first.kernel[...], model.first.kernel[...])


def test_only_groups_with_a_width_above_1_grow():
    work = trace(residual_net(), images())
    rules = [Rule(match="*", widths=(0.5, 1)), Rule(match="first", widths=(1, 1.2))]
    assert growth_of(work, rules) == {"first/channels": 8}
    assert growth_of(work, [Rule(match="*", weights=(8,))]) == {}


def halves_net():
    """The two halves of the channels are multiplied, so that they are the same."""
    def call(net, x):
        left, right = jnp.split(net.a(x), 2, axis=1)
        return net.head(left * right)

    return Net(call, a=linear(4, 2), head=linear(1, 2))


def test_a_single_channel_in_each_of_several_rows_can_be_widened():
    model = halves_net()
    assert trace(model, rows()).layer["a"].writes == Lanes((("a/channels", (0, 0)),))
    net = attach(model, rows(), [Rule(match="a", widths=(1, 2))])
    assert net.space.work.layer["a"].writes == Lanes((("a/channels", (0, 1, 0, 1)),))
    np.testing.assert_allclose(
        outputs(net.widened(model), rows()), outputs(model, rows()), rtol=1e-5, atol=1e-5
    )


def single_net():
    """One channel in each of two groups of `g`, out of a depthwise layer with two outputs per input."""
    return Net(
        lambda net, x: net.head(mean(net.g(net.each(nnx.relu(net.a(x)))))), a=conv(3, 2),
        each=conv(2, 4, feature_group_count=2), g=conv(4, 4, feature_group_count=2), head=linear(4, 2),
    )


def test_a_single_channel_whose_order_is_not_known_cannot_be_widened():
    # 0 0 0 0 of `each` would become 0 0 1 1 0 0 1 1, which four times the same does not tell.
    with pytest.raises(SearchSpaceError) as refused:
        attach(single_net(), images(), [WIDTHS])
    assert str(refused.value) == (
        "'a/channels' cannot be widened: 'each/bias' holds its channels in an order that does not tell where "
        "new ones belong. Offer widths of at most 1 there."
    )
    assert attach(single_net(), images(), [Rule(match="*", widths=(0.5, 1))]).space.width_site


def test_an_axis_that_is_not_made_of_whole_groups_cannot_be_widened():
    work = trace(grouped_net(), images())
    turned = {place: Lanes((("g/channels", (1, 0) * 2),)) if lanes.groups == ("g/channels",) else lanes
              for place, lanes in work.axes.items()}
    with pytest.raises(SearchSpaceError, match="'g/channels' cannot be widened: 'g/bias' holds its channels"):
        growth_of(dataclasses.replace(work, axes=turned), [WIDTHS])


@pytest.mark.parametrize("runs, blocks", [
    ((("a", (0, 1, 2)),), [("a", 3, 1)]),
    ((("a", (0, 1, 2) * 2),), [("a", 3, 1)] * 2),
    ((("a", (0, 0, 1, 1, 2, 2)),), [("a", 3, 2)]),
    ((("a", (0, 0, 1, 1, 2, 2, 0, 1, 2)), ("b", (0,))), [("a", 3, 2), ("a", 3, 1), ("b", 1, 1)]),
    ((("a", (0, 1)),), None),
    ((("a", (1, 0, 2)),), None),
    ((("a", (0, 1, 2, 0)),), None),
    ((("a", (0, 0, 1, 2)),), None),
    ((("b", (0, 0)),), [("b", 1, 1)] * 2),
])
def test_an_axis_is_told_apart_into_whole_groups(runs, blocks):
    assert _blocks(Lanes(runs), {"a": 3, "b": 1}) == blocks


def numbered(x):
    return x.reshape(-1, 2, 3).reshape(-1, 6)


def test_a_program_that_names_their_number_has_no_wider_network():
    net = Net(lambda net, x: net.c(nnx.relu(net.b(numbered(net.a(x))))), a=linear(4, 6), b=linear(6, 5),
              c=linear(5, 2))
    with pytest.raises(SearchSpaceError, match="those of 'a' must stay, the program names their number"):
        attach(net, rows(), [Rule(match="a", widths=(1, 2))])
    found = attach(net, rows(), [Rule(match="*", widths=(1, 2))])
    assert list(found.space.choices) == ["b/width"]
    held = "not offered at a, whose channels must stay: the program names"
    assert any(held in note for note in found.space.notes)


def test_heads_of_plain_layers_grow_by_whole_channels_of_every_head():
    model = evaluated(split_heads_net)
    work = trace(model, steps(width=5))
    wide = widened(model, work, {"v/channels": 5})
    assert wide.v.kernel.shape == (5, 10) and wide.out.kernel.shape == (10, 2)
    expected = outputs(model, steps(width=5))
    np.testing.assert_allclose(outputs(wide, steps(width=5)), expected, rtol=1e-5, atol=1e-5)
