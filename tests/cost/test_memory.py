"""Tests of mpnas/cost/memory.py."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cost_spaces import EVERYTHING, chain, layer, residual, space_of, work
from flax import nnx

from mpnas.cost import COSTS, PeakActBytes, WeightBytes, exact_cost, measure
from mpnas.models.resnet8 import ResNet8
from mpnas.quant import IntFormat, MinMax, PerTensor, Quantizer
from mpnas.space import Rule, Tensor, build_space
from mpnas.supernet import trace


def bytes_of(space, **indices):
    """Stored bytes with everything at the highest candidate, but `indices` (`a_kernel=...`)."""
    chosen = space.indices(space.uniform(None))
    for name, values in indices.items():
        chosen[name.replace("_", "/")][:] = values
    return exact_cost(WeightBytes(), space, space.from_indices(chosen))


def lone(scale, *, granularity="channel", channels=8, weights=(2, 4, 8), multiplier=False, bias=False):
    """The space of one product of 4 -> `channels` whose outputs another layer reads."""
    more = {"multiplier": multiplier, "bias": bias}
    layers = (
        layer("a", (4, channels), "input", "a/channels", macs=1, tensor="x", **more),
        layer("b", (channels, 1), "a/channels", "b/channels", macs=1, tensor="y", bias=False),
    )
    rule = Rule(match="a", weights=weights, granularity=granularity, scale=scale)
    return build_space(work(layers, (), (), frozen={"b/channels"}), [rule])


def row_of_a(space, **indices):
    """Stored bytes of the layer `a` of `lone` alone: what is left without the float kernel of `b`."""
    return bytes_of(space, **indices) - 4 * space.work.layer["a"].out_channels


def test_uniform_8_bit_chain_has_the_bytes_counted_by_hand():
    # loose 5 floats; a: 72 codes, 4 scales, 4 biases, 4 widths of half a byte, its input's scale and
    # width; b: 12 codes, 3 scales, 3 biases, 3 widths, its input's scale and width.
    a, b = 72 + 16 + 16 + 2 + 4.5, 12 + 12 + 12 + 1.5 + 4.5
    assert bytes_of(space_of(chain)) == 20 + a + b == 172.5


def test_half_the_channels_take_half_the_weights_here_and_in_the_layer_that_reads_them():
    # The widths of removed channels stay: they say which ones are gone.
    a, b = 36 + 8 + 8 + 2 + 4.5, 6 + 12 + 12 + 1.5 + 4.5
    assert bytes_of(space_of(chain), a_kernel=[3, 3, 0, 0]) == 20 + a + b


def test_normalisation_folded_into_a_layer_gives_each_channel_a_scale():
    apart, folded = lone("layer", granularity="layer"), lone("layer", granularity="layer", multiplier=True)
    assert row_of_a(apart, a_kernel=2) == 32 + 4 + 0.5
    assert row_of_a(folded, a_kernel=2) == 32 + 4 * 8 + 0.5


@pytest.mark.parametrize(
    "scale, kept, scales",
    [("channel", 8, 8), ("channel", 3, 3), (4, 8, 2), (4, 5, 2), (4, 4, 1), (3, 8, 3), (3, 3, 1)],
)
def test_scale_is_stored_while_any_of_its_channels_exists(scale, kept, scales):
    granularity = "channel" if scale == "channel" else scale
    space = lone(scale, granularity=granularity, weights=(0, 8))
    decision = space.channel_decision["a/kernel"]
    indices = [int(d in decision[:kept]) for d in range(space.choices["a/kernel"].decisions)]
    alive = sum(indices[d] for d in decision)
    expected = 4 * alive + 4 * scales + 0.5 * len(indices)
    assert bytes_of(space, a_kernel=indices) - 4 * alive == expected


def test_channels_that_share_a_scale_but_not_a_width_store_a_scale_per_width():
    # Three integer widths are offered, and eight channels decide on their own.
    assert row_of_a(lone("layer"), a_kernel=[0, 1, 2, 2, 2, 2, 2, 2]) == (2 + 4 + 48) / 2 + 3 * 4 + 4
    # Two decisions share the one scale: at most two widths.
    space = lone("layer", granularity=4)
    assert row_of_a(space, a_kernel=[0, 2]) == (8 + 32) / 2 + 2 * 4 + 1


def test_zero_points_are_stored_beside_their_scales():
    space = lone("channel", granularity="layer", weights=(8,))
    shifted = Quantizer(format=IntFormat(8, symmetric=False), granularity=PerTensor(), scale=MinMax())
    choice = dataclasses.replace(space.choices["a/kernel"], candidates=(shifted,))
    other = dataclasses.replace(space, choices={"a/kernel": choice})
    assert row_of_a(other, a_kernel=0) == 32 + (4 + 4) + 0.5


def test_float_layer_has_neither_scale_nor_width_unless_it_is_offered_integers():
    assert bytes_of(lone("channel", weights=())) == 4 * (32 + 8)
    assert row_of_a(lone("channel", granularity="layer", weights=(32,)), a_kernel=0) == 128 + 0.5
    assert row_of_a(lone("channel", granularity="layer", weights=(8, 32)), a_kernel=1) == 128 + 32 + 0.5


def test_input_that_two_layers_share_has_one_scale():
    layers = [layer(p, (2, 2), "input", f"{p}/channels", macs=1, tensor="x", bias=False) for p in "ab"]
    space = build_space(work(layers, (), ()), [Rule(match="*", activations=(8,))])
    assert bytes_of(space) == 4 * 8 + 4.5


def test_peak_of_the_chain_is_its_first_moment():
    space = space_of(chain)
    assert exact_cost(PeakActBytes(), space, space.uniform(8)) == 50 + 100
    assert exact_cost(PeakActBytes(), space, space.uniform(4)) == 25 + 50


def test_peak_counts_only_the_channels_that_exist():
    space = space_of(chain)
    indices = space.indices(space.uniform(8))
    indices["a/kernel"][:2] = 0
    assert exact_cost(PeakActBytes(), space, space.from_indices(indices)) == 50 + 50


@pytest.mark.parametrize("inner, head, expected", [(8, 8, 126), (8, 4, 108), (4, 8, 126), (4, 4, 90)])
def test_tensor_with_two_readers_is_kept_at_the_wider_of_them(inner, head, expected):
    # h (36 numbers) is read by both, g (54) by conv at 8 bits, the sum (36) by head.
    space = space_of(residual)
    indices = space.indices(space.uniform(8))
    indices["inner/input"][:] = inner == 8
    indices["head/input"][:] = head == 8
    assert exact_cost(PeakActBytes(), space, space.from_indices(indices)) == expected


def test_tensor_that_something_else_reads_is_kept_in_float():
    layers = [layer("a", (2, 3), "input", "a/channels", macs=1, tensor="x")]
    tensors = (Tensor("x", 2, "input", ("a",)), Tensor("y", 3, "a/channels", ()))
    space = build_space(work(layers, tensors, (("x", "y"),)), [Rule(match="a", activations=(4,))])
    assert exact_cost(PeakActBytes(), space, space.uniform(4)) == 2 * 4 / 8 + 3 * 32 / 8


def test_bytes_of_a_few_channels_are_whole():
    # 49 * (1 / 49) is not 1 in floating point: the share must not be rounded before it is multiplied.
    layers = [
        layer("a", (2, 49), "input", "a/channels", macs=1, tensor="x"),
        layer("b", (49, 1), "a/channels", "b/channels", macs=1, tensor="y"),
    ]
    tensors = (Tensor("y", 49, "a/channels", ("b",)),)
    space = build_space(work(layers, tensors, (("y",),), frozen={"b/channels"}), [EVERYTHING])
    for kept in range(1, 50):
        indices = space.indices(space.uniform(8))
        indices["a/kernel"][kept:] = 0
        assert exact_cost(PeakActBytes(), space, space.from_indices(indices)) == kept


@pytest.fixture(scope="module")
def resnet8():
    # Its shapes alone: drawing the weights takes longer than everything else here.
    model = nnx.eval_shape(lambda: ResNet8(rngs=nnx.Rngs(0)))
    return trace(model, jax.ShapeDtypeStruct((1, 32, 32, 3), jnp.float32), input_low=0)


@pytest.mark.parametrize("granularity, decisions", [("layer", 10), ("channel", 346)])
def test_resnet8_at_8_bits_has_the_costs_counted_by_hand(resnet8, granularity, decisions):
    rule = Rule(match="*", weights=(2, 4, 8), activations=(4, 8), granularity=granularity)
    space = build_space(resnet8, [rule])
    kernels = 432 + 2 * 2304 + (4608 + 9216 + 512) + (18432 + 36864 + 2048) + 640
    channels = 3 * 16 + 3 * 32 + 3 * 64 + 10
    tensors = 8  # two pairs of layers read one tensor
    macs = 1024 * (432 + 2 * 2304) + 256 * (4608 + 9216 + 512) + 64 * (18432 + 36864 + 2048) + 640
    assert measure(COSTS, space, space.uniform(8)) == {
        "weight_bytes": kernels + 4 * channels + 4 * channels + decisions / 2 + tensors * 4.5,
        "macs": macs,
        "bops": 64 * macs,
        # The block's input, kept for the addition, and both ends of its second convolution.
        "peak_act_bytes": 3 * 32 * 32 * 16,
    }


def test_work_without_moments_has_no_peak():
    assert exact_cost(PeakActBytes(), lone("channel"), lone("channel").uniform(8)) == 0


def test_counts_say_what_is_left_out():
    assert not WeightBytes().counts["graph"] and WeightBytes().counts["scales"]
    assert not PeakActBytes().counts["kernel_scratch"]
    assert all(isinstance(flag, (bool, np.bool_)) for cost in COSTS for flag in cost.counts.values())
