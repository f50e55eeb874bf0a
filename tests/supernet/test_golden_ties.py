"""Ties worked out by hand on paper, network by network: who writes and reads which channels, and why.

How each table below was made: write down every layer with the name of its output, walk through the
call, and give two outputs one name where an operation needs them entry by entry (+, *, a product's
sum, a depthwise convolution); a group is then all layers with one name. Reasons are looked up in the
source by the text of the line that forces them. Channels that a normalisation sums over, or that come
from the input or go to the output, must stay.
"""

import dataclasses
import inspect
from pathlib import Path

import jax
import jax.numpy as jnp
import pytest
import small_nets
import tie_nets
from flax import nnx
from small_nets import EVERYTHING, images, rows, twice_net
from tie_nets import (
    depth_to_space_net,
    glu_net,
    inverted_residual_net,
    lstm_net,
    shared_kernel_net,
    shuffle_net,
    space_to_depth_net,
    split_heads_net,
    squeeze_excite_net,
    stacked_net,
    steps,
    tied_embedding_net,
    transformer_net,
    unet_net,
)

from mpnas.models import DSCNN, ResNet8, ds_cnn, mobilenet_v2, residual, resnet18, transformer
from mpnas.space import ChannelGroup, Lanes, build_space
from mpnas.supernet import attach, trace

INPUT, OUTPUT = "they are the model's input", "they are the model's output"


def at(verb, function, module, text):
    """`added in Block.__call__ (net.py:31)` for the only line of a module with this text."""
    lines = inspect.getsource(module).splitlines()
    (number,) = [k + 1 for k, line in enumerate(lines) if text in line]
    return f"{verb} in {function} ({Path(module.__file__).name}:{number})"


def group(name, size, writers, readers, *reasons, frozen=None):
    """A group called after its first writer, `input` without one; layers as words."""
    return ChannelGroup(
        f"{name}/channels", size, tuple(writers.split()), tuple(readers.split()), frozen, tuple(reasons)
    )


def found(net, example):
    return set(trace(net, example).groups.values())


def abstract(builder, **options):
    return nnx.eval_shape(lambda: builder(**options, rngs=nnx.Rngs(0)))


ADDED = at("added", "ResidualBlock.__call__", residual, "jax.nn.relu(y + x)")


def test_resnet8():
    # stem + conv2 of block 1; conv2 + shortcut of blocks 2 and 3. Every conv1 has channels of its own.
    assert found(abstract(ResNet8), jax.ShapeDtypeStruct((1, 32, 32, 3), jnp.float32)) == {
        group("input", 3, "", "stem", frozen=INPUT),
        group("stem", 16, "stem block1/conv2", "block1/conv1 block2/conv1 block2/shortcut", ADDED),
        group("block1/conv1", 16, "block1/conv1", "block1/conv2"),
        group("block2/conv1", 32, "block2/conv1", "block2/conv2"),
        group("block2/conv2", 32, "block2/conv2 block2/shortcut", "block3/conv1 block3/shortcut", ADDED),
        group("block3/conv1", 64, "block3/conv1", "block3/conv2"),
        group("block3/conv2", 64, "block3/conv2 block3/shortcut", "dense", ADDED),
        group("dense", 10, "dense", "", frozen=OUTPUT),
    }


def test_resnet18():
    # Stack 1 keeps the stem's channels: both conv2 are added to it, one after the other. In stacks 2 to 4
    # the first block begins new channels (conv2 + shortcut), to which the second adds its conv2.
    expected = {
        group("input", 3, "", "stem", frozen=INPUT),
        group("stem", 64, "stem block1_1/conv2 block1_2/conv2",
              "block1_1/conv1 block1_2/conv1 block2_1/conv1 block2_1/shortcut", ADDED),
        group("dense", 1000, "dense", "", frozen=OUTPUT),
    }
    for stack in (1, 2, 3, 4):
        for block in (1, 2):
            name = f"block{stack}_{block}"
            expected.add(group(f"{name}/conv1", 32 * 2**stack, f"{name}/conv1", f"{name}/conv2"))
    for stack, after in ((2, "block3_1/conv1 block3_1/shortcut"), (3, "block4_1/conv1 block4_1/shortcut"),
                         (4, "dense")):
        first, second = f"block{stack}_1", f"block{stack}_2"
        expected.add(group(f"{first}/conv2", 32 * 2**stack, f"{first}/conv2 {first}/shortcut {second}/conv2",
                           f"{second}/conv1 {after}", ADDED))
    assert found(abstract(resnet18), jax.ShapeDtypeStruct((1, 64, 64, 3), jnp.float32)) == expected


def test_an_inverted_residual():
    # The narrow ends are added; the depthwise layer in the middle has the channels that it is given.
    assert found(inverted_residual_net(), images()) == {
        group("input", 3, "", "stem", frozen=INPUT),
        group("stem", 4, "stem block/project", "block/expand head",
              at("added", "InvertedResidual.__call__", mobilenet_v2, "return x + y if self.adds")),
        group("block/expand", 8, "block/expand block/depthwise", "block/project",
              at("a depthwise convolution keeps its channels", "InvertedResidual.__call__", mobilenet_v2,
                 "self.depthwise_bn(self.depthwise(y))")),
        group("head", 2, "head", "", frozen=OUTPUT),
    }


def test_ds_cnn():
    # Every depthwise layer has the channels of the layer before it; nothing is added.
    why = at("a depthwise convolution keeps its channels", "SeparableBlock.__call__", ds_cnn,
             "self.depthwise_bn(self.depthwise(x))")
    expected = {
        group("input", 1, "", "stem", frozen=INPUT),
        group("stem", 64, "stem block1/depthwise", "block1/pointwise", why),
        group("block4/pointwise", 64, "block4/pointwise", "dense"),
        group("dense", 12, "dense", "", frozen=OUTPUT),
    }
    for k in (1, 2, 3):
        expected.add(group(f"block{k}/pointwise", 64, f"block{k}/pointwise block{k + 1}/depthwise",
                           f"block{k + 1}/pointwise", why))
    assert found(abstract(DSCNN), jax.ShapeDtypeStruct((1, 49, 10, 1), jnp.float32)) == expected


def test_a_unet_with_a_skip_concatenation():
    # Nothing is tied: side by side, each layer keeps its own channels. Repeated pixels are the same ones.
    assert found(unet_net(), images()) == {
        group("input", 3, "", "fine", frozen=INPUT),
        group("fine", 4, "fine", "coarse merge"),
        group("coarse", 6, "coarse", "merge"),
        group("merge", 5, "merge", "pixel"),
        group("pixel", 1, "pixel", "", frozen=OUTPUT),
    }
    merge = trace(unet_net(), images()).layer["merge"]
    assert merge.reads == Lanes((("fine/channels", (0, 1, 2, 3)), ("coarse/channels", (0, 1, 2, 3, 4, 5))))


def test_a_squeeze_and_excitation():
    # `up` multiplies the output of `inner`, the product is added to `stem`; `down` reads the channels.
    line = "x + y * gate"
    assert found(squeeze_excite_net(), images()) == {
        group("input", 3, "", "stem", frozen=INPUT),
        group("stem", 6, "stem inner up", "inner down head",
              at("multiplied", "squeeze_excite_call", tie_nets, line),
              at("added", "squeeze_excite_call", tie_nets, line)),
        group("down", 3, "down", "up"),
        group("head", 2, "head", "", frozen=OUTPUT),
    }


def test_a_transformer_block_of_two_heads():
    # Everything that is added to the tokens has their 8 channels, and every normalisation needs all of
    # them. A head's 4 query channels meet its key channels in the scores, whose scale is their number.
    # Values pass through the mixing one by one: both heads keep the same, 4 lanes in each of two rows.
    added = "EncoderBlock.__call__"
    first, second = "x = x + self.attention(", "return x + self.contract(hidden)"
    work = trace(transformer_net(), steps())
    block = {g.name.removesuffix("/channels"): g for g in work.groups.values()}
    tokens = block.pop("embed")
    assert tokens == group(
        "embed", 8, "embed block/attention/out block/contract",
        "block/attention/query block/attention/key block/attention/value block/expand head",
        at("added", added, transformer, first), at("added", added, transformer, second),
        frozen=at("reduced over by reduce_sum", added, transformer, first),
    )
    assert block.pop("block/attention/query") == group(
        "block/attention/query", 4, "block/attention/query block/attention/key", "",
        at("multiplied", added, transformer, first),
        frozen=at("summed over by a product of activations", added, transformer, first),
    )
    assert set(block.values()) == {
        group("input", 3, "", "embed", frozen=INPUT),
        group("block/attention/value", 4, "block/attention/value", "block/attention/out"),
        group("block/expand", 10, "block/expand", "block/contract"),
        group("head", 2, "head", "", frozen=OUTPUT),
    }
    value, out = work.layer["block/attention/value"], work.layer["block/attention/out"]
    assert (value.kernel_shape, value.out_axis) == ((8, 2, 4), 2)
    assert (out.kernel_shape, out.in_axis) == ((2, 4, 8), 1)
    assert value.writes == out.reads == Lanes.of("block/attention/value/channels", 4)


def test_heads_that_are_cut_out_of_plain_layers():
    # 8 outputs of q and k are twice the same 4, 6 outputs of v twice the same 3.
    work = trace(split_heads_net(), steps(width=5))
    parts = at("split into equal parts by a reshape", "heads", tie_nets, "y.reshape(*y.shape[:2], 2, -1)")
    scores = "heads(net.q(x)) @ heads(net.k(x))"
    name = "split_heads_call"
    assert set(work.groups.values()) == {
        group("input", 5, "", "q k v", frozen=INPUT),
        group("q", 4, "q k", "", parts, at("multiplied", name, tie_nets, scores),
              frozen=at("summed over by a product of activations", name, tie_nets, scores)),
        group("v", 3, "v", "out", parts),
        group("out", 2, "out", "", frozen=OUTPUT),
    }
    assert work.layer["k"].writes == Lanes((("q/channels", (0, 1, 2, 3) * 2),))
    assert work.layer["v"].writes == work.layer["out"].reads == Lanes((("v/channels", (0, 1, 2) * 2),))


def test_outputs_that_are_stacked_and_repeated():
    # A maximum over both layers needs them entry by entry; the head reads the row of 5 twice.
    work = trace(stacked_net(), rows())
    assert set(work.groups.values()) == {
        group("input", 4, "", "left right", frozen=INPUT),
        group("left", 5, "left right", "head", at("stacked", "stacked_call", tie_nets, "jnp.stack(")),
        group("head", 2, "head", "", frozen=OUTPUT),
    }
    assert work.layer["head"].reads == Lanes((("left/channels", (0, 1, 2, 3, 4) * 2),))


@pytest.mark.parametrize("build, inputs, written, read", [
    (glu_net, rows, (0, 1, 2, 3, 4, 5) * 2, (0, 1, 2, 3, 4, 5)),
    (depth_to_space_net, images, (0, 1) * 4, (0, 1)),
    (space_to_depth_net, images, (0, 1, 2), (0, 1, 2) * 4),
    # Halves keep the same: 0 1 2 3 0 1 2 3. Taken in turns, 0 0 1 1 2 2 3 3, of which halves keep the same
    # again: 2 is 0 and 3 is 1.
    (shuffle_net, images, (0, 1) * 4, (0, 0, 1, 1)),
], ids=["glu", "depth_to_space", "space_to_depth", "shuffle"])
def test_which_channels_pixels_and_halves_hold(build, inputs, written, read):
    work = trace(build(), inputs())
    assert work.layer["a"].writes == Lanes((("a/channels", written),))
    reader = work.layer[work.groups["a/channels"].consumers[0]]
    assert reader.reads == Lanes((("a/channels", read),)) and work.groups["a/channels"].frozen is None


def test_an_lstm_cell():
    # i * g, f * c, o * tanh(c) and the sums inside of each gate: all eight products write the state, and
    # the four recurrent ones read it. At the first step the state is a constant: they come at the second.
    call = "carry, _ = net.cell(carry, x[:, step])"
    assert found(lstm_net(), steps()) == {
        group("input", 3, "", "cell/ii cell/if_ cell/ig cell/io", frozen=INPUT),
        group("cell/ii", 5,
              "cell/ii cell/if_ cell/ig cell/io cell/hi cell/hf cell/hg cell/ho",
              "cell/hi cell/hf cell/hg cell/ho head",
              at("multiplied", "lstm_call", tie_nets, call), at("added", "lstm_call", tie_nets, call)),
        group("head", 2, "head", "", frozen=OUTPUT),
    }


def test_a_layer_that_is_used_twice():
    # inner(inner(x)): its outputs are its inputs, which are the outputs of `first`.
    assert found(twice_net(), rows()) == {
        group("input", 4, "", "first", frozen=INPUT),
        group("first", 6, "first inner", "inner head",
              at("multiplied", "twice_call", small_nets, "net.inner(net.inner(x))")),
        group("head", 2, "head", "", frozen=OUTPUT),
    }


def test_two_modules_with_one_kernel():
    # One kernel is one layer; it cannot be hooked, so its readers' channels must stay.
    work = trace(shared_kernel_net(), rows())
    assert work.groups["first/channels"] == group(
        "first", 6, "first inner", "inner head",
        at("multiplied", "shared_kernel_call", tie_nets, "net.other(jax.nn.relu(net.inner("),
        frozen="read by 'inner', where no channel can be masked",
    )
    assert [layer.path for layer in work.layers] == ["first", "inner", "head"]
    assert work.layer["inner"].macs == 2 * 36


def test_an_embedding_that_also_scores():
    # The features that are looked up are those that `inner` must write for the scores: one group.
    tokens = jnp.zeros((3, 4), jnp.int32)
    features = trace(tied_embedding_net(), tokens).groups["embed/channels"]
    assert features.producers == ("embed", "inner") and features.size == 4 and features.frozen
    assert features.reasons == (
        at("multiplied", "tied_embedding_call", tie_nets, "net.embed.attend(jax.nn.relu(net.inner("),
    )


NETS = {
    "inverted_residual": (inverted_residual_net, images),
    "unet": (unet_net, images),
    "squeeze_excite": (squeeze_excite_net, images),
    "transformer": (transformer_net, steps),
    "lstm": (lstm_net, steps),
    "twice": (twice_net, rows),
}


@pytest.mark.parametrize("name", NETS)
def test_the_space_lists_a_tie_for_every_group_with_several_writers(name):
    build, inputs = NETS[name]
    work = trace(build(), inputs())
    space = build_space(work, [EVERYTHING])
    ties = {tie.name: tie for tie in space.ties if tie.kind == "channels"}
    several = {g.name: g for g in work.groups.values() if len(g.producers) > 1}
    assert ties.keys() == several.keys()
    for name, tie in ties.items():
        assert tie.members == several[name].producers and tie.why == "; ".join(several[name].reasons)
        assert tie.searched is (several[name].frozen is None), "a mask decides for all of them"


@pytest.mark.parametrize("name", ["unet", "squeeze_excite", "lstm"])
def test_nothing_is_held_by_a_program_that_derives_its_sizes(name):
    build, inputs = NETS[name]
    net = attach(build(), inputs(), [dataclasses.replace(EVERYTHING, granularity=2)])
    free = {g.name for g in trace(build(), inputs()).groups.values() if g.frozen is None}
    assert set(net.space.remover) == free
