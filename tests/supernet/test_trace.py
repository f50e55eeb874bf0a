"""Tests of mpnas/supernet/trace.py."""

import jax
import jax.numpy as jnp
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
    gated_net,
    images,
    linear,
    norm,
    residual_net,
    rows,
    twice_net,
    two_layers,
)

from mpnas.errors import SearchSpaceError, UnsupportedOperationError
from mpnas.models import MLP, DigitsCNN, ResNet8
from mpnas.space import Lanes
from mpnas.supernet import trace
from mpnas.supernet.trace import module_at


def abstract(builder, *args):
    """The model without its numbers, which a trace does not look at."""
    return nnx.eval_shape(lambda: builder(*args, rngs=nnx.Rngs(0)))


@pytest.fixture(scope="module")
def resnet8():
    return trace(abstract(ResNet8), jax.ShapeDtypeStruct((1, 32, 32, 3), jnp.float32), input_low=0)


def test_resnet8_has_the_published_macs_per_layer(resnet8):
    def conv_macs(side, kernel, fan_in, fan_out):
        return side**2 * kernel**2 * fan_in * fan_out

    assert {layer.path: layer.macs for layer in resnet8.layers} == {
        "stem": conv_macs(32, 3, 3, 16),
        "block1/conv1": conv_macs(32, 3, 16, 16),
        "block1/conv2": conv_macs(32, 3, 16, 16),
        "block2/conv1": conv_macs(16, 3, 16, 32),
        "block2/conv2": conv_macs(16, 3, 32, 32),
        "block2/shortcut": conv_macs(16, 1, 16, 32),
        "block3/conv1": conv_macs(8, 3, 32, 64),
        "block3/conv2": conv_macs(8, 3, 64, 64),
        "block3/shortcut": conv_macs(8, 1, 32, 64),
        "dense": 640,
    }
    assert resnet8.macs == 12_501_632


def test_resnet8_holds_its_kernels_and_a_bias_per_channel(resnet8):
    # 78,666 published numbers, less a scale, a bias and two statistics per normalised channel that
    # fold away: 4 * (16 + 2 * 16 + 2 * 32 + 2 * 64) = 960
    assert resnet8.parameters == 78_666 - 960
    assert resnet8.loose_parameters == 0
    assert all(layer.bias for layer in resnet8.layers)
    without = [layer.path for layer in resnet8.layers if not layer.multiplier]
    assert without == ["block2/shortcut", "block3/shortcut", "dense"], "they are not normalised"


def test_resnet8_ties_what_is_added_with_the_place(resnet8):
    shared = {name: g for name, g in resnet8.groups.items() if len(g.producers) > 1}
    assert {name: g.producers for name, g in shared.items()} == {
        "stem/channels": ("stem", "block1/conv2"),
        "block2/conv2/channels": ("block2/conv2", "block2/shortcut"),
        "block3/conv2/channels": ("block3/conv2", "block3/shortcut"),
    }
    for group in shared.values():
        assert len(group.reasons) == 1 and group.frozen is None
        assert group.reasons[0].startswith("added in ResidualBlock.__call__ (residual.py:")
    assert shared["stem/channels"].consumers == ("block1/conv1", "block2/conv1", "block2/shortcut")
    assert resnet8.groups["input/channels"].frozen == "they are the model's input"
    assert resnet8.groups["dense/channels"].frozen == "they are the model's output"


def test_a_group_lists_every_array_that_has_its_channels(resnet8):
    lanes = Lanes.of("block2/conv1/channels", 32)
    assert {axis for axis, found in resnet8.axes.items() if found == lanes} == {
        ("block2/conv1/kernel", 3), ("block2/conv1/bias", 0), ("block2/conv2/kernel", 2),
        ("block2/bn1/scale", 0), ("block2/bn1/bias", 0), ("block2/bn1/mean", 0), ("block2/bn1/var", 0),
    }


def test_resnet8_peaks_at_three_full_size_tensors(resnet8):
    elements = [sum(resnet8.tensors[name].elements for name in moment) for moment in resnet8.timeline]
    assert max(elements) == 3 * 32 * 32 * 16


def test_resnet8_reads_nothing_negative_from_images_that_start_at_zero(resnet8):
    assert not any(layer.signed for layer in resnet8.layers)
    blind = trace(abstract(ResNet8), jnp.zeros((1, 32, 32, 3)))
    assert [layer.path for layer in blind.layers if layer.signed] == ["stem"]


def test_digits_cnn_by_hand():
    work = trace(abstract(DigitsCNN), jnp.zeros((1, 8, 8, 1)), input_low=-0.5)
    block1 = 64 * 9 * 16 * 16
    macs = 64 * 9 * 16 + 2 * block1 + 16 * 9 * (16 * 32 + 32 * 32) + 16 * 16 * 32 + 320
    assert work.macs == macs == 533_824
    kernels = 9 * 16 + 2 * 9 * 256 + 9 * 512 + 9 * 1024 + 512 + 320
    assert work.parameters == kernels + 3 * 16 + 3 * 32 + 10
    assert work.layer["stem"].signed, "inputs can be as low as -0.5"
    assert {g.producers for g in work.groups.values() if len(g.producers) > 1} == {
        ("stem", "block1/conv2"), ("block2/conv2", "block2/shortcut")
    }
    assert max(sum(work.tensors[n].elements for n in moment) for moment in work.timeline) == 3 * 8 * 8 * 16


def test_mlp_by_hand():
    work = trace(abstract(MLP, (64, 32, 10)), jnp.zeros((1, 64)), input_low=0)
    assert work.macs == 64 * 32 + 32 * 10
    assert work.parameters == 64 * 32 + 32 + 32 * 10 + 10
    assert [(g.name, g.size) for g in work.groups.values()] == [
        ("input/channels", 64), ("dense0/channels", 32), ("dense1/channels", 10)
    ]
    sizes = [[work.tensors[name].elements for name in moment] for moment in work.timeline]
    assert sizes == [[64, 32], [32], [32, 10], [10]]


def test_the_timeline_of_a_residual_step_by_hand():
    def call(net, x):
        h = jax.nn.relu(net.a(x))
        return net.c(jax.nn.relu(h + net.b(h)))

    net = Net(
        call, a=linear(3, 4, use_bias=False), b=linear(4, 4, use_bias=False), c=linear(4, 2, use_bias=False)
    )
    work = trace(net, jnp.zeros((5, 3)))
    held = [[(t.elements, t.readers) for t in map(work.tensors.get, moment)] for moment in work.timeline]
    h, sum_of_both = (4, ("b", "c")), (4, ("c",))
    assert held == [
        [(3, ("a",)), h],  # a reads the input and writes what will be h
        [h, sum_of_both],  # b reads h, which the addition still needs
        [sum_of_both, sum_of_both],  # the sum is written over h while the output of b is still there
        [sum_of_both, (2, ())],  # c reads the sum and writes the output, which nobody reads
    ]


def test_a_tensor_that_is_pooled_is_kept_in_float():
    net = Net(lambda net, x: net.d(jax.nn.relu(net.a(x)).mean((1, 2))), a=conv(3, 4), d=linear(4, 2))
    work = trace(net, images())
    assert work.tensors["a/output"].readers == ()
    assert work.tensors["input"].readers == ("a",)


def test_channels_pass_through_a_depthwise_layer():
    work = trace(depthwise_net(), images())
    depth = work.layer["depth"]
    assert (depth.kind, depth.in_axis, depth.out_axis, depth.reads) == ("depthwise", None, 3, None)
    assert depth.macs == 36 * 9 * 6 and depth.in_channels == 1
    group = work.groups["stem/channels"]
    assert group.producers == ("stem", "depth") and group.frozen is None
    assert group.reasons[0].startswith("a depthwise convolution keeps its channels in depthwise_call")
    assert group.consumers == ("point",)
    assert not work.layer["point"].signed, "a maximum of what is not negative is not negative"


def test_groups_of_a_convolution_keep_the_same_channels():
    net = Net(lambda net, x: net.d(net.g(net.a(x)).mean((1, 2))), a=conv(3, 8),
              g=conv(8, 12, feature_group_count=4), d=linear(12, 2))
    work = trace(net, images())
    assert work.layer["g"].kind == "grouped" and work.layer["g"].macs == 36 * 9 * 2 * 12
    # 8 channels in 4 groups of 2: the first of every group is one channel, and the second.
    assert work.layer["a"].writes == Lanes((("a/channels", (0, 1) * 4),))
    assert work.layer["g"].reads == Lanes.of("a/channels", 2)
    assert work.layer["g"].writes == Lanes((("g/channels", (0, 1, 2) * 4),)) == work.layer["d"].reads
    assert work.groups["a/channels"].frozen is None and work.groups["g/channels"].frozen is None


def test_concatenated_channels_are_read_one_group_after_the_other():
    work = trace(concat_net(), images())
    left, right = work.groups["left/channels"], work.groups["right/channels"]
    assert left.frozen is right.frozen is None and left.consumers == right.consumers == ("head",)
    assert work.layer["head"].reads == Lanes(
        (("left/channels", tuple(range(left.size))), ("right/channels", tuple(range(right.size))))
    )


def test_flattened_channels_are_read_once_per_position():
    work = trace(flat_net(), images())
    stem = work.groups["stem/channels"]
    assert stem.frozen is None and stem.consumers == ("head",)
    positions = 144 // stem.size
    assert work.layer["head"].reads == Lanes((("stem/channels", tuple(range(stem.size)) * positions),))


def test_a_layer_that_is_called_twice_is_one_layer():
    work = trace(twice_net(), rows())
    inner = work.layer["inner"]
    assert inner.macs == 2 * 36 and inner.signed, "its second call reads its own output"
    assert work.groups["first/channels"].producers == ("first", "inner")
    assert work.macs == 24 + 72 + 12
    assert work.parameters == (24 + 6) + (36 + 6) + (12 + 2)


def test_channels_that_are_multiplied_are_tied():
    work = trace(gated_net(), images())
    group = work.groups["stem/channels"]
    assert group.producers == ("stem", "up") and group.consumers == ("down", "head")
    assert group.frozen is None and group.reasons[0].startswith("multiplied in gated_call")


@pytest.mark.parametrize("made", [
    nnx.LayerNorm(6, rngs=RNGS), nnx.GroupNorm(6, 2, rngs=RNGS)
], ids=["layer_norm", "group_norm"])
def test_normalisation_over_channels_keeps_them_and_its_parameters(made):
    net = Net(lambda net, x: net.b(net.n(net.a(x))), a=linear(4, 6), n=made, b=linear(6, 2))
    work = trace(net, rows())
    assert work.groups["a/channels"].frozen is not None
    assert work.loose_parameters == 12 and not work.layer["a"].multiplier


def test_a_normalisation_folds_only_where_nothing_else_reads_the_output():
    net = Net(
        lambda net, x: net.d(net.a(x) + net.b(jax.nn.relu(net.n(net.a(x))))), a=linear(4, 6), n=norm(6),
        b=linear(6, 6), d=linear(6, 2),
    )
    called_twice = trace(net, rows())
    assert called_twice.loose_parameters == 12, "the other call of `a` is not normalised"

    def shared(net, x):
        h = net.a(x)
        return net.d(h + net.b(jax.nn.relu(net.n(h))))

    net.call = shared
    work = trace(net, rows())
    assert not work.layer["a"].multiplier and work.layer["a"].bias, "its bias comes before the fork"
    assert work.loose_parameters == 12


def test_a_bias_that_is_shared_by_both_calls_folds():
    assert trace(twice_net(), rows()).loose_parameters == 0


def test_a_scale_without_a_shift_needs_no_bias():
    net = two_layers(lambda x: x)
    net.first = linear(4, 6, use_bias=False)
    net.gain = nnx.Param(jnp.ones(6))
    net.call = lambda net, x: net.head(net.first(x) * net.gain[...])
    first = trace(net, rows()).layer["first"]
    assert first.multiplier and not first.bias


def test_lists_of_layers_are_named_by_position():
    def call(net, x):
        for layer in net.layers:
            x = jax.nn.relu(layer(x))
        return net.head(net.drop(x))

    net = Net(call, layers=nnx.List([linear(4, 6), linear(6, 6)]), head=linear(6, 2),
              drop=nnx.Dropout(0.5, rngs=RNGS))
    work = trace(net, rows(batch=1))
    assert [layer.path for layer in work.layers] == ["layers/0", "layers/1", "head"]
    assert module_at(net, "layers/1") is net.layers[1] and module_at(net, "") is net


def test_a_general_linear_layer_has_its_channels_on_the_innermost_axis():
    net = Net(
        lambda net, x: net.b(jax.nn.relu(net.a(x))),
        a=nnx.LinearGeneral((4,), (2, 8), rngs=RNGS),
        b=nnx.LinearGeneral((2, 8), (3,), axis=(-2, -1), rngs=RNGS),
    )
    work = trace(net, rows())
    assert work.macs == 4 * 16 + 16 * 3
    assert work.parameters == 4 * 16 + 16 + 16 * 3 + 3, "the bias of several axes is loose, not lost"
    assert work.layer["a"].writes == Lanes.of("a/channels", 8) == work.layer["b"].reads
    assert (work.layer["a"].out_axis, work.layer["b"].in_axis) == (2, 1)
    assert work.groups["a/channels"].frozen is None


def test_only_the_shape_of_one_example_counts():
    net = residual_net()
    one, many = trace(net, images(batch=1)), trace(net, images(batch=9))
    shape_only = trace(net, jax.ShapeDtypeStruct((4, 6, 6, 3), jnp.float32))
    assert one == many == shape_only


def test_tracing_leaves_the_model_in_training_mode_untouched():
    net = residual_net()
    net.train()
    before = jax.tree.map(np.asarray, nnx.state(net))
    work = trace(net, images())
    assert net.bn.use_running_average is False
    assert work.layer["inner"].multiplier, "the work is that of the network in use"
    jax.tree.map(np.testing.assert_array_equal, before, jax.tree.map(np.asarray, nnx.state(net)))


def test_half_precision_is_counted_alike():
    def made(dtype):
        return Net(lambda net, x: net.d(jax.nn.relu(net.a(x)).mean((1, 2))),
                   a=conv(3, 4, dtype=dtype), d=linear(4, 2, dtype=dtype))

    half, single = trace(made(jnp.bfloat16), images()), trace(made(jnp.float32), images())
    assert half.layers == single.layers and half.groups.keys() == single.groups.keys()


def test_nothing_to_search_is_a_sentence():
    with pytest.raises(SearchSpaceError, match="contracts no kernel with its input, so there is nothing"):
        trace(Net(lambda net, x: 2 * x, a=linear(4, 2)), rows())


def test_a_wrong_input_shape_is_a_sentence():
    with pytest.raises(SearchSpaceError, match=r"cannot be called on inputs of shape \(2, 7\) and type"):
        trace(two_layers(jax.nn.relu), jnp.zeros((3, 7)))


def test_a_program_that_depends_on_values_is_a_sentence():
    with pytest.raises(UnsupportedOperationError, match="depends on the values that it sees"):
        trace(two_layers(lambda x: x if x.sum() > 0 else -x), rows())


class LowRank(nnx.Module):
    """A module of one's own with a kernel."""

    def __init__(self, inputs, outputs):
        self.kernel = nnx.Param(jnp.ones((inputs, outputs)))

    def __call__(self, x):
        return x @ self.kernel[...]


@pytest.mark.parametrize("between, obstacle", [
    (LowRank(6, 6), "a LowRank has no hook for its product"),
    (nnx.LinearGeneral(6, 6, dot_general_cls=lambda: jax.lax.dot_general, rngs=RNGS), "its dot_general_cls"),
], ids=["own_module", "dot_general_cls"])
def test_layers_without_a_usable_hook_say_why_and_keep_what_they_read(between, obstacle):
    net = Net(lambda net, x: net.b(net.e(net.a(x))), a=linear(4, 6), e=between, b=linear(6, 2))
    work = trace(net, rows())
    assert not work.layer["e"].hookable and work.layer["e"].obstacle.startswith(obstacle)
    assert work.groups["a/channels"].frozen == "read by 'e', where no channel can be masked"
    assert work.groups["e/channels"].frozen is None


def test_a_raw_parameter_is_a_layer_of_its_own_name():
    net = Net(lambda net, x: jax.nn.relu(net.a(x)) @ net.w[...] + net.v[...], a=linear(4, 6))
    net.w, net.v = nnx.Param(jnp.ones((6, 3))), nnx.Param(jnp.ones(3))
    work = trace(net, rows())
    raw = work.layer["w"]
    assert (raw.kernel, raw.macs, raw.bias, raw.hookable) == ("w", 18, True, False)
    assert "a parameter that a Net multiplies with directly" in raw.obstacle
    assert work.parameters == 24 + 6 + 18 + 3


def test_several_raw_parameters_of_one_module_are_several_layers():
    inner = Net(lambda net, x: x @ net.w[...] @ net.v[...])
    inner.w, inner.v = nnx.Param(jnp.ones((4, 3))), nnx.Param(jnp.ones((3, 2)))
    work = trace(Net(lambda net, x: net.inner(x), inner=inner), rows())
    assert [layer.path for layer in work.layers] == ["inner/w", "inner/v"]


def test_a_kernel_with_two_owners_cannot_be_hooked():
    net = twice_net()
    net.other = linear(6, 6)
    net.other.kernel = net.inner.kernel
    net.call = lambda net, x: net.head(net.other(net.inner(net.first(x))))
    assert "kernel is also that of" in trace(net, rows()).layer["inner"].obstacle


def test_a_layer_alone_is_no_model():
    assert "it is the model itself" in trace(linear(4, 2), rows()).layers[0].obstacle
